use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Make the layers of an image one
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan flatten`"))
}
