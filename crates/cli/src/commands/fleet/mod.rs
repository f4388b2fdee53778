//! `palan fleet`: all images of a team, moved to new bases in one operation.

mod apply;
mod hook;
mod init;
mod merge;
mod named;
mod outcomes;
mod patch_source;
mod plan;
mod promote;
mod rollback;
mod scan;
mod show;
mod state;
mod status;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use palan::{
    fleet::{Choice, Journal, Plan, Shard},
    place::NewFile,
};

use self::state::{Kept, Of, StateArgs};
use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Move all images of a team to new bases: plan, review, apply, promote, and back
///
/// `plan` computes a rebase for each image and writes them, locked by digest, into a file to review; nothing is pushed.
/// `apply` pushes the results under candidate tags and asks the gates. `promote` moves the images' own tags, each after a
/// backup; `rollback` gives them back. What is done is written into a journal beside the plan: any of them can be killed
/// and started again. What fails for one image is told of that image, the others go on, and the exit code is 12.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Apply(apply::Args),
    Init(init::Args),
    Merge(merge::Args),
    PatchSource(patch_source::Args),
    Plan(plan::Args),
    Promote(promote::Args),
    Rollback(rollback::Args),
    Scan(scan::Args),
    Show(show::Args),
    Status(status::Args),
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    if !session.global.platforms().is_empty() {
        let failure = Failure::usage("--platform cannot be used here: a tag is moved with all its platforms");
        return Err(failure);
    }
    match &args.command {
        Command::Apply(args) => apply::run(args, session).await,
        Command::Init(args) => init::run(args, session).await,
        Command::Merge(args) => merge::run(args, session),
        Command::PatchSource(args) => patch_source::run(args, session).await,
        Command::Plan(args) => plan::run(args, session).await,
        Command::Promote(args) => promote::run(args, session).await,
        Command::Rollback(args) => rollback::run(args, session).await,
        Command::Scan(args) => scan::run(args, session).await,
        Command::Show(args) => show::run(args, session),
        Command::Status(args) => status::run(args, session).await,
    }
}

/// How many images are worked on at the same time. Work on an image is mostly waiting for its registry.
const AT_ONCE: usize = 16;

#[derive(clap::Args)]
struct AtOnce {
    /// How many images at the same time; default: what fleet.toml says, or the plan, which has it from there; else 16
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
}

impl AtOnce {
    /// `said`: by the settings, or by the plan.
    fn or(&self, said: Option<usize>) -> usize {
        self.at_once.or(said).unwrap_or(AT_ONCE)
    }
}

/// Which images of a plan.
#[derive(clap::Args)]
struct ChoiceArgs {
    /// Only the images of this wave; may be given again
    #[arg(long, value_name = "NAME")]
    wave: Vec<String>,

    /// Only this part of the plan, for one of N machines that share it: I from 1 to N
    ///
    /// Images of one repository, and images that go one after another, are in the same part. Waves and failures are counted
    /// in each part alone.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    #[command(flatten)]
    some: SomeArgs,

    /// Begin no image once more than so many have failed
    #[arg(long, value_name = "N")]
    max_failures: Option<usize>,

    /// Go on with the next wave where images of one failed, were moved by somebody, did not pass their gates or were given back
    #[arg(long)]
    keep_going: bool,
}

/// Which images, where there are no waves.
#[derive(clap::Args)]
struct SomeArgs {
    /// Only images with such a name, with the tag or without it ("*" and "?"); may be given again
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,

    #[command(flatten)]
    at_once: AtOnce,

    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl SomeArgs {
    /// `plan`: where one is at hand.
    fn choice(&self, plan: Option<&Plan>) -> Choice {
        let jobs = self.at_once.or(plan.and_then(|plan| plan.jobs));
        let (only, dry_run) = (self.only.clone(), self.dry_run);
        Choice { only, jobs, dry_run, ..Choice::default() }
    }
}

impl ChoiceArgs {
    fn choice(&self, plan: &Plan) -> Choice {
        let (waves, max_failures, keep_going) = (self.wave.clone(), self.max_failures, self.keep_going);
        Choice { waves, shard: self.shard, max_failures, keep_going, ..self.some.choice(Some(plan)) }
    }
}

/// A plan, and its journal.
#[derive(clap::Args)]
struct PlanArgs {
    /// The plan, a file that `fleet plan` wrote
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// The journal; default: the plan's name, ending in .journal.jsonl
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    #[command(flatten)]
    state: StateArgs,
}

impl PlanArgs {
    fn read(&self) -> Result<Plan> {
        read_plan(&self.plan)
    }

    async fn journal(&self, plan: &Plan, choice: &Choice, session: &Session) -> Result<Kept> {
        let of =
            Of { plan: plan.digest(), shard: choice.shard, dry_run: choice.dry_run, may_be_damaged: false };
        let beside = Some(Journal::path_beside(&self.plan));
        self.state.open(self.journal.as_deref(), beside, &of, session).await
    }
}

/// Writes a report to a file, complete or not at all; without one, or to "-", to stdout.
fn deliver(file: Option<&Path>, text: &str, session: &Session) -> Result {
    match file {
        Some(path) if path != Path::new("-") => {
            Ok(NewFile::write(path, text.as_bytes(), &session.scratch())?)
        }
        _ => session.ui.data(text.as_bytes()),
    }
}

fn read_plan(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, e))?;
    Plan::parse(&text)
        .map_err(|source| Failure::new(Code::Damaged, NotAPlan { path: path.to_owned(), source }))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
struct NotAPlan {
    path: PathBuf,
    source: palan::fleet::PlanError,
}

fn journal_failed(error: palan::fleet::JournalError) -> Failure {
    Failure::from(palan::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_at_once_is_said_by_the_command_line_then_by_the_plan() {
        let plan = |jobs: &str| {
            let text = format!(
                r#"{{"schema": "palan.fleet.plan/v1", "rebase": {{}}, "waves": [], {jobs} "images": []}}"#
            );
            Plan::parse(&text).unwrap()
        };
        for (typed, said, expected) in
            [(Some(2), r#""jobs": 3,"#, 2), (None, r#""jobs": 3,"#, 3), (None, "", AT_ONCE)]
        {
            let at_once = AtOnce { at_once: typed };
            let some = SomeArgs { only: Vec::new(), at_once, dry_run: false };
            assert_eq!(some.choice(Some(&plan(said))).jobs, expected, "{typed:?} {said}");
        }
    }
}
