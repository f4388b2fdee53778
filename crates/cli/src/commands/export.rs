use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use palan::{
    copy::Options,
    export::{Exported, export},
    place::{Format, Location, NewFile, Opened, Source},
};
use palan_core::Document;
use palan_layer::merge::Written;

use crate::{
    exit::{Failure, Result},
    session::Session,
    ui::text,
};

/// The buffer in front of the output, in bytes.
const BUFFER: usize = 256 * 1024;

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
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    session.global.one_platform()?;
    let stdin = if args.image == "-" { Some(read_stdin().await?) } else { None };
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
    let exported = if args.tarball == Path::new("-") {
        run_export(&source, &document, io::stdout(), &options).await?
    } else {
        to_file(&source, &document, &args.tarball, &options).await?
    };
    drop(progress);
    tell(&exported, &args.image, session);
    Ok(())
}

/// An archive is read in more than one place, which stdin cannot be.
async fn read_stdin() -> Result<tempfile::NamedTempFile> {
    let copy = || {
        let mut file = tempfile::NamedTempFile::new()?;
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
            warn(written, session);
            let layers = text::count(*layers, "layer");
            let entries = text::count(usize::try_from(written.entries).unwrap_or(usize::MAX), "entry");
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

fn warn(written: &Written, session: &Session) {
    if written.escaping == 0 {
        return;
    }
    let mut names: Vec<String> =
        written.escaping_names.iter().map(|name| text::one_line(&name.to_string(), 200)).collect();
    match written.escaping - names.len() as u64 {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    let count = text::count(usize::try_from(written.escaping).unwrap_or(usize::MAX), "entry");
    session.ui.warning(format!(
        "{count} with names or links that lead out of the root are in the archive as they are: {}",
        names.join(", ")
    ));
}
