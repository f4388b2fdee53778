use std::time::SystemTime;

use clap::Subcommand;
use palan::{
    base::{
        KnownBases, Pattern,
        known::{self, Change, Changed, Order, Watch},
    },
    place::Location,
};

use super::KnownFile;
use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::{self, text},
};

/// Keep a local index of known bases, by which images are recognised that say nothing about their base
///
/// The index is one file of lines, which can be committed or shared through a registry. It remembers what tags stood
/// for earlier, so that images can be rebased whose old base cannot be pulled any more.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(Add),
    Ls(Ls),
    Rm(Rm),
    Update(Update),
    Push(Push),
    Pull(Pull),
}

/// Add bases, and keep their tags when the index is updated
///
/// Reads a manifest and a config for each tag and platform, and no layers. --platform chooses platforms; default: all.
#[derive(clap::Args)]
struct Add {
    /// Repositories, with a pattern of tags: debian, 'debian:12*', ghcr.io/org/base:1.?
    #[arg(value_name = "REPO[:TAG-PATTERN]", required = true)]
    patterns: Vec<Pattern>,

    /// How many of the tags that match
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    newest: u32,

    /// Which of the tags are the newest
    #[arg(long, value_enum, value_name = "ORDER", default_value_t)]
    order: TagOrder,

    #[command(flatten)]
    known: KnownFile,
}

/// Which tags are the newest.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum TagOrder {
    /// Those whose images were made last; of every tag that matches, a manifest and a config are read
    #[default]
    Created,
    /// Those with the highest numbers in their names
    Version,
}

impl From<TagOrder> for Order {
    fn from(order: TagOrder) -> Self {
        match order {
            TagOrder::Created => Self::Created,
            TagOrder::Version => Self::Version,
        }
    }
}

/// List the known bases
#[derive(clap::Args)]
struct Ls {
    /// Only these
    #[arg(value_name = "REPO[:TAG-PATTERN]")]
    patterns: Vec<Pattern>,

    #[command(flatten)]
    known: KnownFile,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

/// Forget bases
#[derive(clap::Args)]
struct Rm {
    /// Repositories, with a pattern of tags; without one, all tags
    #[arg(value_name = "REPO[:TAG-PATTERN]", required = true)]
    patterns: Vec<Pattern>,

    #[command(flatten)]
    known: KnownFile,
}

/// Look again at all tags that are kept; what they stood for earlier stays
///
/// For the platforms that they were added for, unless --platform chooses others from now on.
#[derive(clap::Args)]
struct Update {
    /// Only these repositories
    #[arg(value_name = "REPO")]
    repositories: Vec<palan_core::Repository>,

    #[command(flatten)]
    known: KnownFile,
}

/// Write the index into a registry, as an OCI artifact
#[derive(clap::Args)]
struct Push {
    /// Where to
    #[arg(value_name = "REF")]
    target: Location,

    #[command(flatten)]
    known: KnownFile,
}

/// Replace the index by one from a registry
#[derive(clap::Args)]
struct Pull {
    /// Where from
    #[arg(value_name = "REF")]
    source: Location,

    #[command(flatten)]
    known: KnownFile,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Add(args) => add(args, session).await,
        Command::Ls(args) => ls(args, session),
        Command::Rm(args) => rm(args, session),
        Command::Update(args) => update(args, session).await,
        Command::Push(args) => push(args, session).await,
        Command::Pull(args) => pull(args, session).await,
    }
}

async fn add(args: &Add, session: &Session) -> Result {
    let newest = usize::try_from(args.newest).unwrap_or(usize::MAX);
    let platforms = session.global.platforms();
    let watch = |tags: &Pattern| Watch {
        tags: tags.clone(),
        newest,
        order: args.order.into(),
        platforms: platforms.clone(),
    };
    keep(args.patterns.iter().map(watch).collect(), &args.known, session).await
}

