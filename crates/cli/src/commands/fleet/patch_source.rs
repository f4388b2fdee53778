use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use palan::{
    fleet::{BaseRule, Successors},
    place::NewFile,
    source::{self, Kind, Swap},
};
use palan_core::Reference;
use serde::Serialize;

use super::named::{self, FILE};
use crate::{
    args::ReportFormat,
    commands::base::patch_source::{self as one, File},
    exit::{Code, Failure, Result},
    session::Session,
    ui::{self, text},
};

/// Put the sources of many repositories on other bases: a patch for each
///
/// Does in every checkout what `base patch-source` does, and writes what would change as one patch for each, to be applied
/// with `git apply` where the checkout is. The checkouts stay as they are. Bases are replaced as --old-base and --new-base
/// say, or as the rules of fleet.toml do; for rules with `newest` and `semver` registries are asked for their tags.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Checkouts, one folder each
    #[arg(value_name = "FOLDER", required = true)]
    folders: Vec<PathBuf>,

    /// The base to replace; a tag also stands for the digests that it is pinned to
    #[arg(long, visible_alias = "old_base", value_name = "REF", requires = "new_base")]
    old_base: Option<Reference>,

    /// The base to put in its place; with a digest, names are pinned to it
    #[arg(long, visible_alias = "new_base", value_name = "REF", requires = "old_base")]
    new_base: Option<Reference>,

    /// The settings of the fleet, for their rules; default: fleet.toml, unless bases are named
    #[arg(short, long, value_name = "FILE", conflicts_with = "old_base")]
    file: Option<PathBuf>,

    /// Where the patches go; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "patches")]
    patches: PathBuf,

    /// Let go of digests when the new base has none; otherwise pinned names are left alone then
    #[arg(long)]
    unpin: bool,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

/// What became of a checkout.
#[derive(Serialize)]
struct Checkout {
    folder: String,
    /// The file with its patch; nothing: nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    files: Vec<File>,
}

/// Which bases are replaced.
enum Wanted<'a> {
    One(Box<Swap>),
    Rules(Successors<'a>),
}

impl Wanted<'_> {
    /// The replacements in a text; `failed` takes the names for which they are not known, and why.
    async fn swaps(
        &self,
        kind: Kind,
        text: &str,
        failed: &mut BTreeMap<Reference, String>,
    ) -> Result<Vec<Swap>> {
        match self {
            Self::One(swap) => Ok(vec![Swap::clone(swap)]),
            Self::Rules(successors) => {
                let found = successors.swaps(&source::mentioned(kind, text)).await;
                let found = found.map_err(Failure::usage)?;
                failed.extend(found.failed);
                Ok(found.swaps)
            }
        }
    }
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let (rules, places);
    let wanted = match (&args.old_base, &args.new_base) {
        (Some(old), Some(new)) => Wanted::One(Box::new(Swap::new(old.clone(), new.clone()))),
        _ => {
            rules = self::rules(args, session)?;
            places = session.places()?;
            Wanted::Rules(Successors::new(&places, &rules))
        }
    };
    let (mut checkouts, mut names, mut failed) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for folder in folders(&args.folders)? {
        let (checkout, patch) = look(&folder, &wanted, args.unpin, &mut failed).await?;
        let patch = match patch.is_empty() {
            true => None,
            false => Some(write(&args.patches, &name(&folder, &mut names), &patch, session)?),
        };
        checkouts.push(Checkout { patch, ..checkout });
    }
    match args.format {
        ReportFormat::Json => session.ui.json(&checkouts)?,
        ReportFormat::Text => session.ui.line(table(&checkouts))?,
    }
    one::notes(checkouts.iter().flat_map(|checkout| &checkout.files), session);
    for (name, reason) in &failed {
        session.ui.warning(format!("{name} was left alone: {reason}"));
    }
    session.ui.say(sum(&checkouts, &args.patches));
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::reported(Code::Partial)),
    }
}

