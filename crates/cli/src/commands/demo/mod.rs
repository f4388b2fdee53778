mod build;
mod fixture;
mod fleet;
mod story;
mod verify;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Subcommand;
use palan::{
    Event, Location, Observer, Places, Transfer, copy,
    listings::ListingsRead,
    rebase::{self, Knowledge, OldBase, Report, Request, Verdict},
};
use palan_core::{Digest, Reference, Role};
use palan_server::Registry;
use serde::Serialize;

use super::verdict;
use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::{table, text},
};
use build::Base;
use fixture::{BASE, Hints, NEW_BASE, NEW_TAG, OLD_BASE, OLD_TAG, SERVICES, STRANGER, Service, Shape};

/// Rebase a dozen images on an embedded registry, and check the results
///
/// Starts a registry on a free loopback port, publishes a two-platform base image in an old and a patched version and
/// twelve service images built on the old one, in the shapes found in the wild; judges and rebases them all; then reads
/// every result back from the registry and compares its files with what they must be. Exit code 1 if any check fails.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Keep the registry's content in this directory; default: in memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,

    /// Wait this long before each answer of the registry (50ms, 1s): for measuring
    #[arg(long, value_name = "TIME", hide = true, value_parser = crate::args::duration)]
    delay: Option<Duration>,

    /// Publish a fleet in this registry instead, and print its fleet.toml: for measuring
    #[arg(long, value_name = "HOST", hide = true)]
    publish_fleet: Option<String>,

    /// How many images that fleet has
    #[arg(long, value_name = "N", hide = true, default_value_t = 260)]
    images: usize,
}

#[derive(Subcommand)]
enum Command {
    Fleet(story::Args),
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    image: String,
    shape: String,
    platforms: Vec<String>,
    old_digest: Digest,
    new_digest: Digest,
    requests: u64,
    /// Bytes of blobs that passed through this process on their way to the result.
    bytes_moved: u64,
    layers_mounted: u64,
    /// Layers among the blobs that passed through.
    layers_moved: u64,
    verdict: Verdict,
    /// What led to it.
    reasons: Vec<String>,
    milliseconds: u128,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct Outcome {
    registry: String,
    base_old: Digest,
    base_new: Digest,
    images: Vec<Row>,
    requests: u64,
    /// What the verdicts needed of layers.
    read: ListingsRead,
    milliseconds: u128,
    stranger_refused: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    if let Some(Command::Fleet(args)) = &args.command {
        return story::run(args, session).await;
    }
    if let Some(host) = &args.publish_fleet {
        return session.ui.data(fleet::make(&session.places()?, host, args.images).await?.as_bytes());
    }
    let registry = match &args.dir {
        Some(dir) => Registry::directory(dir)?,
        None => Registry::memory(),
    };
    let registry = match args.delay {
        Some(delay) => registry.with_delay(delay),
        None => registry,
    };
    let server = registry.serve("127.0.0.1:0").await?;
    let places = session.places()?;
    let demo = Demo { places, host: server.addr().to_string(), knowledge: Knowledge::default() };
    session.ui.say(format!("registry on {}, {}", demo.host, kept(args)));
    let outcome = demo.run(session).await;
    server.stop().await;
    let outcome = outcome?;
    match args.format {
        ReportFormat::Json => session.ui.json(&outcome)?,
        ReportFormat::Text => session.ui.line(show(&outcome))?,
    }
    judge(&outcome, args, session)
}

fn kept(args: &Args) -> String {
    match &args.dir {
        Some(dir) => format!("kept in {}", dir.display()),
        None => "in memory".to_owned(),
    }
}

struct Demo {
    places: Places,
    host: String,
    /// Shared by all services, so that each layer is read once.
    knowledge: Knowledge,
}

impl Demo {
    fn reference(&self, name: &str, tag: &str) -> Result<Reference> {
        Ok(format!("{}/{name}:{tag}", self.host).parse()?)
    }