async fn update(args: &Update, session: &Session) -> Result {
    let known = KnownBases::open(args.known.path(session)?)?;
    let asked = |w: &&Watch| args.repositories.is_empty() || args.repositories.contains(&w.tags.repository);
    let mut watched: Vec<Watch> = known.watched().iter().filter(asked).cloned().collect();
    if !session.global.platform.is_empty() {
        watched.iter_mut().for_each(|watch| watch.platforms = session.global.platforms());
    }
    for repository in &args.repositories {
        if !watched.iter().any(|w| w.tags.repository == *repository) {
            let message = format!("{repository} is not in {}", known.path().display());
            let hint = format!("palan base index add {repository}");
            return Err(Failure::new(Code::NotFound, message).with_hint(hint));
        }
    }
    keep(watched, &args.known, session).await
}

/// Reads the tags and notes what they stand for.
async fn keep(watch: Vec<Watch>, known: &KnownFile, session: &Session) -> Result {
    let progress = session.ui.progress();
    let (places, path) = (session.knowing_places(&progress)?, known.path(session)?);
    let (now, mut change, mut tags) = (SystemTime::now(), Change::default(), 0);
    for watch in watch {
        let gathered = known::gather(&places, &watch, session.global.jobs, now).await?;
        for (name, reason) in gathered.skipped {
            session.ui.note(format!("{name} was passed over: {}", text::one_line(&reason, 500)));
        }
        if gathered.tags == 0 {
            session.ui.warning(format!("no tag matches {}", watch.tags));
        }
        tags += gathered.tags;
        change.add.extend(gathered.entries);
        change.watch.push(watch);
    }
    let Changed { added, total, .. } = known::change(&path, change)?;
    session.ui.say(format!(
        "read {}: {} new, {total} known in {}",
        text::count(tags, "tag"),
        text::count(added, "base"),
        path.display()
    ));
    Ok(())
}

fn rm(args: &Rm, session: &Session) -> Result {
    let path = args.known.path(session)?;
    KnownBases::open(&path)?;
    let change = Change { remove: args.patterns.clone(), ..Change::default() };
    let Changed { removed, total, .. } = known::change(&path, change)?;
    let (removed, path) = (text::count(removed, "base"), path.display());
    session.ui.say(format!("forgot {removed}, {total} known in {path}"));
    Ok(())
}

fn ls(args: &Ls, session: &Session) -> Result {
    let known = KnownBases::open(args.known.path(session)?)?;
    let mut entries = Vec::new();
    for entry in known.entries()? {
        let mut entry = entry?;
        // Long, and of interest to rebase only.
        if args.patterns.is_empty() || args.patterns.iter().any(|p| p.matches(&entry.name)) {
            entry.config.clear();
            entries.push(entry);
        }
    }
    // For people; the file's own order is that of chain IDs.
    entries.sort_by_cached_key(|e| (e.name.to_string(), e.platform.to_string(), e.seen.clone()));
    match args.format {
        ReportFormat::Json => session.ui.json(&entries),
        ReportFormat::Text if entries.is_empty() => Ok(()),
        ReportFormat::Text => session.ui.line(ui::table(
            &["NAME", "PLATFORM", "LAYERS", "SEEN", "DIGEST"],
            entries.iter().map(|e| {
                [
                    e.name.to_string(),
                    e.platform.to_string(),
                    e.layers.to_string(),
                    e.seen.clone(),
                    e.manifest.to_string(),
                ]
            }),
        )),
    }
}

async fn push(args: &Push, session: &Session) -> Result {
    let (places, path) = (session.places()?, args.known.path(session)?);
    let progress = session.ui.progress();
    let digest = known::push(&places, &path, &args.target, &session.copy_options(&progress)).await?;
    drop(progress);
    session.ui.line(match args.target.reference() {
        Some(reference) => reference.repository().with_digest(digest).to_string(),
        None => digest.to_string(),
    })
}

async fn pull(args: &Pull, session: &Session) -> Result {
    let (places, path) = (session.places()?, args.known.path(session)?);
    known::pull(&places, &args.source, &path).await?;
    session.ui.say(format!("{} is now what {} holds", path.display(), args.source));
    Ok(())
}
