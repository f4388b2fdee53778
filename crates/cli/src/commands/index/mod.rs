use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Make, change and list indexes
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan index`"))
}
