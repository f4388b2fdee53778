use std::path::PathBuf;

use palan::fleet::{
    Journal, JournalError, Lines, Plan,
    report::{Base, Image, Report, Wave},
    states,
};

use super::show::missed;
use crate::{
    exit::{Code, Failure, Result},
    session::Session,
    ui,
};

/// How much of a reason a line of the table has.
const REASON: usize = 100;

/// Tell where a fleet stands: what is promoted, pushed, open, held and failed, by wave and by base
///
/// Reads a plan and its journal; no registry is asked, unless --state names one: then the journals of all machines count. Without a journal, everything is as planned. The states: "promoted"
/// (the tag stands for the result), "promoting" (a move has begun, the next run looks whether it happened), "pushed" (as
/// candidate), "planned", "restored" (given back), "held" (a person has to decide), "needs-rebuild" (held, and only a rebuild
/// helps), "moved" (somebody else moved the tag), "gate-failed", "failed", "base-unknown" and "no-rule" (left alone for that), "nothing" (there was nothing to do).
///
/// Ends with exit code 1 when any image is "failed", "gate-failed" or "moved", or the plan says that something could not be looked at, and 0 otherwise: what is open, held or needs a
/// rebuild was decided so and is no failure. The report is written in either case.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// The journal; default: beside the plan, plan.journal.jsonl for plan.json
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    #[command(flatten)]
    state: super::StateArgs,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,

    /// Write the report to a file instead of stdout; it is replaced when the new one is complete
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Tables for people
    #[default]
    Text,
    /// For programs
    Json,
    /// JUnit XML: a suite for each wave, a case for each image
    Junit,
    /// For a pull request or a chat
    Markdown,
    /// For the textfile collector of Prometheus' node exporter
    Prometheus,
    /// A page that needs nothing else
    Html,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let plan = super::read_plan(&args.plan)?;
    let report = report(args, &plan, session).await?;
    let text = match args.format {
        Format::Text => text(&report),
        Format::Json => report.to_json(),
        Format::Junit => report.to_junit(),
        Format::Markdown => report.to_markdown(),
        Format::Prometheus => report.to_prometheus(),
        Format::Html => report.to_html(),
    };
    super::deliver(args.output.as_deref(), &text, session)?;
    match report.has_failures() {
        true => Err(Failure::reported(Code::Failure)),
        false => Ok(()),
    }
}

/// The journal that was named must be there; the one beside the plan only when something was done.
async fn report(args: &Args, plan: &Plan, session: &Session) -> Result<Report> {
    let path = args.journal.clone().unwrap_or_else(|| Journal::path_beside(&args.plan));
    let mut lines = Lines::default();
    if args.journal.is_some() || path.exists() {
        let content = std::fs::read(&path).map_err(|e| Failure::file("read", &path, e))?;
        lines = Lines::parse(&path, &content).map_err(super::journal_failed)?;
    }
    if let Some(found) = lines.plan().filter(|found| *found != plan.digest()) {
        return Err(super::journal_failed(JournalError::OtherPlan { path, found }));
    }
    session.bound(plan.bounds());
    let others = args.state.fetch(plan.digest(), session).await?;
    lines.merge(&path, others).map_err(super::journal_failed)?;
    let records = lines.records().map_err(super::journal_failed)?;
    Ok(Report::new(plan, &states(&records)))
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for wave in report.waves.iter().filter(|wave| wave.totals.images > 0) {
        out.push_str(&table(report, wave));
    }
    out.push_str(&bases(&report.bases));
    out.push_str(&missed(report));
    out.push_str(&total(report));
    out
}

fn table(report: &Report, wave: &Wave) -> String {
    let images = report.images.iter().filter(|image| image.wave == wave.name);
    let head = ["IMAGE", "STATE", "VERDICT", "BASE", "LAYERS", "REASON"];
    let (name, count) =
        (ui::text::one_line(&wave.name, REASON), ui::text::count(wave.totals.images, "image"));
    let table = ui::table(&head, images.map(row));
    format!("wave {name}: {count}, {}\n{table}\n\n", wave.totals.sentence())
}

fn row(image: &Image) -> [String; 6] {
    [
        image.image.to_string(),
        image.state.to_string(),
        image.verdict.map(|verdict| verdict.to_string()).unwrap_or_default(),
        ui::text::one_line(&image.bases().unwrap_or_default(), REASON),
        image.growth().unwrap_or_default(),
        image.reason(REASON),
    ]
}

/// Who is still on which base.
fn bases(bases: &[Base]) -> String {
    if bases.is_empty() {
        return String::new();
    }
    let row = |base: &Base| {
        let name = ui::text::one_line(base.name(), REASON);
        [name, base.totals.images.to_string(), base.totals.sentence()]
    };
    format!("{}\n\n", ui::table(&["BASE", "IMAGES", "STATES"], bases.iter().map(row)))
}

/// `12 images: 10 promoted, 2 failed`
pub(super) fn total(report: &Report) -> String {
    let count = ui::text::count(report.totals.images, "image");
    match report.totals.images {
        0 => format!("{count}\n"),
        _ => format!("{count}: {}\n", report.totals.sentence()),
    }
}
