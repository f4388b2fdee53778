mod config;
mod editor;
mod fs;
mod manifest;

use clap::Subcommand;

use crate::{exit::Result, session::Session};

/// Edit the config, the manifest or a file of an image
///
/// The new text is read from stdin or, where that is a terminal, written in your editor. Prints where the result is: by its
/// tag, or by digest where it has none.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Config(config::Args),
    Fs(fs::Args),
    Manifest(manifest::Args),
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Config(args) => config::run(args, session).await,
        Command::Fs(args) => fs::run(args, session).await,
        Command::Manifest(args) => manifest::run(args, session).await,
    }
}
