use std::{
    collections::HashMap,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use palan::{
    convert::{self, Form, Request},
    copy::{self, Summary},
    place::{Format, Location, Opened, Places, PutAs, Source},
    rewrite::{Plan, Subject},
};
use palan_core::{Compression, Document, Family, MediaType, Reference, Repository, Selector};

use super::write::Kind;
use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Push an image from a file or directory to a registry
///
/// A file is a docker or OCI archive, plain or compressed; "-" is stdin. Prints the full reference, by digest.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An image layout (directory), an archive (file), or a location with its scheme
    ///
    /// Of several images, a location with its scheme names one: docker-archive:FILE:NAME, oci:DIR:TAG.
    #[arg(value_name = "PATH")]
    path: String,

    /// Where to, in a registry; with --all-tags without a tag
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Push all images of a layout as one index
    #[arg(long)]
    index: bool,

    /// Push every image that has a name, each under the tag of its own name, and print one reference per image
    #[arg(long, conflicts_with = "index")]
    all_tags: bool,

    /// How to compress the uncompressed layers of a docker archive that has no manifest for them (`docker save` of old)
    ///
    /// Without it gzip. With zstd, the image becomes an OCI image. Images with a manifest keep every byte.
    #[arg(long, value_enum, value_name = "KIND")]
    compression: Option<Kind>,

    /// Also write the full reference, by digest, to this file; one per line where there are several
    #[arg(long, visible_alias = "image_refs", value_name = "FILE")]
    image_refs: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let push = match args.all_tags {
        true => all(args, session).await?,
        false => one(args, session).await?,
    };
    let target = session.places()?.target(&push.target)?.place;
    // Opened before the push: a file that cannot be written must not leave a push that seems to have failed.
    let refs = args.image_refs.as_deref().map(open_private).transpose()?;
    let Some(repository) = push.target.reference().map(|r| r.repository().clone()) else { return Ok(()) };
    let names = push.images.iter().map(|(image, _)| repository.with_digest(image.root.digest()).to_string());
    let names: Vec<String> = names.collect();
    let progress = session.ui.progress();
    let options = session.copy_options(&progress);
    let mut summary = Summary::default();
    for (source, roots) in batches(&push.images) {
        summary = summary + copy::copy(&source, &target, roots, &options).await?;
    }
    drop(progress);
    let text = names.join("\n");
    if let Some((path, mut file)) = refs {
        // A pipe or a device cannot be cut.
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let emptied = if is_file { file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|e| Failure::file("write", path, e))?;
    }
    session.ui.say(format!("pushed {} to {}: {}", push.what, args.image, super::write::summary(&summary)));
    session.ui.line(text)
}

/// What is to be pushed.
struct Push {
    images: Vec<(Image, PutAs)>,
    target: Location,
    what: String,
}

/// An image as it is pushed.
#[derive(Clone)]
struct Image {
    source: Arc<dyn Source>,
    root: Document,
    /// Holds its layers where they were compressed.
    _plan: Option<Arc<Plan>>,
}

/// What is in one place, with the roles in which it is put into the target.
type Batch = (Arc<dyn Source>, Vec<(Document, PutAs)>);

/// The images by the places that they come from: what those share moves once.
fn batches(images: &[(Image, PutAs)]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (image, role) in images {
        let root = (image.root.clone(), role.clone());
        match batches.iter_mut().find(|(source, _)| Arc::ptr_eq(source, &image.source)) {
            Some((_, roots)) => roots.push(root),
            None => batches.push((Arc::clone(&image.source), vec![root])),
        }
    }
    batches
}

/// The image with its layers compressed, where it has no manifest of its own that says how they are stored.
async fn packed(args: &Args, source: Arc<dyn Source>, root: Document, session: &Session) -> Result<Image> {
    if !source.is_made(root.digest()) {
        if args.compression.is_some() {
            session.ui.note(format!("{} holds a manifest: its layers stay as they are", args.path));
        }
        return Ok(Image { source, root, _plan: None });
    }
    let compression = args.compression.map_or(Compression::Gzip, Compression::from);
    // Docker's family has no media type for zstd.
    let family = (compression == Compression::Zstd).then_some(Family::Oci);
    let form = Form { family, compression: Some(compression), only_uncompressed: true, ..Form::default() };
    let request = Request { subject: Subject::new(location(&args.path)?), form };
    let progress = session.ui.progress();
    let plan = convert::plan_opened(source, root, request, &session.copy_options(&progress)).await?;
    Ok(Image { source: plan.result(), root: plan.root().clone(), _plan: Some(Arc::new(plan)) })
}

async fn one(args: &Args, session: &Session) -> Result<Push> {
    let image: Reference = args.image.parse()?;
    let (source, document) = read(args, &session.places()?, session).await?;
    let target = Location::Registry(image);
    let image = packed(args, source.place, document, session).await?;
    let role = PutAs::at(&target, image.root.digest())?;
    Ok(Push { images: vec![(image, role)], target, what: args.path.clone() })
}

