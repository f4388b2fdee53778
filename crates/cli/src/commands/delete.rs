use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Delete images or tags from a registry
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan delete`"))
}
