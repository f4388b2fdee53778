use clap_complete::Shell;

use crate::{exit::Result, session::Session};

/// Print a completion script for a shell
///
/// For example: source <(palan completion bash)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &Args, session: &Session) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::command(), "palan", &mut script);
    session.ui.data(&script)
}
