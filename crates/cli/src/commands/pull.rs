use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use palan::{
    cache::Cache,
    copy::{self, Copier, Shape, Shaped},
    place::{Format, LegacyWriter, Location, Opened, Places, PutAs, Source, Target},
};
use palan_core::Selector;

use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Pull images into a file or a directory
///
/// Bytes and digests are kept in all formats but legacy. Several images may go into one file or layout; pulling again
/// replaces. Of several platforms (--platform), oci and oci-archive get an index of these. PATH is the file, or for oci the
/// directory; "-" is stdout. A file appears when it is complete.
#[derive(clap::Args)]
#[command(override_usage = "palan pull [OPTIONS] <IMAGE>... <PATH>")]
pub(crate) struct Args {
    // One list, because the parser cannot take flags between two lists of words, and scripts write them there.
    /// The images, and after them the path
    #[arg(value_name = "IMAGE|PATH", required = true)]
    pub(crate) words: Vec<String>,

    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: PullFormat,

    /// Name each image of a layout by its full reference (org.opencontainers.image.ref.name)
    #[arg(long)]
    annotate_ref: bool,

    /// Keep layers and configs in this directory, and take from there what it has
    ///
    /// Layouts on the same file system link what is there instead of copying it.
    #[arg(short = 'c', long = "cache-path", visible_alias = "cache_path", value_name = "DIR")]
    cache_path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum PullFormat {
    /// A docker archive, one image per platform choice
    #[default]
    #[value(alias = "docker-archive")]
    Tarball,
    /// A docker archive as Docker wrote them first, layers not compressed; digests change
    Legacy,
    /// An OCI image layout, indexes whole
    Oci,
    /// An OCI image layout in one file
    OciArchive,
}

impl PullFormat {
    /// Whether indexes stay whole, and images need no names.
    fn is_oci(self) -> bool {
        matches!(self, Self::Oci | Self::OciArchive)
    }
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let (images, path) = split(args)?;
    check(args, path)?;
    let places = session.places()?;
    if path != Path::new("-") {
        let pulled = pull(args, &images, path, &places, session).await?;
        let count = crate::ui::text::count(pulled, "image");
        session.ui.say(format!("pulled {count} to {}", path.display()));
        return Ok(());
    }
    // The images are complete before the first byte is printed.
    let folder = session.temporary_folder()?;
    let file = folder.path().join("image.tar");
    pull(args, &images, &file, &places, session).await?;
    print_file(&file, session)
}

fn split(args: &Args) -> Result<(Vec<Location>, &Path)> {
    match args.words.as_slice() {
        [images @ .., path] if !images.is_empty() => {
            let images = images.iter().map(|image| image.parse()).collect::<std::result::Result<_, _>>()?;
            Ok((images, Path::new(path)))
        }
        _ => Err(Failure::usage("an image and a path are required: palan pull IMAGE... PATH")),
    }
}

fn check(args: &Args, path: &Path) -> Result {
    if args.format == PullFormat::Oci && path == Path::new("-") {
        return Err(Failure::usage("--format oci writes a directory, not stdout")
            .with_hint("--format oci-archive writes a layout as one file"));
    }
    if args.annotate_ref && !args.format.is_oci() {
        return Err(Failure::usage("--annotate-ref is for --format oci"));
    }
    Ok(())
}

async fn pull(
    args: &Args,
    images: &[Location],
    path: &Path,
    places: &Places,
    session: &Session,
) -> Result<usize> {
    let progress = session.ui.progress();
    let cache = args.cache_path.as_ref().map(Cache::create).transpose()?;
    let mut found = Vec::new();
    for image in images {
        let mut source = places.source(image)?;
        if let Some(cache) = &cache {
            source.place = cache.before(source.place, progress.observer());
        }
        let document = document(args, &source, session).await?;
        found.push((source, document, role(args, image)));
    }
    let target = target(args.format, path, places)?;
    let options = session.keep_options(&progress);
    let (mut names, mut pulled) = (HashMap::new(), HashSet::new());
    for (source, document, role) in found {
        document.notes.iter().for_each(|note| session.ui.note(note));
        let digest = document.root.digest();
        pulled.insert(digest);
        if let Some(name) = role.tag()
            && let Some(older) = names.insert(name.to_owned(), digest).filter(|older| *older != digest)
        {
            session.ui.note(format!("{name} is {digest} now, and {older} has no name"));
        }
        Copier::new(&source.place, &target, &options).shaped(&document, &[], role).await?;
    }
    target.finish().await?;
    Ok(pulled.len())
}

fn target(format: PullFormat, path: &Path, places: &Places) -> Result<Arc<dyn Target>> {
    let path = path.to_owned();
    let archive = |format| Location::Archive { path: path.clone(), format, selector: None };
    Ok(match format {
        PullFormat::Oci => places.target(&Location::Layout { path, selector: None })?.place,
        PullFormat::OciArchive => places.target(&archive(Format::Oci))?.place,
        PullFormat::Tarball => places.target(&archive(Format::Docker))?.place,
        PullFormat::Legacy => {
            places.check_target(&archive(Format::Docker))?;
            Arc::new(LegacyWriter::create_with(path, places.scratch().clone())?)
        }
    })
}

/// A docker archive holds single images, a layout whatever there is; of several platforms, an index of these.
async fn document(args: &Args, source: &Opened<dyn Source>, session: &Session) -> Result<Shaped> {
    let (root, platforms) = match args.format.is_oci() {
        true => (source.place.document(source.chosen()?).await?, session.global.platforms()),
        false => (super::read::image(source, session).await?, Vec::new()),
    };
    let shape = Shape { platforms, ..Shape::default() };
    Ok(copy::shape(source.place.as_ref(), root, &shape).await?)
}

/// Under what name an image is kept. What was pulled by digest has none.
fn role(args: &Args, image: &Location) -> PutAs {
    let name = match (args.format.is_oci(), image) {
        (true, image) => args.annotate_ref.then(|| image.to_string()),
        (_, Location::Registry(reference)) => reference.base_name(),
        // A bare tag would become the name of an image on Docker Hub.
        (_, image) => image.selector().and_then(|s| match s {
            Selector::Tag(name) if name.contains(['/', ':']) => Some(name),
            _ => None,
        }),
    };
    name.map_or(PutAs::Root, PutAs::Tag)
}

fn print_file(path: &Path, session: &Session) -> Result {
    let mut file = File::open(path).map_err(|e| Failure::file("read", path, e))?;
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => session.ui.data(&piece[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Failure::file("read", path, e)),
        }
    }
}
