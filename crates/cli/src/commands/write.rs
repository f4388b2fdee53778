//! What the writing verbs share.

use palan::{
    copy::Summary,
    place::{Format, Location},
    rewrite::{self, Attestations, Plan, Subject},
};
use palan_core::{Compression, Digest, Kind as DocumentKind, Reference, Selector};
use palan_layer::{Encoder, Level};

use crate::{
    exit::{Failure, Result},
    session::Session,
    ui::text,
};

/// Where the result goes: the same for every verb that writes an image.
#[derive(clap::Args)]
pub(super) struct Writing {
    /// Where the result goes; default: the image's own tag or, for an image that is named by digest, its repository
    #[arg(short, long, value_name = "IMAGE")]
    tag: Option<Location>,

    /// Say what the result would be, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Where the result of a change goes, and what becomes of attestations: the same for every verb that changes images.
#[derive(clap::Args)]
pub(super) struct Rewriting {
    #[command(flatten)]
    writing: Writing,

    /// What becomes of an index's attestations about images that are replaced: keep them, marked as being about the old
    /// ones, or drop them
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    attestations: Keep,
}

/// How layers are compressed: the same for every verb that makes layers. What `--compression` is about, and what counts
/// without it, is the verb's to say.
#[derive(clap::Args)]
pub(super) struct Compressing {
    /// Compression of layers
    #[arg(long, value_enum, value_name = "KIND")]
    compression: Option<Kind>,

    /// How hard to compress: gzip 0 to 12, by default 5; zstd 1 to 22, by default 3
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    level: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    Gzip,
    Zstd,
    None,
}

impl From<Kind> for Compression {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Gzip => Self::Gzip,
            Kind::Zstd => Self::Zstd,
            Kind::None => Self::None,
        }
    }
}

impl Compressing {
    /// What `--compression` says.
    pub(super) fn kind(&self) -> Option<Compression> {
        self.compression.map(Compression::from)
    }

    /// The level, which the compression (by default gzip) must have: to be asked for before anything is read.
    pub(super) fn level(&self) -> Result<Option<Level>> {
        let Some(level) = self.level else { return Ok(None) };
        let kind = self.kind().unwrap_or(Compression::Gzip);
        if kind == Compression::None {
            return Err(Failure::usage(format!("--level {level}: what is not compressed has no level")));
        }
        let level = Level::new(level);
        Encoder::new(std::io::sink(), kind, level).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(Some(level))
    }
}

/// What fails in verbs with [`Compressing`].
pub(super) fn not_compressed_so(error: palan::Error) -> Failure {
    let is_it = matches!(error, palan::Error::NoMediaType { .. });
    let failure = Failure::from(error);
    if is_it { failure.with_hint("--compression gzip stores it as gzip") } else { failure }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Keep {
    #[default]
    Keep,
    Drop,
}

impl From<Keep> for Attestations {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Keep => Self::Keep,
            Keep::Drop => Self::Drop,
        }
    }
}

impl Rewriting {
    /// Whether nothing is to be written.
    pub(super) fn is_dry(&self) -> bool {
        self.writing.is_dry()
    }

    /// What to change. `target` takes the place of `--tag`.
    pub(super) fn subject(&self, image: Location, target: Option<Location>, session: &Session) -> Subject {
        let target = target.or_else(|| self.tag().cloned());
        let (platforms, attestations) = (session.global.platforms(), self.attestations.into());
        Subject { image, platforms, target, attestations }
    }

    /// What `--tag` says.
    pub(super) fn tag(&self) -> Option<&Location> {
        self.writing.tag()
    }

    /// As [`Writing::finish`].
    pub(super) async fn finish(&self, plan: Plan, done: &str, session: &Session) -> Result {
        self.writing.finish(plan, done, session).await
    }

    /// As [`Writing::finish`], but prints the tag where the result goes to one: so does crane's `edit`.
    pub(super) async fn finish_by_name(&self, plan: Plan, done: &str, session: &Session) -> Result {
        let name = match plan.target().reference() {
            Some(target) if target.digest().is_none() => target.to_string(),
            _ => reference(plan.target(), plan.digest()),
        };
        write(&plan, self.writing.dry_run, done, session).await?;
        session.ui.line(name)
    }
}

impl Writing {
    /// What `--tag` says.
    pub(super) fn tag(&self) -> Option<&Location> {
        self.tag.as_ref()
    }

    /// Whether nothing is to be written.
    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// As [`finish`].
    pub(super) async fn finish(&self, plan: Plan, done: &str, session: &Session) -> Result {
        finish(plan, self.dry_run, done, session).await
    }
}

