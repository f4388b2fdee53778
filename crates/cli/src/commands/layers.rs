use clap::Subcommand;
use palan::{
    pick::{self, Outcome, Plan, PlatformReport, Report, Request},
    place::{Location, Places},
    select::LayerSelector,
};
use serde::Serialize;

use super::{
    verdict::{self, VerdictArgs, on_platform},
    write,
};
use crate::{
    args::ReportFormat,
    exit::Result,
    session::Session,
    ui::{Progress, text},
};

/// Work with single layers
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pick(Box<Pick>),
}

/// Copy chosen layers of an image, with their history, on top of another image
///
/// A layer is named by its number, the lowest being 1, a range (2..4 is three layers), its digest, its diff ID, or a
/// part of its history that no other layer has. The layer that is named first comes lowest. Every platform of an index
/// gets the layers of the source's image for that platform, or those that --platform chooses, inside the index. What a
/// layer needs beneath it does not come along. Prints the full reference of the result, by digest.
///
/// Before anything is written the files of all layers are compared: what the chosen ones were made on with what they go
/// onto. The verdict is as that of `palan rebase`, and broken is refused. In what it says the application is the chosen
/// layers, the old base what they were made on, and the new base the image that gets them.
///
/// Inside one registry no layer is moved. What the verdict needs of layers is read once and kept in the cache.
#[derive(clap::Args)]
struct Pick {
    /// The image that has the layers
    #[arg(value_name = "SRC")]
    source: Location,

    /// A layer, or a range of layers
    #[arg(value_name = "LAYER", required = true)]
    layers: Vec<LayerSelector>,

    /// The image to put them on
    #[arg(long, value_name = "IMAGE")]
    onto: Location,

    /// Where to put the result
    #[arg(short = 't', long = "tag", value_name = "IMAGE")]
    tag: Location,

    /// Take the layers of a single image for every platform: right for layers without programs only
    #[arg(long)]
    any_platform: bool,

    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    verdict: VerdictArgs,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Pick(args) => run_pick(args, session).await,
    }
}

async fn run_pick(args: &Pick, session: &Session) -> Result {
    let progress = session.ui.progress();
    let request = request(args, &progress, session)?;
    let places = session.places()?;
    let plan = pick::plan(&places, &request).await.map_err(verdict::failed)?;
    drop(progress);
    verdict::say_read(&request.listings, session);
    let explain = args.verdict.explain;
    match (args.dry_run || explain, args.format) {
        (true, ReportFormat::Json) => session.ui.json(plan.report())?,
        (true, ReportFormat::Text) => session.ui.line(describe(plan.report(), explain))?,
        (false, format) => return apply(&places, &plan, format, session).await,
    }
    verdict::refuse(plan.is_refused(), &plan.report().image, plan.report().verdict)
}

fn request(args: &Pick, progress: &Progress, session: &Session) -> Result<Request> {
    let (source, layers) = (args.source.clone(), args.layers.clone());
    Ok(Request {
        platforms: session.global.platforms(),
        any_platform: args.any_platform,
        check: args.verdict.check()?,
        refuse: args.verdict.refuse(),
        listings: verdict::listings(progress, session),
        ..Request::new(source, layers, args.onto.clone(), args.tag.clone())
    })
}

async fn apply(places: &Places, plan: &Plan, format: ReportFormat, session: &Session) -> Result {
    let report = plan.report();
    report.findings.iter().for_each(|finding| session.ui.note(on_platform(finding)));
    for platform in &report.platforms {
        let PlatformReport { platform, verdict, assessment, .. } = platform;
        if let Some(warning) = verdict::warning(platform, *verdict, [], assessment.as_ref()) {
            session.ui.warning(warning);
        }
    }
    let progress = session.ui.progress();
    let outcome = pick::apply(places, plan, &session.copy_options(&progress)).await?;
    drop(progress);
    let reference = write::reference(plan.target(), outcome.digest);
    session.ui.say(format!("{}: {}", said(report), write::summary(&outcome.summary)));
    match format {
        ReportFormat::Text => session.ui.line(reference),
        ReportFormat::Json => session.ui.json(&Done { reference, report, outcome }),
    }
}

/// A report of what was done: the plan and its outcome.
#[derive(Serialize)]
struct Done<'a> {
    reference: String,
    #[serde(flatten)]
    report: &'a Report,
    outcome: Outcome,
}

/// `picked 2 layers of a onto b for 2 platforms (clean)`
fn said(report: &Report) -> String {
    let mut counts: Vec<usize> = report.platforms.iter().map(|platform| platform.layers.len()).collect();
    counts.dedup();
    let layers = match counts[..] {
        [one] => text::count(one, "layer"),
        _ => "layers".to_owned(),
    };
    let platforms = text::count(report.platforms.len(), "platform");
    format!("picked {layers} of {} onto {} for {platforms} ({})", report.source, report.image, report.verdict)
}

fn describe(report: &Report, everything: bool) -> String {
    let mut out = format!(
        "image:   {} is {}\nlayers:  {} is {}\nresult:  {} would be {}\nverdict: {}\n",
        report.image,
        report.digest,
        report.source,
        report.source_digest,
        report.target,
        report.new_digest,
        report.verdict
    );
    for platform in &report.platforms {
        out.push_str(&describe_platform(platform, everything));
    }
    verdict::with_notes(out, &report.findings)
}

fn describe_platform(platform: &PlatformReport, everything: bool) -> String {
    let own = text::count(platform.own_layers, "layer");
    let mut out = format!("\n{}: {}\n  on top of {own}:\n", platform.platform, platform.verdict);
    for layer in &platform.layers {
        let command = text::one_line(layer.created_by.as_deref().unwrap_or_default(), 60);
        let line = format!("  {:>3}  {}  {}  {command}", layer.number, layer.digest, text::size(layer.size));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push_str(&format!("  manifest: {} becomes {}\n", platform.digest, platform.new_digest));
    if let Some(assessment) = &platform.assessment {
        out.push_str(&verdict::describe(assessment, everything));
    }
    out
}
