use palan::{
    place::{Location, Places},
    rebase::{self, OldBase, Outcome, Plan, Policy, Report, Request},
};
use palan_core::Digest;
use serde::Serialize;

use crate::{args::ReportFormat, exit::Result, session::Session, ui::text};

/// Replace the base layers of an image by those of another base, without rebuilding it
///
/// Works on single images and on every platform of an index; with --platform, on that image inside the index. An image
/// that was not built on the old base is refused. Bases that are not given are taken from the image's annotations or
/// labels (org.opencontainers.image.base.name and .digest). Prints the full reference of the result, by digest.
///
/// Inside one registry no layer is downloaded.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE", required_unless_present = "original")]
    image: Option<Location>,

    /// The base that the image was built on
    #[arg(long, visible_alias = "old_base", value_name = "BASE")]
    old_base: Option<Location>,

    /// The base to put it on; default: what the image's base name stands for now
    #[arg(long, visible_alias = "new_base", value_name = "BASE")]
    new_base: Option<Location>,

    /// Where to put the result; default: the image's own tag
    #[arg(short, long, alias = "rebased", value_name = "IMAGE")]
    tag: Option<Location>,

    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,

    /// Other name of the image argument
    #[arg(long, hide = true, value_name = "IMAGE", conflicts_with = "image")]
    original: Option<Location>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let Some(image) = args.image.clone().or_else(|| args.original.clone()) else { return Ok(()) };
    let request = Request {
        image,
        old_base: args.old_base.clone().map_or(OldBase::Find, OldBase::Image),
        new_base: args.new_base.clone(),
        target: args.tag.clone(),
        platforms: session.global.platforms(),
        policy: Policy::default(),
    };
    let places = session.places()?;
    let plan = rebase::plan(&places, &request).await?;
    match (args.dry_run, args.format) {
        (true, ReportFormat::Json) => session.ui.json(plan.report()),
        (true, ReportFormat::Text) => session.ui.line(describe(plan.report())),
        (false, format) => apply(&places, &plan, format, session).await,
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

async fn apply(places: &Places, plan: &Plan, format: ReportFormat, session: &Session) -> Result {
    let report = plan.report();
    for finding in &report.findings {
        // Said once for the whole image below.
        if !(report.noop && finding.kind == rebase::FindingKind::AlreadyOnNewBase) {
            session.ui.note(on_platform(finding));
        }
    }
    let progress = session.ui.progress();
    let outcome = rebase::apply(places, plan, &session.copy_options(&progress)).await?;
    drop(progress);
    let reference = reference(plan.target(), outcome.digest);
    match outcome.pushed {
        true => session.ui.say(format!(
            "rebased {} for {}: {}",
            report.image,
            text::count(report.platforms.len(), "platform"),
            super::write::summary(&outcome.summary)
        )),
        false => session.ui.say(format!("nothing to do: {} stands on the new base already", report.image)),
    }
    match format {
        ReportFormat::Text => session.ui.line(reference),
        ReportFormat::Json => session.ui.json(&Done { reference, report, outcome }),
    }
}

fn reference(target: &Location, digest: Digest) -> String {
    match target {
        Location::Registry(reference) => reference.repository().with_digest(digest).to_string(),
        Location::Layout { path, .. } => {
            Location::Layout { path: path.clone(), selector: Some(digest.into()) }.to_string()
        }
        Location::Archive { path, format, .. } => {
            Location::Archive { path: path.clone(), format: *format, selector: Some(digest.into()) }
                .to_string()
        }
    }
}

fn on_platform(finding: &rebase::Finding) -> String {
    match &finding.platform {
        Some(platform) => format!("{platform}: {}", finding.text),
        None => finding.text.clone(),
    }
}

fn digest_of(base: &rebase::BaseReport) -> String {
    base.digest.map_or_else(|| "digest unknown".to_owned(), |digest| digest.to_string())
}

fn describe(report: &Report) -> String {
    let mut out = format!("image:  {} is {}\n", report.image, report.digest);
    out.push_str(&match report.noop {
        true => "result: the same, nothing to do\n".to_owned(),
        false => format!("result: {} would be {}\n", report.target, report.new_digest),
    });
    for platform in &report.platforms {
        let (old, new) = (&platform.old_base, &platform.new_base);
        out.push_str(&format!(
            "\n{}\n  layers:   {} of the old base become {} of the new base, {} of the image's own stay\n  \
             old base: {} ({})\n  new base: {} ({})\n  manifest: {} becomes {}\n",
            platform.platform,
            platform.boundary,
            platform.new_base_layers.len(),
            platform.own_layers,
            old.name,
            digest_of(old),
            new.name,
            digest_of(new),
            platform.digest,
            platform.new_digest,
        ));
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    for finding in &report.findings {
        out.push_str(&format!("note: {}\n", on_platform(finding)));
    }
    out.truncate(out.trim_end().len());
    out
}