fn sum(checkouts: &[Checkout], folder: &Path) -> String {
    let patches = checkouts.iter().filter(|checkout| checkout.patch.is_some()).count();
    let (patches, of) = (text::count(patches, "patch file"), text::count(checkouts.len(), "checkout"));
    format!("wrote {patches} for {of} to {}", folder.display())
}

/// The rules of the settings; the settings bound how much registries are asked.
fn rules(args: &Args, session: &Session) -> Result<Vec<BaseRule>> {
    let file = args.file.as_deref().unwrap_or(Path::new(FILE));
    let settings = named::settings(file, session)?;
    session.bound(settings.bounds());
    let rules = settings.bases;
    if rules.iter().all(BaseRule::keeps_name) {
        let message = format!("{} has no rule that gives a base another name", file.display());
        return Err(Failure::usage(message).with_hint("--old-base BASE --new-base BASE"));
    }
    for rule in rules.iter().filter(|rule| rule.keeps_name()) {
        session
            .ui
            .note(format!("the rule for {} keeps the base's name: sources that have it stay", rule.from));
    }
    Ok(rules)
}

/// The folders in the order in which they were given, each once.
fn folders(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for folder in given {
        let full = std::fs::canonicalize(folder).map_err(|error| Failure::file("read", folder, error))?;
        if !full.is_dir() {
            return Err(Failure::usage(format!("{} is not a folder", folder.display())));
        }
        if seen.insert(full) {
            out.push(folder.clone());
        }
    }
    Ok(out)
}

/// What would change in a checkout, and the patch that does it.
async fn look(
    folder: &Path,
    wanted: &Wanted<'_>,
    unpin: bool,
    failed: &mut BTreeMap<Reference, String>,
) -> Result<(Checkout, String)> {
    let (mut files, mut patch) = (Vec::new(), String::new());
    let root: PathBuf = one::plain(folder);
    for (place, kind) in one::walk(std::slice::from_ref(&folder.to_owned()))? {
        let file = one::read(place, kind, async |text| {
            let swaps = wanted.swaps(kind, text, failed).await?;
            Ok(swaps.into_iter().map(|swap| swap.unpin(unpin)).collect())
        });
        let file = file.await?;
        patch += &file.diff(&one::slashes(file.place.strip_prefix(&root).unwrap_or(&file.place)));
        if file.concerns() {
            files.push(file);
        }
    }
    Ok((Checkout { folder: folder.display().to_string(), patch: None, files }, patch))
}

/// The patch is named after the folder.
fn name(folder: &Path, taken: &mut BTreeSet<String>) -> String {
    let full = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = full.file_name().map_or("checkout".into(), |name| name.to_string_lossy().into_owned());
    let numbered = |n: usize| if n == 1 { name.clone() } else { format!("{name}-{n}") };
    let free = (1..).map(numbered).find(|name| taken.insert(name.clone()));
    free.unwrap_or(name)
}

fn write(folder: &Path, name: &str, patch: &str, session: &Session) -> Result<String> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, error))?;
    let path = folder.join(format!("{name}.patch"));
    NewFile::write(&path, patch.as_bytes(), &session.scratch())?;
    Ok(path.display().to_string())
}

fn table(checkouts: &[Checkout]) -> String {
    let rows = checkouts.iter().map(|checkout| {
        let changed = checkout.files.iter().filter(|file| file.changed).count();
        let all: usize = checkout.files.iter().map(|file| file.images.len()).sum();
        let images: usize = checkout.files.iter().map(|file| one::changed_images(&file.images)).sum();
        [
            checkout.folder.clone(),
            changed.to_string(),
            images.to_string(),
            (all - images).to_string(),
            checkout.patch.clone().unwrap_or_default(),
        ]
    });
    ui::table(&["FOLDER", "FILES", "IMAGES", "LEFT ALONE", "PATCH"], rows)
}
