use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Change an image's config, annotations and platform
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan mutate`"))
}
