//! `palan fleet`: all images of a team, moved to new bases together.

mod init;
mod named;
mod patch_source;
mod scan;

use clap::Subcommand;

use crate::{exit::Result, session::Session};

/// Know all images of a team, and move them to new bases together
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    PatchSource(patch_source::Args),
    Scan(scan::Args),
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Init(args) => init::run(args, session).await,
        Command::PatchSource(args) => patch_source::run(args, session),
        Command::Scan(args) => scan::run(args, session).await,
    }
}
