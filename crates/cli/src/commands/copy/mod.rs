mod report;
mod tags;

use std::sync::Arc;

use palan::{
    companions::{Finder, Found, Which},
    copy::{self, Copier, Shape, Shaped, TagFilter, TagPattern},
    image,
    place::{Format, Location, Places, PutAs, Source, Target},
};
use palan_core::{Digest, Document, Kind, Selector};

use super::dry::Dry;
use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
};
use report::{Copied, Report};

/// Copy an image, or all images of a repository, from any location to any other
///
/// Bytes and digests stay as they are, and layers that the destination has, or that its registry can mount, are not
/// moved. An index is copied whole, unless --platform chooses one of its images, which is copied as an image, or several,
/// which are copied as an index of these. An index that lists less than before, or --attestations changes, gets another
/// digest, which is said.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image; with --all-tags or --tags, the repository, layout or archive
    #[arg(value_name = "SRC")]
    source: String,

    /// Where to; with --all-tags or --tags, a repository, layout or archive
    #[arg(value_name = "DST")]
    destination: String,

    /// Copy every tag; tags after a failed one are still copied
    #[arg(short, long)]
    all_tags: bool,

    /// Copy the tags that match a pattern: * stands for any characters, ? for one; may be repeated
    #[arg(long, value_name = "PATTERN")]
    tags: Vec<TagPattern>,

    /// Copy all tags, or those of --tags, but none that matches this pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_tags: Vec<TagPattern>,

    /// Leave tags alone that the destination already has
    #[arg(short, long)]
    no_clobber: bool,

    /// Copy what is said about the image, too: signatures, SBOMs, attestations, of each of its images and of each other
    ///
    /// These are the manifests that refer to it, by the registry's list of referrers or by the tag that stands for one,
    /// and the digest tags of older tools. What is listed as a referrer and does not refer to the image is left out.
    #[arg(long)]
    referrers: bool,

    /// Of that, copy digest tags only: sha256-….sig, .att, .sbom and the like
    #[arg(long)]
    digest_tags: bool,

    /// What becomes of the attestations that an index lists
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    attestations: Attestations,

    /// Say what would be copied, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// The form of the report: text goes to stderr, json to stdout
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: ReportFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Attestations {
    /// They are copied as they are
    #[default]
    Keep,
    /// They are left out, and the index is rewritten
    Strip,
    /// Artifacts become manifests with an image config, for registries that refuse the empty config
    Legacy,
    /// They leave the index and become referrers of the images that they are about
    Referrers,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let job = Job::new(args, session)?;
    let many = args.all_tags || !args.tags.is_empty() || !args.exclude_tags.is_empty();
    let ran = if many { tags::run(&job).await } else { one(&job).await };
    ran.map_err(hinted)
}

/// What `--attestations` could do about it.
fn hinted(failure: Failure) -> Failure {
    if failure.is_because(|error| matches!(error, palan::Error::NoAttestation { .. })) {
        return failure.with_hint("--attestations strip leaves attestations out");
    }
    match failure.is_because(|error| matches!(error, palan::Error::MediaTypeRefused { .. })) {
        true => failure.with_hint(
            "attestations can be copied in the form before that (--attestations legacy), or left out (--attestations strip)",
        ),
        false => failure,
    }
}

/// What a copy has at hand.
struct Job<'a> {
    args: &'a Args,
    session: &'a Session,
    places: Places,
    shape: Shape,
    which: Which,
}

impl<'a> Job<'a> {
    fn new(args: &'a Args, session: &'a Session) -> Result<Self> {
        let attestations = match args.attestations {
            Attestations::Keep => copy::AttestationForm::Keep,
            Attestations::Strip => copy::AttestationForm::Strip,
            Attestations::Legacy => copy::AttestationForm::Legacy,
            Attestations::Referrers => copy::AttestationForm::Referrers,
        };
        let shape = Shape { platforms: session.global.platforms(), attestations };
        let which = Which { referrers: args.referrers, digest_tags: args.referrers || args.digest_tags };
        Ok(Self { args, session, places: session.places()?, shape, which })
    }