    async fn run(&self, session: &Session) -> Result<Outcome> {
        let old = build::base(&self.places, self.reference(BASE, OLD_TAG)?, OLD_BASE).await?;
        let new = build::base(&self.places, self.reference(BASE, NEW_TAG)?, NEW_BASE).await?;
        for service in &SERVICES {
            build::service(&self.places, &self.reference(service.name, "v1")?, service, &old).await?;
        }
        build::stranger(&self.places, &self.reference(STRANGER, "v1")?).await?;
        session.ui.say(format!(
            "published {BASE}:{OLD_TAG}, {BASE}:{NEW_TAG} and {} built on {OLD_TAG}",
            text::count(SERVICES.len(), "service")
        ));
        let before = self.places.client().stats().requests;
        let start = Instant::now();
        let mut rows = Vec::new();
        for service in &SERVICES {
            rows.push(self.rebase(service, &old, &new).await?);
        }
        let (took, requests) = (start.elapsed(), self.places.client().stats().requests - before);
        for (service, row) in SERVICES.iter().zip(&mut rows) {
            row.faults = self.verify(service, row, &new).await?;
            if row.verdict != Verdict::Assessed(service.verdict) {
                row.faults.push(format!("the verdict is {}, expected {}", row.verdict, service.verdict));
            }
        }
        Ok(Outcome {
            registry: self.host.clone(),
            base_old: old.index,
            base_new: new.index,
            images: rows,
            requests,
            read: self.knowledge.listings.read(),
            milliseconds: took.as_millis(),
            stranger_refused: self.refuses_stranger(&old, &new).await?,
        })
    }

    /// As a team would call it: images that say what they stand on need no bases, but the name in their hints is the
    /// old tag, so the new base is given.
    fn request(&self, service: &Service, old: &Base, new: &Base) -> Result<Request> {
        let old_base = match service.hints {
            Hints::None => OldBase::Image(Location::Registry(old.reference.clone())),
            Hints::Annotations | Hints::Labels => OldBase::Find,
        };
        Ok(Request {
            old_base,
            new_base: Some(Location::Registry(new.reference.clone())),
            target: Some(Location::Registry(self.reference(service.name, "v1-patched")?)),
            knowledge: self.knowledge.clone(),
            ..Request::new(Location::Registry(self.reference(service.name, "v1")?))
        })
    }

    async fn rebase(&self, service: &Service, old: &Base, new: &Base) -> Result<Row> {
        let before = self.places.client().stats();
        let start = Instant::now();
        let plan = rebase::plan(&self.places, &self.request(service, old, new)?).await?;
        let layers_moved = Arc::new(AtomicU64::new(0));
        let options = copy::Options { observer: counting(&layers_moved), ..copy::Options::default() };
        let outcome = rebase::apply(&self.places, &plan, &options).await?;
        let report = plan.report();
        Ok(Row {
            image: service.name.to_owned(),
            shape: shape(service),
            platforms: report.platforms.iter().map(|p| p.platform.clone()).collect(),
            old_digest: report.digest,
            new_digest: outcome.digest,
            requests: self.places.client().stats().requests - before.requests,
            bytes_moved: outcome.summary.bytes_moved,
            layers_mounted: outcome.summary.blobs_adopted,
            layers_moved: layers_moved.load(Relaxed),
            verdict: report.verdict,
            reasons: reasons(report),
            milliseconds: start.elapsed().as_millis(),
            faults: Vec::new(),
        })
    }

    async fn verify(&self, service: &Service, row: &Row, new: &Base) -> Result<Vec<String>> {
        let open = |tag| {
            Ok::<_, Failure>(self.places.source(&Location::Registry(self.reference(service.name, tag)?))?)
        };
        let original = open("v1")?;
        let before = original.place.document(original.chosen()?).await?;
        verify::check(service, &before, &open("v1-patched")?, row.new_digest, new).await
    }

