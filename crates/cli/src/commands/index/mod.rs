mod append;
mod filter;
mod list;
mod local;
mod remove;

use clap::Subcommand;

use crate::{exit::Result, session::Session};

/// Make, change and list indexes
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Append(append::Args),
    Filter(filter::Args),
    List(list::Args),
    Remove(remove::Args),
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Append(args) => append::run(args, session).await,
        Command::Filter(args) => filter::run(args, session).await,
        Command::List(args) => list::run(args, session).await,
        Command::Remove(args) => remove::run(args, session).await,
    }
}
