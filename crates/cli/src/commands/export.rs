use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Write the files of an image as a tar archive
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan export`"))
}
