use std::path::PathBuf;

use palan::fleet::{self, Journal};

use super::{SomeArgs, journal_failed, outcomes};
use crate::{args::ReportFormat, exit::Result, session::Session};

/// Give promoted tags back what they stood for
///
/// The journal alone says what to do: every tag that was moved, or may have been, goes back, the last one first. A tag that
/// stands for something else by now is left alone.
///
/// Prints the images by the digests that they have again.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The journal of a plan
    #[arg(value_name = "JOURNAL")]
    journal: PathBuf,

    #[command(flatten)]
    some: SomeArgs,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let choice = args.some.choice();
    let opened = if choice.dry_run { Journal::peek } else { Journal::resume };
    let journal = opened(&args.journal).map_err(journal_failed)?;
    let outcomes = fleet::rollback(&session.places()?, &journal, &choice, &|_| {}).await?;
    outcomes::tell(&outcomes, "given back", args.format, session)
}
