mod report;

use std::sync::Arc;

use palan::{
    place::{Location, Places},
    rebase::{
        self, ConfigPolicy, Knowledge, OldAttestations, OldBase, OnConflict, Outcome, Plan, Policy, Report,
        Request,
    },
    select::LayerSelector,
};
use serde::Serialize;

use super::{
    base::KnownFile,
    verdict::{self, VerdictArgs},
    write,
};
use crate::{
    args::ReportFormat,
    exit::Result,
    session::Session,
    ui::{Progress, text},
};

/// Replace the base layers of an image by those of another base, without rebuilding it
///
/// Works on single images and on every platform of an index; with --platform, on that image inside the index. An image
/// that was not built on the old base is refused. Bases that are not given are found: by the image's annotations or labels
/// (org.opencontainers.image.base.name and .digest), by attestations, and by its layers among the known bases
/// (`palan base index`). Prints the full reference of the result, by digest.
///
/// What the image inherited from the old base's config becomes what the new base has, as in a rebuild. Before anything
/// is written the files of all layers are compared, and the result gets a verdict: clean (what a rebuild would give),
/// shadowed (something of the new base stays hidden, or a rebuild may differ), db-shadowed (the package database is the
/// old one: rebuild) or broken, which is refused.
///
/// Inside one registry no layer is moved. What the verdict needs of layers is read once and kept in the cache.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE", required_unless_present = "original")]
    image: Option<Location>,

    /// The base that the image was built on
    #[arg(long, visible_alias = "old_base", value_name = "BASE")]
    old_base: Option<Location>,

    /// Instead of a base: the layers up to this one (a number from 1, digest, diff ID or text of the history) are it
    #[arg(long, value_name = "LAYER", conflicts_with = "old_base")]
    boundary: Option<LayerSelector>,

    /// Instead of a base: only these layers (2..4, or one as for --boundary) are replaced, and those below stay
    #[arg(long, value_name = "LAYERS", conflicts_with_all = ["old_base", "boundary"], requires = "new_base")]
    replace: Option<LayerSelector>,

    /// The base to put it on; default: what the image's base name stands for now
    #[arg(long, visible_alias = "new_base", value_name = "BASE")]
    new_base: Option<Location>,

    /// Where to put the result; default: the image's own tag
    #[arg(short, long, alias = "rebased", value_name = "IMAGE")]
    tag: Option<Location>,

    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    verdict: VerdictArgs,

    /// What becomes of the config: merge (as a rebuild would) or keep (the image's own)
    #[arg(long, value_name = "HOW", default_value_t)]
    config: ConfigPolicy,

    /// Whose value is taken where the image and the new base both changed one: app, base, or fail
    #[arg(long, value_name = "WHOSE", default_value_t)]
    on_conflict: OnConflict,

    /// What becomes of attestations: drop (the old image keeps its own), keep-old, or carry=TYPE[,TYPE…]
    ///
    /// TYPE is an in-toto predicate type, or the artifact type of a referrer. What is kept or carried is marked with
    /// the digest that it was made about.
    #[arg(long, value_name = "HOW", default_value_t)]
    attestations: OldAttestations,

    #[command(flatten)]
    known: KnownFile,

    /// Attach a statement about the rebase (in-toto) to the result, as a referrer
    #[arg(long)]
    attest: bool,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,

    /// Other name of the image argument
    #[arg(long, hide = true, value_name = "IMAGE", conflicts_with = "image")]
    original: Option<Location>,
}

impl Args {
    fn request(&self, image: Location, knowledge: Knowledge, session: &Session) -> Result<Request> {
        Ok(Request {
            old_base: self.old_base(),
            new_base: self.new_base.clone(),
            target: self.tag.clone(),
            platforms: session.global.platforms(),
            policy: Policy {
                config: self.config,
                on_conflict: self.on_conflict,
                attestations: self.attestations.clone(),
                check: self.verdict.check()?,
                referrers: true,
                refuse: self.verdict.refuse(),
                created: session.env.created()?,
            },
            attest: self.attest,
            knowledge,
            ..Request::new(image)
        })
    }

    fn old_base(&self) -> OldBase {
        match (&self.old_base, &self.boundary, &self.replace) {
            (Some(base), ..) => OldBase::Image(base.clone()),
            (_, Some(boundary), _) => OldBase::Boundary(boundary.clone()),
            (.., Some(layers)) => OldBase::Layers(layers.clone()),
            _ => OldBase::Find,
        }
    }
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let Some(image) = args.image.clone().or_else(|| args.original.clone()) else { return Ok(()) };
    let progress = session.ui.progress();
    let request = args.request(image, knowledge(args, &progress, session)?, session)?;
    let places = session.knowing_places(&progress)?;
    let plan = rebase::plan(&places, &request).await.map_err(verdict::failed)?;
    drop(progress);
    verdict::say_read(&request.knowledge.listings, session);
    let explain = args.verdict.explain;
    match (args.dry_run || explain, args.format) {
        (true, ReportFormat::Json) => session.ui.json(plan.report())?,
        (true, ReportFormat::Text) => session.ui.line(report::describe(plan.report(), explain))?,
        (false, format) => return apply(&places, &plan, format, session).await,
    }
    verdict::refuse(plan.is_refused(), &plan.report().image, plan.report().verdict)
}

/// What may be kept from run to run.
fn knowledge(args: &Args, progress: &Progress, session: &Session) -> Result<Knowledge> {
    Ok(Knowledge {
        listings: verdict::listings(progress, session),
        bases: args.known.open(session)?.map(Arc::new),
    })
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
    if plan.is_refused() && format == ReportFormat::Json {
        session.ui.json(report)?;
    }
    report::notes(report, session);
    let progress = session.ui.progress();
    let outcome = rebase::apply(places, plan, &session.copy_options(&progress)).await?;
    drop(progress);
    let reference = write::reference(plan.target(), outcome.digest);
    match outcome.pushed {
        true => session.ui.say(format!(
            "rebased {} for {} ({}): {}",
            report.image,
            text::count(report.platforms.len(), "platform"),
            report.verdict,
            write::summary(&outcome.summary)
        )),
        false => session.ui.say(nothing_to_do(report)),
    }
    match format {
        ReportFormat::Text => session.ui.line(reference),
        ReportFormat::Json => session.ui.json(&Done { reference, report, outcome }),
    }
}

fn nothing_to_do(report: &Report) -> String {
    match report.new_digest == report.digest {
        true => format!("nothing to do: {} stands on the new base already", report.image),
        false => format!("nothing to do: {} is the result already", report.target),
    }
}
