use std::path::{Path, PathBuf};

use palan::fleet::{self, Inventory, Member, MemberPlatform, On, Settings};
use palan_core::Reference;

use super::{
    AtOnce,
    named::{self, FILE, Named},
};
use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::{self, text},
};

/// Find the images that a team owns, and what each stands on
///
/// Images are taken from fleet.toml, unless others are named. For every image and platform: its base, how that was found
/// (see `base detect`; "fleet": it is an image of the fleet itself), what became of it and by how many tags it is behind
/// (see `base stale`), and how many others stand on the image itself. Reads manifests and configs, and no layers.
/// Candidate and backup tags of earlier runs are left out.
///
/// Ends with exit code 12 when an image could not be looked at; the others are reported all the same.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,

    #[command(flatten)]
    at_once: AtOnce,

    /// The settings of the fleet; default: fleet.toml, unless images are named
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Only images that stand on this base, directly or by way of others
    ///
    /// Its layers are compared with those of every image, and bases are followed down, whether they are images of the fleet or
    /// not. Ends with exit code 12 where it is not known of every image what it stands on: what a tag stood for earlier cannot
    /// be compared. With a digest (NAME@sha256:…) no doubt is left.
    #[arg(long, value_name = "BASE")]
    on: Option<Reference>,

    /// Write the report to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let settings = settings(args, session)?;
    let progress = session.ui.progress();
    session.bound(settings.bounds());
    let (places, known) = (session.knowing_places(&progress)?, args.named.known.open(session)?);
    let jobs = args.at_once.or(settings.jobs);
    let (known, observer) = (known.as_ref(), progress.observer());
    let (inventory, sure) = match &args.on {
        None => (fleet::scan(&places, &settings, known, jobs, &observer).await?, Ok(())),
        Some(base) => {
            let mut found = fleet::scan_on(&places, &settings, known, base, jobs, &observer).await?;
            let read = found.unread.take().map_or(Ok(()), |error| unread(base, error, &found, session));
            let told = read.and_then(|()| doubts(base, &found, session));
            (found.inventory, told)
        }
    };
    drop(progress);
    let report = match args.format {
        ReportFormat::Json => inventory.to_text(),
        ReportFormat::Text => table(&inventory),
    };
    super::deliver(args.output.as_deref(), &report, session)?;
    told(&inventory, session).and(sure)
}

fn settings(args: &Args, session: &Session) -> Result<Settings> {
    let mut settings = match &args.file {
        Some(file) => named::settings(file, session)?,
        None if args.named.is_empty() => named::settings(Path::new(FILE), session)?,
        None => Settings::default(),
    };
    let more = args.named.images(Path::to_owned)?;
    let images = &mut settings.images;
    images.references.extend(more.references);
    images.files.extend(more.files);
    images.manifests.extend(more.manifests);
    images.repositories.extend(more.repositories);
    Ok(settings)
}

/// Says why a base was not compared. Where nothing names it either, it was mistyped.
fn unread(base: &Reference, error: palan::Error, found: &On, session: &Session) -> Result {
    let is_typo = error.is_not_found() && found.inventory.images.is_empty();
    let reason = text::one_line(&Failure::from(error).chain().join(": "), 1000);
    session.ui.warning(format!("{base} cannot be compared with images, only its name: {reason}"));
    if is_typo { Err(Failure::reported(Code::NotFound)) } else { Ok(()) }
}

/// Says what is not known of who stands on a base.
fn doubts(base: &Reference, found: &On, session: &Session) -> Result {
    let (on, unsure) = (&found.inventory.images, &found.inventory.unsure);
    if !unsure.is_empty() {
        let names: Vec<String> = unsure.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if unsure.len() > NAMED { ", …" } else { "" };
        let many = text::count(unsure.len(), "image");
        let names = names.join(", ");
        session.ui.warning(format!("it is not known of {many} whether {base} is below: {names}{more}"));
        if base.digest().is_none() {
            session
                .ui
                .note("with the base's digest (NAME@sha256:…) layers are compared, and no doubt is left");
        }
        return Err(Failure::reported(Code::Partial));
    }
    if on.is_empty() {
        session.ui.note(format!("none of {} stands on {base}", text::count(found.all, "image")));
    }
    Ok(())
}

