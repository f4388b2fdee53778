use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
};

use palan::{
    place::Location,
    source::{self, Concern, Image, Kind, Outcome, Swap},
};
use palan_core::Reference;
use serde::Serialize;

use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// Put sources on another base: FROM lines, compose files, Kubernetes manifests and Helm values
///
/// Finds the old base in Dockerfiles and Containerfiles (FROM, also by way of ARG, COPY --from and RUN --mount) and in
/// YAML (image: of compose files, manifests and Helm values, build arguments, dockerfile_inline), and prints what would
/// change as a unified diff for `git apply` or `patch -p1`. Comments, formatting and line ends stay. What is not certain
/// is left alone, and said.
///
/// In folders these are read: Dockerfile, Dockerfile.*, *.Dockerfile, Containerfile*, *.yaml and *.yml; not in hidden
/// folders, node_modules, target and vendor. Symbolic links are not followed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files and folders
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// The base to replace; a tag also stands for the digests that it is pinned to
    #[arg(long, visible_alias = "old_base", value_name = "REF")]
    old_base: Reference,

    /// The base to put in its place; with a digest, names are pinned to it
    #[arg(long, visible_alias = "new_base", value_name = "REF")]
    new_base: Reference,

    /// Change the files, and print their names
    #[arg(long)]
    write: bool,

    /// Exit with code 1 when something would change
    #[arg(long, conflicts_with = "write")]
    check: bool,

    /// Ask the registry for the new base's digest, and pin names to it
    #[arg(long)]
    pin: bool,

    /// Let go of digests when the new base has none; otherwise pinned names are left alone then
    #[arg(long, conflicts_with = "pin")]
    unpin: bool,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

/// The report for programs.
#[derive(Serialize)]
struct Report {
    old_base: Reference,
    new_base: Reference,
    /// Whether the files were changed.
    written: bool,
    files: Vec<File>,
}

/// A file that concerns the old base, or could not be read.
#[derive(Serialize)]
pub(in crate::commands) struct File {
    pub(in crate::commands) path: String,
    kind: Kind,
    pub(in crate::commands) changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    pub(in crate::commands) images: Vec<Image>,
    #[serde(skip)]
    pub(in crate::commands) place: PathBuf,
    #[serde(skip)]
    before: String,
    #[serde(skip)]
    after: String,
}

impl File {
    /// Whether there is something to say about it.
    pub(in crate::commands) fn concerns(&self) -> bool {
        self.skipped.is_some() || !self.images.is_empty()
    }

    /// What changes, in a patch in which it has this name.
    pub(in crate::commands) fn diff(&self, name: &str) -> String {
        source::diff::unified(name, &self.before, &self.after)
    }
}

pub(in crate::commands) async fn run(args: &Args, session: &Session) -> Result {
    let found = walk(&args.paths)?;
    let swap = Swap::new(args.old_base.clone(), new_base(args, session).await?).unpin(args.unpin);
    let mut files = Vec::new();
    for (place, kind) in found {
        let file = read(place, kind, async |_| Ok(vec![swap.clone()])).await?;
        if file.concerns() {
            files.push(file);
        }
    }
    if args.write {
        files.iter().filter(|file| file.changed).try_for_each(write)?;
    }
    let changed = files.iter().any(|file| file.changed);
    let report = Report {
        old_base: swap.old().clone(),
        new_base: swap.new_base().clone(),
        written: args.write && changed,
        files,
    };
    match args.format {
        ReportFormat::Json => session.ui.json(&report)?,
        ReportFormat::Text => print(args, &report, session)?,
    }
    match args.check && changed {
        true => Err(Failure::reported(Code::Failure)),
        false => Ok(()),
    }
}

async fn new_base(args: &Args, session: &Session) -> Result<Reference> {
    if !args.pin || args.new_base.digest().is_some() {
        return Ok(args.new_base.clone());
    }
    let source = session.places()?.source(&Location::Registry(args.new_base.clone()))?;
    let found = source.place.resolve(source.chosen()?).await?;
    Ok(args.new_base.pinned(found.digest))
}

/// The sources by path, each once.
pub(in crate::commands) fn walk(paths: &[PathBuf]) -> Result<BTreeMap<PathBuf, Kind>> {
    let mut out = BTreeMap::new();
    for path in paths {
        let found = source::walk(path).map_err(|(path, error)| Failure::file("read", &path, error))?;
        out.extend(found.into_iter().map(|found| (plain(&found.path), found.kind)));
    }
    Ok(out)
}

