use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use palan::{
    copy::Options,
    export::{Exported, export},
    extract::{Extracted, extract as extracting},
    place::{Format, Location, NewFile, Opened, Source},
};
use palan_core::Document;
use palan_layer::{
    EntryPath,
    extract::{self, Lost, Owners},
    merge::Written,
};

use crate::{
    exit::{Failure, Result},
    session::Session,
    ui::text,
};

/// The buffer in front of the output, in bytes.
const BUFFER: usize = 256 * 1024;

/// How many names of entries stand for all that something was not restored of.
const SHOWN: usize = 3;

/// Write the files of an image as one tar archive
///
/// Layers are merged as a container sees them; entries keep everything they have. Of an index, the image for --platform,
/// by default linux/amd64. An artifact of a single file gives that file. A file that is written appears when it is whole.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image; "-" is a docker archive or an OCI archive on stdin
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The file to write; "-" is stdout
    #[arg(value_name = "TARBALL", default_value = "-")]
    tarball: PathBuf,

    /// Extract to this directory instead, which does not exist yet or is empty
    ///
    /// Nothing is written outside of it, whatever names and links the image has; one whose names lead there is refused.
    /// What cannot be restored is told: without root, these are owners, devices and most extended attributes.
    #[arg(long, value_name = "DIR", conflicts_with = "tarball")]
    dir: Option<PathBuf>,

    /// With --dir: files belong to whom the image says; the default for root
    ///
    /// With their owner, set-user-ID and set-group-ID bits, capabilities and other attributes are restored.
    #[arg(long, requires = "dir", overrides_with = "no_same_owner")]
    same_owner: bool,

    /// With --dir: files belong to you; the default for others
    #[arg(long, requires = "dir")]
    no_same_owner: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    session.global.one_platform()?;
    let stdin = if args.image == "-" { Some(read_stdin(session).await?) } else { None };
    let location = match &stdin {
        Some(file) => {
            Location::Archive { path: file.path().to_owned(), format: Format::Docker, selector: None }
        }
        None => args.image.parse()?,
    };
    let source = session.places()?.source(&location)?;
    let document = super::read::image(&source, session).await?;
    let progress = session.ui.progress();
    let options = session.copy_options(&progress);
    if let Some(dir) = &args.dir {
        let how = extract::Options::new(args.owners());
        let extracted = extracting(source.place.as_ref(), &document, dir, &how, &options).await?;
        drop(progress);
        tell_extracted(&extracted, &args.image, dir, session);
        return Ok(());
    }
    let exported = if args.tarball == Path::new("-") {
        run_export(&source, &document, io::stdout(), &options).await?
    } else {
        to_file(&source, &document, &args.tarball, &options).await?
    };
    drop(progress);
    tell(&exported, &args.image, session);
    Ok(())
}

impl Args {
    fn owners(&self) -> Owners {
        match (self.same_owner, self.no_same_owner) {
            (true, _) => Owners::Archive,
            (_, true) => Owners::Own,
            _ => Owners::usual(),
        }
    }
}

/// An archive is read in more than one place, which stdin cannot be.
async fn read_stdin(session: &Session) -> Result<tempfile::NamedTempFile> {
    let scratch = session.scratch();
    let copy = move || {
        let mut file = scratch.note(tempfile::NamedTempFile::new_in(scratch.path())?)?;
        io::copy(&mut io::stdin().lock(), &mut file)?;
        Ok(file)
    };
    tokio::task::spawn_blocking(copy)
        .await
        .map_err(io::Error::other)?
        .map_err(|e: io::Error| Failure::from(e))
}

async fn run_export(
    source: &Opened<dyn Source>,
    document: &Document,
    out: impl Write + Send + 'static,
    options: &Options,
) -> Result<Exported> {
    let out = BufWriter::with_capacity(BUFFER, out);
    export(source.place.as_ref(), document, out, options).await.map_err(Failure::from)
}

/// Writes beside the file and renames at the end. What is no regular file (a pipe, a device) cannot be replaced.
async fn to_file(
    source: &Opened<dyn Source>,
    document: &Document,
    path: &Path,
    options: &Options,
) -> Result<Exported> {
    let unwritable = |e| Failure::file("write", path, e);
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let out = File::options().write(true).open(path).map_err(unwritable)?;
        return run_export(source, document, out, options).await;
    }
    let file = NewFile::create(path, &options.scratch)?;
    // The thread that writes may outlive this function when it is interrupted; the file's name does not.
    let out = file.file().try_clone().map_err(unwritable)?;
    let exported = run_export(source, document, out, options).await?;
    file.publish()?;
    Ok(exported)
}

fn tell(exported: &Exported, image: &str, session: &Session) {
    match exported {
        Exported::Files { layers, written } => {
            warn(written, "archive", session);
            let layers = text::count(*layers, "layer");
            let entries = counted(written.entries, "entry");
            session.ui.say(format!("exported {layers} of {image}: {entries}, {}", text::size(written.size)));
        }
        Exported::Blob { blob } => {
            let kind = text::one_line(blob.media_type.as_str(), 200);
            let size = text::size(blob.size);
            session.ui.say(format!(
                "exported the only blob of {image}, which is no archive of files: {kind}, {size}"
            ));
        }
        _ => {}
    }
}

fn tell_extracted(extracted: &Extracted, image: &str, dir: &Path, session: &Session) {
    warn(&extracted.written, "directory", session);
    for loss in extracted.report.losses() {
        let count = counted(loss.count, "entry");
        let names = names(&loss.names[..loss.names.len().min(SHOWN)], loss.count);
        session.ui.note(format!("not restored: {} of {count}: {names}", what(loss.what)));
    }
    let layers = text::count(extracted.layers, "layer");
    let entries = counted(extracted.report.entries, "entry");
    let size = text::size(extracted.report.size);
    session.ui.say(format!("extracted {layers} of {image} to {}: {entries}, {size}", dir.display()));
}

fn what(lost: Lost) -> &'static str {
    match lost {
        Lost::Owner => "the owner",
        Lost::SetId => "set-user-ID and set-group-ID bits",
        Lost::Mode => "the mode, which the file system does not have,",
        Lost::Time => "the modification time, which the file system does not have,",
        Lost::Capabilities => "capabilities",
        Lost::Attributes => "extended attributes",
        Lost::Device => "devices, which only root may create,",
        Lost::DeviceNumber => "devices, whose numbers Linux does not have,",
        Lost::Kind => "what is of a kind that no file system has,",
        Lost::Directory => "owner, mode and time of the directory itself",
        _ => "something",
    }
}

fn counted(n: u64, noun: &str) -> String {
    text::count(usize::try_from(n).unwrap_or(usize::MAX), noun)
}

/// Some names, and how many more there are.
fn names(told: &[EntryPath], count: u64) -> String {
    let mut names: Vec<String> = told.iter().map(|name| text::one_line(&name.to_string(), 200)).collect();
    match count - names.len() as u64 {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

fn warn(written: &Written, place: &str, session: &Session) {
    if written.escaping == 0 {
        return;
    }
    let count = counted(written.escaping, "entry");
    session.ui.warning(format!(
        "{count} with names or links that lead out of the root are in the {place} as they are: {}",
        names(&written.escaping_names, written.escaping)
    ));
}