/// How many of the images in doubt are named.
const NAMED: usize = 10;

/// What was missed, and how many there are.
pub(super) fn told(inventory: &Inventory, session: &Session) -> Result {
    inventory.unfit.iter().for_each(|sentence| session.ui.warning(sentence));
    for missed in &inventory.missed {
        session.ui.warning(format!("{}: {}", missed.place(), text::one_line(&missed.reason, 1000)));
    }
    let bases = inventory.by_base().iter().filter(|(base, _)| base.is_some()).count();
    let (images, bases) = (text::count(inventory.images.len(), "image"), text::count(bases, "base"));
    let missed = match inventory.missed.len() {
        0 => String::new(),
        n => format!(", {n} missed"),
    };
    session.ui.say(format!("{images} on {bases}{missed}"));
    match inventory.missed.is_empty() {
        true => Ok(()),
        false => Err(Failure::reported(Code::Partial)),
    }
}

/// One group for each base, with an empty line between them.
fn table(inventory: &Inventory) -> String {
    if inventory.images.is_empty() {
        return String::new();
    }
    let head = [
        "BASE",
        "IMAGE",
        "PLATFORMS",
        "EVIDENCE",
        "STATUS",
        "BEHIND",
        "CREATED",
        "BELOW",
        "DIGEST",
        "BASE DIGEST",
    ];
    let groups = inventory.by_base();
    let groups: Vec<Vec<Row>> =
        groups.iter().map(|(_, members)| members.iter().flat_map(|member| rows(member)).collect()).collect();
    let table = ui::table(&head, groups.iter().flatten().cloned());
    let mut lines = table.lines();
    let mut out = lines.next().unwrap_or_default().to_owned() + "\n";
    for (n, group) in groups.iter().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        for line in lines.by_ref().take(group.len()) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// One row for all platforms of which the same is known.
type Row = [String; 10];

fn rows(member: &Member) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for platform in &member.platforms {
        let row = row(member, platform);
        let may_differ = [PLATFORMS, BASE_DIGEST];
        let same = |other: &&mut Row| {
            other.iter().zip(&row).enumerate().all(|(n, (a, b))| may_differ.contains(&n) || a == b)
        };
        match rows.iter_mut().find(same) {
            Some(found) => {
                found[PLATFORMS] = format!("{},{}", found[PLATFORMS], platform.platform);
                if found[BASE_DIGEST] != row[BASE_DIGEST] {
                    found[BASE_DIGEST] = "several".to_owned();
                }
            }
            None => rows.push(row),
        }
    }
    rows
}

const PLATFORMS: usize = 2;
const BASE_DIGEST: usize = 9;

fn row(member: &Member, platform: &MemberPlatform) -> Row {
    let base = match &platform.base {
        Some(base) => base.to_string(),
        None if platform.base_digest.is_some() => "(no name)".to_owned(),
        None if platform.status == "current" => "scratch".to_owned(),
        None => "unknown".to_owned(),
    };
    let behind = match (platform.versions_behind, &platform.newest) {
        (0, _) | (_, None) => String::new(),
        (n, Some(newest)) => format!("{n} ({newest})"),
    };
    let created = member.created.as_deref().unwrap_or_default();
    [
        base,
        member.image.to_string(),
        platform.platform.clone(),
        platform.evidence.clone().unwrap_or_default(),
        platform.status.clone(),
        behind,
        text::one_line(created.split('T').next().unwrap_or_default(), 20),
        if member.below > 0 { member.below.to_string() } else { String::new() },
        member.digest.short(),
        platform.base_index.or(platform.base_digest).map(|digest| digest.short()).unwrap_or_default(),
    ]
}