/// Every image that has a name, under the tag of its name.
async fn all(args: &Args, session: &Session) -> Result<Push> {
    let repository: Repository = args.image.parse()?;
    let any = Selector::Tag("latest".to_owned());
    // Opening a place without a choice asks for its only image; the choice itself is not used.
    let location = match location(&args.path)? {
        Location::Layout { path, selector: None } => Location::Layout { path, selector: Some(any.clone()) },
        Location::Archive { path, format, selector: None } => {
            Location::Archive { path, format, selector: Some(any.clone()) }
        }
        _ => return Err(Failure::usage(format!("{} names one image, --all-tags takes all", args.path))),
    };
    let source = session.places()?.source(&location)?.place;
    let mut roots: Vec<(Document, PutAs)> = Vec::new();
    for name in source.tags().await? {
        let opened = Opened { place: Arc::clone(&source), selector: Some(Selector::Tag(name.clone())) };
        let (document, tag) = (super::read::document(&opened, session).await?, tag_of(&name)?);
        let role = PutAs::Tag(tag.clone());
        match roots.iter().find(|(_, other)| *other == role) {
            None => roots.push((document, role)),
            Some((other, _)) if other.digest() == document.digest() => {}
            Some(_) => {
                let message = format!("several images of {} would get the tag {tag}", args.path);
                let hint =
                    format!("push them one by one: palan push docker-archive:{}:{name} IMAGE", args.path);
                return Err(Failure::usage(message).with_hint(hint));
            }
        }
    }
    if roots.is_empty() {
        return Err(Failure::usage(format!("{} holds no image with a name", args.path)));
    }
    let what = format!("{} of {}", crate::ui::text::count(roots.len(), "image"), args.path);
    let images = all_packed(args, &source, roots, session).await?;
    Ok(Push { images, target: Location::Registry(repository.at(&any)), what })
}

/// As [`packed`], each image once however many tags it gets.
async fn all_packed(
    args: &Args,
    source: &Arc<dyn Source>,
    roots: Vec<(Document, PutAs)>,
    session: &Session,
) -> Result<Vec<(Image, PutAs)>> {
    let (mut known, mut images) = (HashMap::new(), Vec::new());
    for (root, role) in roots {
        let digest = root.digest();
        let image = match known.get(&digest) {
            Some(image) => Image::clone(image),
            None => packed(args, Arc::clone(source), root, session).await?,
        };
        known.insert(digest, image.clone());
        images.push((image, role));
    }
    Ok(images)
}

/// The tag of a name: of a full reference its own, else the name.
fn tag_of(name: &str) -> Result<String> {
    if !name.contains(['/', ':']) {
        return Ok(name.to_owned());
    }
    let reference: Reference = name.parse()?;
    reference.tag().map(str::to_owned).ok_or_else(|| Failure::usage(format!("{name} has no tag")))
}

async fn read(args: &Args, places: &Places, session: &Session) -> Result<(Opened<dyn Source>, Document)> {
    let location = location(&args.path)?;
    if !args.index {
        let source = places.source(&location).map_err(|e| several(e, &location))?;
        let document = super::read::document(&source, session).await?;
        return Ok((source, document));
    }
    let Location::Layout { path, selector: None } = location else {
        return Err(Failure::usage("--index pushes a whole image layout: give its directory"));
    };
    let file = path.join("index.json");
    let bytes = std::fs::read(&file).map_err(|e| Failure::file("read", &file, e))?;
    let document = Document::parse(bytes, Some(MediaType::OCI_INDEX)).map_err(|source| {
        let (name, place) = ("index.json".to_owned(), args.path.clone());
        palan::Error::Document { name, place, source }
    })?;
    let source = places.source(&Location::Layout { path, selector: Some(document.digest().into()) })?;
    Ok((source, document))
}

/// A path as crane takes it: a directory is a layout, a file an archive.
fn location(text: &str) -> Result<Location> {
    if ["oci:", "oci-archive:", "docker-archive:"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.parse()?);
    }
    let path = Path::new(if text == "-" { "/dev/stdin" } else { text });
    let metadata = path.metadata().map_err(|e| Failure::file("read", path, e))?;
    Ok(match metadata.is_dir() {
        true => Location::Layout { path: path.to_owned(), selector: None },
        // Reading a docker archive also reads an OCI archive.
        false => Location::Archive { path: path.to_owned(), format: Format::Docker, selector: None },
    })
}

fn several(error: palan::Error, location: &Location) -> Failure {
    let palan::Error::ChooseOne { choices, .. } = &error else { return error.into() };
    let first = choices.first().cloned().unwrap_or_default();
    let index = match location {
        Location::Layout { .. } => ", or all as one index with --index",
        _ => "",
    };
    let hint = match first.starts_with("sha") {
        true => format!("name one of them: palan push {location}@{first} IMAGE{index}"),
        false => format!(
            "name one of them: palan push {location}:{first} IMAGE; or push each under its own tag with --all-tags{index}"
        ),
    };
    Failure::from(error).with_hint(hint)
}

/// A file as crane writes it: for the owner only. What it holds stays until there is something to write.
fn open_private(path: &Path) -> Result<(&Path, std::fs::File)> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok((path, options.open(path).map_err(|e| Failure::file("write", path, e))?))
}