/// Without the `./` that people type.
pub(in crate::commands) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Reads a file, and makes the replacements that are wanted for its text, one after the other.
pub(in crate::commands) async fn read(
    place: PathBuf,
    kind: Kind,
    swaps: impl AsyncFnOnce(&str) -> Result<Vec<Swap>>,
) -> Result<File> {
    let path = slashes(&place);
    let content = content(&place).map_err(|error| Failure::file("read", &place, error))?;
    let (before, skipped) = match content {
        Ok(text) => (text, None),
        Err(reason) => (String::new(), Some(reason)),
    };
    let (mut after, mut images) = (before.clone(), Vec::new());
    for swap in swaps(&before).await? {
        let patch = source::patch(kind, &after, &swap);
        after = patch.apply(&after);
        images.extend(patch.images);
    }
    images.sort_by_key(|image| image.line);
    Ok(File { path, kind, changed: before != after, skipped, images, place, before, after })
}

/// A path as patches have it.
pub(in crate::commands) fn slashes(path: &Path) -> String {
    path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")
}

/// The text of a file, or why it is none.
fn content(path: &Path) -> io::Result<std::result::Result<String, String>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(source::MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > source::MAX_SIZE {
        return Ok(Err(format!("is larger than {}", text::size(source::MAX_SIZE as u64))));
    }
    if bytes.contains(&0) {
        return Ok(Err("is not text".to_owned()));
    }
    Ok(String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()))
}

/// Replaces a file as a whole, with its permissions; a symbolic link that was named stays one.
fn write(file: &File) -> Result {
    let failed = |error| Failure::file("write", &file.place, error);
    let place = fs::canonicalize(&file.place).map_err(failed)?;
    if fs::read(&place).map_err(failed)? != file.before.as_bytes() {
        let message = format!("{} was changed by somebody else meanwhile", file.path);
        return Err(Failure::new(Code::Conflict, message));
    }
    let folder = place.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    new.write_all(file.after.as_bytes()).map_err(failed)?;
    let permissions = fs::metadata(&place).map_err(failed)?.permissions();
    fs::set_permissions(new.path(), permissions).map_err(failed)?;
    new.persist(&place).map_err(|error| failed(error.error))?;
    Ok(())
}

fn print(args: &Args, report: &Report, session: &Session) -> Result {
    let changed = report.files.iter().filter(|file| file.changed);
    for file in changed.clone() {
        match args.write {
            true => session.ui.line(&file.path)?,
            false => session.ui.data(file.diff(&file.path).as_bytes())?,
        }
    }
    notes(&report.files, session);
    let images = report.files.iter().map(|file| changed_images(&file.images)).sum::<usize>();
    let what = format!("{} in {}", text::count(images, "image"), text::count(changed.count(), "file"));
    session.ui.say(match (images, args.write) {
        (0, _) => format!("nothing to change: {} was not found where it can be replaced", args.old_base),
        (_, true) => format!("changed {what}"),
        (_, false) => format!("would change {what}; --write does it"),
    });
    Ok(())
}

/// How many images change.
pub(in crate::commands) fn changed_images(images: &[Image]) -> usize {
    images.iter().filter(|image| matches!(image.outcome, Outcome::Changed { .. })).count()
}

/// What was left alone, and why.
pub(in crate::commands) fn notes<'a>(files: impl IntoIterator<Item = &'a File>, session: &Session) {
    let mut templates = 0;
    for file in files {
        if let Some(reason) = &file.skipped {
            session.ui.note(format!("{} {reason}, left alone", file.path));
        }
        for image in &file.images {
            let at = format!("{}:{}: {}", file.path, image.line, image.what);
            let name = text::one_line(&image.written, 200);
            match &image.outcome {
                Outcome::Left { concern: Concern::Template, .. } => templates += 1,
                Outcome::Left { concern: Concern::OldBase, reason } => {
                    session.ui.warning(format!("{at} {name} was left alone: {reason}"));
                }
                Outcome::Left { reason, .. } => {
                    session.ui.note(format!("{at} {name} was left alone: {reason}"));
                }
                Outcome::Changed { note: Some(note), .. } => session.ui.note(format!("{at} {name}: {note}")),
                Outcome::Changed { .. } => {}
            }
        }
    }
    if templates > 0 {
        let many = text::count(templates, "image");
        session.ui.note(format!("{many} in templates left alone; --format json names them"));
    }
}