/// Writes a plan, says so in one sentence, and prints the full reference of the result, by digest.
pub(super) async fn finish(plan: Plan, dry_run: bool, done: &str, session: &Session) -> Result {
    write(&plan, dry_run, done, session).await?;
    match plan.target() {
        // crane prints nothing for what it writes into a file.
        Location::Archive { .. } => Ok(()),
        target => session.ui.line(reference(target, plan.digest())),
    }
}

/// Writes a plan, and says so in one sentence.
async fn write(plan: &Plan, dry_run: bool, done: &str, session: &Session) -> Result {
    if dry_run {
        plan.notes().iter().cloned().chain(plan.left_behind().await).for_each(|note| session.ui.note(note));
        let what = if plan.is_noop() { "nothing would change" } else { "dry run: nothing was written" };
        session.ui.say(format!("{what}: {}", plan.target()));
        return Ok(());
    }
    let places = session.places()?;
    let progress = session.ui.progress();
    let options = match plan.target() {
        Location::Archive { .. } => session.keep_options(&progress),
        _ => session.copy_options(&progress),
    };
    let outcome = rewrite::apply(&places, plan, &options).await?;
    drop(progress);
    session.ui.say(match outcome.pushed {
        true => format!("{done} {}: {}", plan.target(), summary(&outcome.summary)),
        false => format!("nothing changed: {}", plan.target()),
    });
    Ok(())
}

/// Where `--output` writes to: a location with its scheme, else the file of a docker archive, which names the image as
/// `named` does.
pub(super) fn output(file: &str, named: Option<&Location>) -> Result<Location> {
    if ["oci:", "oci-archive:", "docker-archive:"].iter().any(|scheme| file.starts_with(scheme)) {
        return file.parse().map_err(Failure::from);
    }
    let name = named.and_then(Location::reference).and_then(Reference::base_name);
    Ok(Location::Archive { path: file.into(), format: Format::Docker, selector: name.map(Selector::Tag) })
}

/// The one image that goes into a docker archive, which holds single images, by its digest: that of an index which
/// `--platform` asks for, by default linux/amd64. `None`: there is no such choice to make.
pub(super) async fn single(
    image: &Location,
    target: Option<&Location>,
    session: &Session,
) -> Result<Option<Location>> {
    if !matches!(target, Some(Location::Archive { format: Format::Docker, .. })) {
        return Ok(None);
    }
    let source = session.places()?.source(image)?;
    if source.place.document(source.chosen()?).await?.kind() != DocumentKind::Index {
        return Ok(None);
    }
    let chosen = super::read::image(&source, session).await?;
    match image {
        // The tag tells base hints the image's name.
        Location::Registry(reference) if reference.digest().is_none() => {
            Ok(Some(format!("{reference}@{}", chosen.digest()).parse()?))
        }
        _ => Ok(Some(by_digest(image, chosen.digest()))),
    }
}

fn by_digest(location: &Location, digest: Digest) -> Location {
    match location {
        Location::Registry(reference) => Location::Registry(reference.repository().with_digest(digest)),
        Location::Layout { path, .. } => {
            Location::Layout { path: path.clone(), selector: Some(digest.into()) }
        }
        Location::Archive { path, format, .. } => {
            Location::Archive { path: path.clone(), format: *format, selector: Some(digest.into()) }
        }
    }
}

/// `3 blobs moved (1.20 MiB), 2 mounted or linked, 1 already there`
pub(super) fn summary(summary: &Summary) -> String {
    let mut parts = Vec::new();
    let mut part = |n: u64, text: &dyn Fn(String) -> String| {
        if n > 0 {
            parts.push(text(text::count(usize::try_from(n).unwrap_or(usize::MAX), "blob")));
        }
    };
    let bytes = text::size(summary.bytes_moved);
    part(summary.blobs_moved, &|n| format!("{n} moved ({bytes})"));
    part(summary.blobs_adopted, &|n| format!("{n} mounted or linked"));
    part(summary.blobs_present, &|n| format!("{n} already there"));
    part(summary.blobs_skipped, &|n| format!("{n} not distributable and left out"));
    match parts.is_empty() {
        true => "everything was there".to_owned(),
        false => parts.join(", "),
    }
}

/// What a script goes on with: the full reference of a result, by digest.
pub(super) fn reference(target: &Location, digest: Digest) -> String {
    by_digest(target, digest).to_string()
}

/// `KEY=VALUE`; the value may be empty.
pub(super) fn key_value(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is expected".to_owned()),
    }
}
