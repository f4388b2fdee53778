use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use palan::{
    fleet::{self, Action, Inventory, Left, Plan, Planning},
    rebase::Knowledge,
};

use super::{
    AtOnce,
    named::{self, FILE},
};
use crate::{
    commands::{base::KnownFile, verdict},
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// Compute a rebase for each image of a fleet, and write them into a plan to review; push nothing
///
/// Every image, base and result is named by digest. The plan is ordered: waves, in them bases before what stands on them,
/// then names; the same fleet gives the same file. What would not pass the gates is held, with reasons; what cannot be
/// rebased is listed, with reasons, and ends the command with exit code 12; so does what could not be looked at, be it a
/// registry whose images nobody would miss in the plan.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The settings of the fleet
    #[arg(short, long, value_name = "FILE", default_value = FILE)]
    file: PathBuf,

    /// The inventory, as `fleet scan --format json` wrote it; default: look at the fleet now
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    /// Where to write the plan; default: stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    at_once: AtOnce,

    #[command(flatten)]
    known: KnownFile,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let settings = named::settings(&args.file, session)?;
    let jobs = args.at_once.or(settings.jobs);
    let known = args.known.open(session)?.map(Arc::new);
    let progress = session.ui.progress();
    session.bound(settings.bounds());
    // The fleet is looked at and planned in one run.
    let places = session.knowing_places(&progress)?.asking_once();
    let inventory = match &args.inventory {
        Some(path) => read_inventory(path)?,
        None => {
            let (known, observer) = (known.as_deref(), progress.observer());
            fleet::scan(&places, &settings, known, jobs, &observer).await?
        }
    };
    let knowledge = Knowledge { listings: verdict::listings(&progress, session), bases: known };
    let planning = Planning { settings: &settings, inventory: &inventory, knowledge, jobs, signatures: None };
    let plan = fleet::plan(&places, &planning).await?;
    drop(progress);
    super::deliver(args.output.as_deref(), &plan.to_text(), session)?;
    for sentence in inventory.unfit.iter().chain(&fleet::unfit(&settings, &inventory)) {
        session.ui.warning(sentence);
    }
    let failed = failures(&plan);
    for (image, reason) in &failed {
        session.ui.warning(format!("{image}: {}", text::one_line(reason, 1000)));
    }
    session.ui.say(sum(&plan));
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::reported(Code::Partial)),
    }
}

/// What failed, and what could not be looked at.
fn failures(plan: &Plan) -> Vec<(String, &str)> {
    let failed = plan.images.iter().filter_map(|entry| match &entry.action {
        Action::Fail { reason } => Some((entry.image.to_string(), reason.as_str())),
        _ => None,
    });
    failed.chain(plan.missed.iter().map(|missed| (missed.place(), missed.reason.as_str()))).collect()
}

fn read_inventory(path: &Path) -> Result<Inventory> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, e))?;
    Inventory::parse(&text).map_err(|error| {
        let reason = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
        Failure::usage(format!("cannot use {}: {error}{reason}", path.display()))
    })
}

fn left(action: &Action) -> Option<Left> {
    match action {
        Action::Nothing { why, .. } => why.or(Some(Left::UpToDate)),
        _ => None,
    }
}

/// What the plan is about, and what a person must look at.
fn sum(plan: &Plan) -> String {
    let count = |is: fn(&Action) -> bool| plan.images.iter().filter(|entry| is(&entry.action)).count();
    let rebases = count(|action| matches!(action, Action::Rebase(_)));
    let mut parts = vec![format!("{rebases} of {} to rebase", text::count(plan.images.len(), "image"))];
    let others = [
        (count(|action| matches!(action, Action::Hold { .. })), "held"),
        (count(|action| left(action) == Some(Left::UpToDate)), "left alone"),
        (count(|action| left(action) == Some(Left::NoRule)), "without a rule"),
        (count(|action| left(action) == Some(Left::BaseUnknown)), "with an unknown base"),
        (count(|action| matches!(action, Action::Fail { .. })), "failed"),
    ];
    let missed = [(plan.missed.len(), "not looked at")];
    parts.extend(others.iter().chain(&missed).filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    parts.join(", ")
}
