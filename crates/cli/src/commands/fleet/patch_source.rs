use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use palan::{
    fleet::{self, BaseRule},
    place::NewFile,
    source::{self, Swap},
};
use palan_core::Reference;
use serde::Serialize;

use super::named::{self, FILE};
use crate::{
    args::ReportFormat,
    commands::base::patch_source::{self as one, File},
    exit::{Failure, Result},
    session::Session,
    ui::{self, text},
};

/// Put the sources of many repositories on other bases: a patch for each
///
/// Does in every checkout what `base patch-source` does, and writes what would change as one patch for each, to be applied
/// with `git apply` where the checkout is. The checkouts stay as they are. Bases are replaced as --old-base and --new-base
/// say, or as the rules of fleet.toml do that say by name what takes a base's place.
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
enum Wanted {
    One(Box<Swap>),
    Rules(Vec<BaseRule>),
}

pub(super) fn run(args: &Args, session: &Session) -> Result {
    let wanted = wanted(args, session)?;
    let (mut checkouts, mut names) = (Vec::new(), BTreeSet::new());
    for folder in folders(&args.folders)? {
        let (checkout, patch) = look(&folder, &wanted, args.unpin)?;
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
    let patches = checkouts.iter().filter(|checkout| checkout.patch.is_some()).count();
    let of = text::count(checkouts.len(), "checkout");
    session.ui.say(format!(
        "wrote {} for {of} to {}",
        text::count(patches, "patch file"),
        args.patches.display()
    ));
    Ok(())
}

fn wanted(args: &Args, session: &Session) -> Result<Wanted> {
    if let (Some(old), Some(new)) = (&args.old_base, &args.new_base) {
        return Ok(Wanted::One(Box::new(Swap::new(old.clone(), new.clone()))));
    }
    let file = args.file.as_deref().unwrap_or(Path::new(FILE));
    let rules = named::settings(file, session)?.bases;
    for rule in rules.iter().filter(|rule| rule.to.is_none()) {
        session.ui.note(format!("the rule for {} does not name a base, and is passed over", rule.from));
    }
    if rules.iter().all(|rule| rule.to.is_none()) {
        let message = format!("{} has no rule that names what takes a base's place", file.display());
        return Err(Failure::usage(message).with_hint("--old-base BASE --new-base BASE"));
    }
    Ok(Wanted::Rules(rules))
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
fn look(folder: &Path, wanted: &Wanted, unpin: bool) -> Result<(Checkout, String)> {
    let (mut files, mut patch) = (Vec::new(), String::new());
    let root: PathBuf = one::plain(folder);
    for (place, kind) in one::walk(std::slice::from_ref(&folder.to_owned()))? {
        let file = one::read(place, kind, |text| {
            let swaps = match wanted {
                Wanted::One(swap) => vec![Swap::clone(swap)],
                Wanted::Rules(rules) => {
                    fleet::swaps(rules, &source::mentioned(kind, text)).map_err(Failure::usage)?
                }
            };
            Ok(swaps.into_iter().map(|swap| swap.unpin(unpin)).collect())
        })?;
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
    NewFile::write(&path, patch.as_bytes(), &session.env.scratch())?;
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
