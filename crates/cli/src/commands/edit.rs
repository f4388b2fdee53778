use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Edit the config, the manifest or a file of an image
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan edit`"))
}
