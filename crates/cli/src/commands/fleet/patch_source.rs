use crate::{exit::Result, session::Session};

/// Put many checkouts on other bases, a patch for each
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, _session: &Session) -> Result {
    Ok(())
}
