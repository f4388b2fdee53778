use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Change the form of an image: media types, compression, digests, annotations
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) async fn run(_args: &Args, _session: &Session) -> Result {
    Err(Failure::unsupported("`palan convert`"))
}
