use std::path::PathBuf;

use palan::fleet::{Journal, Lines};

use super::journal_failed;
use crate::{
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// Put the journals of several machines together into one
///
/// All must be of the same plan. Each line is there once, in the order of time: it does not matter in which order journals
/// are named, and merging again changes nothing. The result is a journal for `fleet status` and `fleet rollback`.
///
/// Where there is a journal already, it gets the lines that it lacks, at its end, and keeps its own. One that a run is
/// writing is left alone.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The journals
    #[arg(value_name = "JOURNAL", required = true)]
    journals: Vec<PathBuf>,

    /// Where to write the result; a journal that is there gets what it lacks
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(args: &Args, session: &Session) -> Result {
    let mut all = Lines::default();
    for path in &args.journals {
        // A journal that was named must be there.
        let content = std::fs::read(path).map_err(|e| Failure::file("read", path, e))?;
        let lines = Lines::parse(path, &content).map_err(journal_failed)?;
        all.merge(path, lines).map_err(journal_failed)?;
    }
    let Some(plan) = all.plan() else {
        return Err(Failure::new(Code::Damaged, "there is no line in any of these journals"));
    };
    // Never replaced: a run that has it open would go on writing into a file that nobody finds any more.
    let journal = Journal::open(&args.output, plan).map_err(journal_failed)?;
    journal.absorb(&all).map_err(journal_failed)?;
    let (lines, journals) = (text::count(all.len(), "line"), text::count(args.journals.len(), "journal"));
    session.ui.say(format!("{lines} of {journals}"));
    Ok(())
}
