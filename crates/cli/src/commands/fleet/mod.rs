//! `palan fleet`: many images in one operation.

mod show;
mod status;

use std::{fs, path::Path};

use clap::Subcommand;
use palan::fleet;

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Move all images of a team to new bases: in a plan to review, in waves, and back
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(show::Args),
    Status(status::Args),
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Show(args) => show::run(args, session),
        Command::Status(args) => status::run(args, session),
    }
}

/// Reads a plan file.
fn plan(path: &Path) -> Result<fleet::Plan> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file("read", path, e))?;
    fleet::Plan::parse(&text)
        .map_err(|source| Failure::new(Code::Damaged, NoPlan { path: path.display().to_string(), source }))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}")]
struct NoPlan {
    path: String,
    source: fleet::PlanError,
}
