use crate::{exit::Result, session::Session};

/// Print the version
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(Args {}: &Args, session: &Session) -> Result {
    session.ui.line(env!("CARGO_PKG_VERSION"))
}