    fn filter(&self) -> TagFilter {
        TagFilter { include: self.args.tags.clone(), exclude: self.args.exclude_tags.clone() }
    }

    fn target(&self, to: &Location) -> Result<Arc<dyn Target>> {
        // What is written replaces the whole file, also images with other tags.
        if let (true, Location::Archive { path, .. }) = (self.args.no_clobber, to)
            && std::fs::symlink_metadata(path).is_ok()
        {
            let message = format!("{} exists and --no-clobber was given", path.display());
            return Err(Failure::new(Code::Conflict, message));
        }
        if self.args.dry_run { Dry::open(&self.places, to) } else { Ok(self.places.target(to)?.place) }
    }

    /// Reads an image, gives it its shape, and looks for what travels with it.
    async fn read(&self, source: &dyn Source, selector: &Selector, finder: &Finder<'_>) -> Result<Image> {
        let root = source.document(selector).await?;
        self.shaped(source, root, finder).await
    }

    async fn shaped(&self, source: &dyn Source, root: Document, finder: &Finder<'_>) -> Result<Image> {
        let old = root.digest();
        let shaped = copy::shape(source, root, &self.shape).await?;
        let found = finder.find(&shaped).await?;
        Ok(Image { old, shaped, found })
    }

    /// The role of what goes under a tag.
    fn tagged(&self, tag: String) -> PutAs {
        if self.args.no_clobber { PutAs::Absent(tag) } else { PutAs::Tag(tag) }
    }
}

/// An image as it is to be copied.
struct Image {
    old: Digest,
    shaped: Shaped,
    found: Found,
}

impl Image {
    async fn copy(&self, copier: &Copier, role: PutAs) -> Result {
        Ok(copier.shaped(&self.shaped, &self.found.companions, role).await?)
    }

    fn say(&self, session: &Session) {
        self.shaped.notes.iter().chain(&self.found.notes).for_each(|note| session.ui.note(note));
    }
}

async fn one(job: &Job<'_>) -> Result {
    let (args, session) = (job.args, job.session);
    let (from, to): (Location, Location) = (args.source.parse()?, args.destination.parse()?);
    let source = job.places.source_for(&from, &to)?;
    let finder = Finder::new(source.place.as_ref(), job.which);
    let place = source.place.as_ref();
    let mut root = place.document(source.chosen()?).await?;
    if matches!(to, Location::Archive { format: Format::Docker, .. }) {
        root = only_image(place, root).await?;
    }
    let image = job.shaped(place, root, &finder).await?;
    let role = match PutAs::at(&to, image.shaped.root.digest())? {
        PutAs::Tag(tag) => job.tagged(tag),
        role => role,
    };
    let target = job.target(&to)?;
    if let PutAs::Absent(tag) = &role
        && let Some(found) = existing(target.as_ref(), tag).await?
    {
        return Err(Failure::new(
            Code::Conflict,
            format!("{to} exists ({found}) and --no-clobber was given"),
        ));
    }
    image.say(session);
    let progress = session.ui.progress();
    let copier = Copier::new(&source.place, &target, &session.copy_options(&progress));
    image.copy(&copier, role).await?;
    target.finish().await?;
    drop(progress);
    let (from, to) = (from.to_string(), to.to_string());
    let images = vec![Copied::new(None, &image)];
    Report { what: from.clone(), from, to, dry_run: args.dry_run, images, summary: copier.summary() }
        .print(args.format, session)
}

/// A docker archive cannot hold an index; where that lists one image only, there is nothing to choose.
async fn only_image(source: &dyn Source, root: Document) -> Result<Document> {
    let is_choice = root.kind() == Kind::Index && image::platforms(source, &root).await?.len() != 1;
    Ok(if is_choice { root } else { image::choose_from(source, root, None).await? })
}

async fn existing(target: &dyn Target, tag: &str) -> Result<Option<Digest>> {
    match target.resolve(&Selector::Tag(tag.to_owned())).await {
        Ok(found) => Ok(Some(found.digest)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}
