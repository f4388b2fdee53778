use palan::{
    fleet::{self, Apply},
    rebase::Knowledge,
};

use super::{ChoiceArgs, PlanArgs, hook::Exec, outcomes};
use crate::{
    args::ReportFormat, commands::base::KnownFile, commands::verdict, exit::Result, session::Session,
};

/// Push the results of a plan under candidate tags, and ask the gates
///
/// For each image: its tag must stand for what the plan says, and the rebase must give the digest that the plan says;
/// otherwise nothing is pushed for it. Layers of the new base are mounted. Then the hook of its wave is run, with
/// PALAN_IMAGE, PALAN_DIGEST, PALAN_CANDIDATE (with digest) and PALAN_WAVE in its environment: exit code 0 passes. It runs in
/// the folder of the plan, and a relative program is looked for there. Where an image of a wave does not pass, fails or was
/// moved by somebody, later waves are not begun, unless --keep-going is given.
///
/// Prints the candidates by digest. What was done before is not done again: run it until it ends with exit code 0.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    plan: PlanArgs,

    #[command(flatten)]
    choice: ChoiceArgs,

    #[command(flatten)]
    known: KnownFile,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let plan = args.plan.read()?;
    let choice = args.choice.choice(&plan);
    session.bound(plan.bounds());
    let kept = args.plan.journal(&plan, &choice, session).await?;
    let progress = session.ui.progress();
    let apply = Apply {
        choice,
        options: session.copy_options(&progress),
        knowledge: Knowledge {
            listings: verdict::listings(&progress, session),
            bases: args.known.open(session)?.map(std::sync::Arc::new),
        },
        hook: Some(&Exec::beside(&args.plan.plan, &session.env)),
        listener: &|_| {},
    };
    let places = session.knowing_places(&progress)?;
    let (outcomes, pushed) = kept.run(fleet::apply(&places, &plan, &kept.journal, &apply), session).await?;
    drop(progress);
    outcomes::tell(&outcomes, "pushed", args.format, session)?;
    pushed
}
