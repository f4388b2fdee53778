use std::path::PathBuf;

use palan::fleet::{self, Journal, Lines, Plan};

use super::{
    SomeArgs, journal_failed, outcomes, read_plan,
    state::{Of, StateArgs},
};
use crate::{
    args::ReportFormat,
    exit::{Failure, Result},
    session::Session,
};

/// Give promoted tags back what they stood for
///
/// The journal alone says what to do: every tag that was moved, or may have been, goes back, the last one first. A tag that
/// stands for something else by now is left alone.
///
/// With --plan the tags of the plan are looked at, too: one that stands for its result, and whose backup stands for what it
/// was, goes back whatever the journal says. That finds what a machine did and could not write down any more.
///
/// Prints the images by the digests that they have again.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The journal of a plan; with --plan, it may be left out
    #[arg(value_name = "JOURNAL", required_unless_present = "plan")]
    journal: Option<PathBuf>,

    /// The plan, to look at the tags of all its images
    #[arg(long, value_name = "PLAN")]
    plan: Option<PathBuf>,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    some: SomeArgs,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    let choice = args.some.choice(plan.as_ref());
    if let Some(plan) = &plan {
        session.bound(plan.bounds());
    }
    let beside = args.plan.as_deref().map(Journal::path_beside);
    let of = Of { plan: digest(args, plan.as_ref())?, shard: None, dry_run: choice.dry_run };
    let kept = args.state.open(args.journal.as_deref(), beside, &of, session).await?;
    let (places, journal) = (session.places()?, &kept.journal);
    let work = async {
        match &plan {
            Some(plan) => fleet::rollback_plan(&places, plan, journal, &choice, &|_| {}).await,
            None => fleet::rollback(&places, journal, &choice, &|_| {}).await,
        }
    };
    let (outcomes, pushed) = kept.run(work, session).await?;
    outcomes::tell(&outcomes, "given back", args.format, session)?;
    pushed
}

/// The plan that it is about. A journal that was named must be there.
fn digest(args: &Args, plan: Option<&Plan>) -> Result<palan_core::Digest> {
    let Some(path) = &args.journal else {
        return plan.map(Plan::digest).ok_or_else(|| Failure::usage("neither a journal nor a plan is named"));
    };
    let content = std::fs::read(path).map_err(|e| Failure::file("read", path, e))?;
    let lines = Lines::parse(path, &content).map_err(journal_failed)?;
    let found = plan.map(Plan::digest).or(lines.plan());
    found.ok_or_else(|| journal_failed(fleet::JournalError::Empty(path.clone())))
}
