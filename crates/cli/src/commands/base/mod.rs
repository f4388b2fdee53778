//! `palan base`: what images are built from.

mod detect;
mod index;
pub(super) mod patch_source;
mod stale;

use std::path::PathBuf;

use clap::Subcommand;
use futures_util::{Stream, StreamExt as _};
use palan::{base::KnownBases, place::Location};

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Know the bases of images: find them, keep an index of them, see which have moved on, patch the sources
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Detect(detect::Args),
    Index(index::Args),
    PatchSource(patch_source::Args),
    Stale(stale::Args),
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Detect(args) => detect::run(args, session).await,
        Command::Index(args) => index::run(args, session).await,
        Command::PatchSource(args) => patch_source::run(args, session).await,
        Command::Stale(args) => stale::run(args, session).await,
    }
}

/// Which file is the index of known bases.
#[derive(clap::Args)]
pub(in crate::commands) struct KnownFile {
    /// The index of known bases; default: palan/bases.jsonl among the user's data
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
}

impl KnownFile {
    fn path(&self, session: &Session) -> Result<PathBuf> {
        let default = || session.env.known_bases_file();
        self.known.clone().or_else(default).ok_or_else(|| {
            Failure::usage("there is no folder for the user's data").with_hint("name the file with --known")
        })
    }

    /// The file that was given must be there; the default one may be missing.
    pub(in crate::commands) fn open(&self, session: &Session) -> Result<Option<KnownBases>> {
        let path = match (&self.known, session.env.known_bases_file()) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) if path.exists() => path,
            _ => return Ok(None),
        };
        Ok(Some(KnownBases::open(path)?))
    }
}

/// The answers about several images, in their order. What fails is said at once and does not end the others; the first
/// failure ends the command when all is done.
async fn answers<T>(
    mut all: impl Stream<Item = (Location, std::result::Result<T, palan::Error>)> + Unpin,
    session: &Session,
) -> (Vec<T>, Result) {
    let (mut answers, mut first) = (Vec::new(), Ok(()));
    while let Some((image, answer)) = all.next().await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(error) => {
                let failure = Failure::from(error);
                session.ui.warning(format!("{image}: {}", failure.chain().join(": ")));
                first = first.and(Err(Failure::reported(failure.code)));
            }
        }
    }
    (answers, first)
}

/// Ends with `code` if something is so.
fn ends(code: Code, is_so: bool) -> Result {
    if is_so { Err(Failure::reported(code)) } else { Ok(()) }
}
