use palan::fleet::{self, Choice, Step};

use super::{ChoiceArgs, PlanArgs, outcomes};
use crate::{args::ReportFormat, exit::Result, session::Session};

/// Move the images' own tags to their candidates, each after a backup
///
/// Only images that were applied and passed their gates; where one of a wave did not, or cannot be moved, later waves are not
/// begun, unless --keep-going is given. A tag is read right before it is moved: one that stands for
/// something else than the plan says is left alone. The move is conditional where the registry heeds conditional requests,
/// which is found out with the first backup. Where it does not, which is said, somebody else may come between reading and
/// writing: that is best effort. There each tag is read again after it was written, too.
///
/// An image that a rollback gave back stays as it is, which is said, and ends the command with exit code 12: a run that is
/// repeated, by cron or in CI, does not undo the rollback. With --again it goes forth once more.
///
/// Prints the images by their new digests.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    plan: PlanArgs,

    #[command(flatten)]
    choice: ChoiceArgs,

    /// Also images that were promoted and given back
    #[arg(long)]
    again: bool,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let plan = args.plan.read()?;
    let choice = Choice { again: args.again, ..args.choice.choice(&plan) };
    session.bound(plan.bounds());
    let kept = args.plan.journal(&plan, &choice, session).await?;
    let progress = session.ui.progress();
    let places = session.knowing_places(&progress)?;
    let work = fleet::promote(&places, &plan, &kept.journal, &choice, &|_| {});
    let (outcomes, pushed) = kept.run(work, session).await?;
    drop(progress);
    outcomes::unconditional(&outcomes, session);
    outcomes::apart(&plan, &outcomes, &kept.journal, Step::Promote, session);
    outcomes::tell(&outcomes, "promoted", args.format, session)?;
    pushed
}
