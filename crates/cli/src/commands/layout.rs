use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Work with OCI layouts
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan layout`"))
}
