use crate::{exit::Result, reference, session::Session};

/// Print the reference of the command line as Markdown
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(super) fn run(Args {}: &Args, session: &Session) -> Result {
    session.ui.data(reference::markdown(crate::args::command()).as_bytes())
}
