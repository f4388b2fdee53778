use std::path::PathBuf;

use palan::fleet::{self, Journal, JournalError, Lines, Plan, Step};

use super::{
    SomeArgs, journal_failed, outcomes, read_plan,
    state::{Of, StateArgs},
};
use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
};

/// Give promoted tags back what they stood for
///
/// The journal alone says what to do: every tag that was moved, or may have been, goes back, the last one first. A tag that
/// stands for something else by now is left alone.
///
/// With --plan the tags of the plan are looked at, too: one that stands for its result, and whose backup stands for what it
/// was, goes back whatever the journal says. That finds what a machine did and could not write down any more; lines of the
/// journal that are damaged are skipped, which is said, and ends the command with exit code 12.
///
/// Prints the images by the digests that they have again.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The journal of a plan; with --plan, it may be left out
    #[arg(value_name = "JOURNAL")]
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
    let digest = digest(args, plan.as_ref())?;
    let of = Of { plan: digest, shard: None, dry_run: choice.dry_run, may_be_damaged: plan.is_some() };
    let kept = args.state.open(args.journal.as_deref(), beside, &of, session).await?;
    let (places, journal) = (session.places()?, &kept.journal);
    let work = async {
        match &plan {
            Some(plan) => fleet::rollback_plan(&places, plan, journal, &choice, &|_| {}).await,
            None => fleet::rollback(&places, journal, &choice, &|_| {}).await,
        }
    };
    let (outcomes, pushed) = kept.run(work, session).await?;
    if let Some(plan) = &plan {
        outcomes::apart(plan, &outcomes, journal, Step::Restore, session);
    }
    outcomes::tell(&outcomes, "given back", args.format, session)?;
    pushed?;
    // What the lines said that were skipped, nobody knows.
    if kept.is_damaged { Err(Failure::reported(Code::Partial)) } else { Ok(()) }
}

/// The plan that it is about. A journal that was named must be there.
fn digest(args: &Args, plan: Option<&Plan>) -> Result<palan_core::Digest> {
    let Some(path) = &args.journal else {
        return plan.map(Plan::digest).ok_or_else(|| nameless(args));
    };
    let content = std::fs::read(path).map_err(|e| Failure::file("read", path, e))?;
    if let Some(plan) = plan {
        return Ok(plan.digest());
    }
    let lines = Lines::parse(path, &content).map_err(|error| match error {
        JournalError::Damaged { .. } => journal_failed(error).with_hint(
            "with --plan PLAN, the lines that can be read count, and the tags of the plan are looked at",
        ),
        error => journal_failed(error),
    })?;
    lines.plan().ok_or_else(|| journal_failed(JournalError::Empty(path.clone())))
}

fn nameless(args: &Args) -> Failure {
    match args.state.state {
        None => Failure::usage("neither a journal nor a plan is named")
            .with_hint("palan fleet rollback plan.journal.jsonl, or --plan plan.json"),
        Some(_) => {
            Failure::usage("it is not said which plan is rolled back: --state keeps the journals of many")
                .with_hint("name it by --plan plan.json")
        }
    }
}