    /// An image that was not built on the base must be refused, and nothing pushed.
    async fn refuses_stranger(&self, old: &Base, new: &Base) -> Result<bool> {
        let request = Request {
            old_base: OldBase::Image(Location::Registry(old.reference.clone())),
            new_base: Some(Location::Registry(new.reference.clone())),
            target: Some(Location::Registry(self.reference(STRANGER, "v1-patched")?)),
            ..Request::new(Location::Registry(self.reference(STRANGER, "v1")?))
        };
        let refused = matches!(rebase::plan(&self.places, &request).await, Err(palan::Error::NotBasedOn(_)));
        let tags = self.places.source(&request.image)?.place.tags().await?;
        Ok(refused && tags == ["v1"])
    }
}

/// Counts the layers whose bytes pass through this process.
fn counting(layers: &Arc<AtomicU64>) -> Observer {
    let layers = Arc::clone(layers);
    Observer::new(move |event| {
        if let Event::BlobDone { blob, how: Transfer::Moved } = event
            && matches!(blob.media_type.role(), Role::Layer { .. })
        {
            layers.fetch_add(1, Relaxed);
        }
    })
}

/// What led to a verdict; what is said of several platforms is said once.
fn reasons(report: &Report) -> Vec<String> {
    let assessments = report.platforms.iter().filter_map(|platform| platform.assessment.as_ref());
    let lines: BTreeSet<String> = assessments.flat_map(verdict::graded).collect();
    lines.into_iter().collect()
}

/// What is special about a service's image, in a few words.
fn shape(service: &Service) -> String {
    let history = match service.history {
        fixture::History::Full => "",
        fixture::History::Partial => ", partial history",
        fixture::History::None => ", no history",
    };
    let hints = match service.hints {
        Hints::None => "",
        Hints::Annotations => ", base annotations",
        Hints::Labels => ", base labels",
    };
    let entries = match service.shape {
        Shape::Single(_) | Shape::Index => "",
        Shape::Attested => ", attestations",
        Shape::AttestedArtifacts => ", attestation artifacts",
    };
    let recompressed = if service.recompressed { ", base recompressed" } else { "" };
    let compression = match service.compression {
        palan_core::Compression::None => "uncompressed".to_owned(),
        other => other.to_string(),
    };
    format!("{} {compression}{history}{hints}{entries}{recompressed}", service.family)
}

fn show(outcome: &Outcome) -> String {
    let head = ["IMAGE", "SHAPE", "PLATFORMS", "OLD", "NEW", "REQUESTS", "MOVED", "TIME", "VERDICT", "CHECK"];
    let rows = outcome.images.iter().map(|row| {
        let architectures: Vec<&str> = row.platforms.iter().map(|p| p.trim_start_matches("linux/")).collect();
        [
            row.image.clone(),
            row.shape.clone(),
            architectures.join(","),
            row.old_digest.short(),
            row.new_digest.short(),
            row.requests.to_string(),
            text::size(row.bytes_moved),
            text::duration(Duration::from_millis(u64::try_from(row.milliseconds).unwrap_or(u64::MAX))),
            row.verdict.to_string(),
            if row.faults.is_empty() { "ok".to_owned() } else { "FAILED".to_owned() },
        ]
    });
    table(&head, rows)
}

fn judge(outcome: &Outcome, args: &Args, session: &Session) -> Result {
    let mut failed = 0;
    for row in &outcome.images {
        failed += usize::from(!row.faults.is_empty());
        for fault in &row.faults {
            session.ui.warning(format!("{}: {fault}", row.image));
        }
    }
    if !outcome.stranger_refused {
        failed += 1;
        session.ui.warning(format!("{STRANGER} was not built on the base and was not refused"));
    }
    if failed > 0 {
        return Err(Failure::new(Code::Failure, format!("{} failed", text::count(failed, "check"))));
    }
    for row in &outcome.images {
        row.reasons.iter().for_each(|reason| session.ui.say(format!("{} is {reason}", row.image)));
    }
    session.ui.say(said(outcome));
    session.ui.say("read back from the registry and verified: every file of the patched base, every file of the services");
    session.ui.say(format!("{STRANGER}, which was not built on the base, was refused and left alone"));
    if let Some(dir) = &args.dir {
        session.ui.say(format!("look around: palan registry serve --dir {}", dir.display()));
    }
    Ok(())
}

/// What was done, and what it cost.
fn said(outcome: &Outcome) -> String {
    let sum = |of: fn(&Row) -> u64| outcome.images.iter().map(of).sum::<u64>();
    let count = |n: u64, what| text::count(usize::try_from(n).unwrap_or(usize::MAX), what);
    let moved = match sum(|row| row.layers_moved) {
        0 => "none moved".to_owned(),
        n => format!("{n} moved"),
    };
    format!(
        "rebased {} ({}) in {} with {}: {} mounted, {moved}; {} ({}) read once for the verdicts",
        text::count(outcome.images.len(), "image"),
        count(sum(|row| row.platforms.len() as u64), "platform image"),
        text::duration(Duration::from_millis(u64::try_from(outcome.milliseconds).unwrap_or(u64::MAX))),
        count(outcome.requests, "request"),
        count(sum(|row| row.layers_mounted), "layer"),
        count(outcome.read.layers, "layer"),
        text::size(outcome.read.bytes),
    )
}
