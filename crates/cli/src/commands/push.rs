use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use palan::{
    copy,
    place::{Format, Location, Opened, Places, PutAs, Source},
};
use palan_core::{Document, MediaType, Reference};

use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Push an image from a file or directory to a registry
///
/// Prints the full reference, by digest.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An image layout (directory), an archive (file), or a location with its scheme
    #[arg(value_name = "PATH")]
    path: String,

    /// Where to, in a registry
    #[arg(value_name = "IMAGE")]
    image: Reference,

    /// Push all images of a layout as one index
    #[arg(long)]
    index: bool,

    /// Also write the full reference, by digest, to this file
    #[arg(long, value_name = "FILE")]
    image_refs: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    let (source, document) = read(args, &places, session).await?;
    let to = Location::Registry(args.image.clone());
    let role = PutAs::at(&to, document.digest())?;
    let digest = document.digest();
    let target = places.target(&to)?.place;
    // Opened before the push: a file that cannot be written must not leave a push that seems to have failed.
    let refs = args.image_refs.as_deref().map(open_private).transpose()?;
    let progress = session.ui.progress();
    let summary =
        copy::copy(&source.place, &target, vec![(document, role)], &session.copy_options(&progress)).await?;
    drop(progress);
    let name = args.image.repository().with_digest(digest).to_string();
    if let Some((path, mut file)) = refs {
        let written = file.set_len(0).and_then(|()| file.write_all(name.as_bytes()));
        written.map_err(|e| Failure::file("write", path, e))?;
    }
    session.ui.say(format!("pushed {} to {}: {}", args.path, args.image, super::write::summary(&summary)));
    session.ui.line(name)
}

async fn read(args: &Args, places: &Places, session: &Session) -> Result<(Opened<dyn Source>, Document)> {
    let location = location(&args.path)?;
    if !args.index {
        let source = places.source(&location).map_err(|e| several(e, &args.path))?;
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
    let path = Path::new(text);
    let metadata = path.metadata().map_err(|e| Failure::file("read", path, e))?;
    Ok(match metadata.is_dir() {
        true => Location::Layout { path: path.to_owned(), selector: None },
        // Reading a docker archive also reads an OCI archive.
        false => Location::Archive { path: path.to_owned(), format: Format::Docker, selector: None },
    })
}

fn several(error: palan::Error, path: &str) -> Failure {
    let is_choice = matches!(error, palan::Error::ChooseOne { .. });
    let failure = Failure::from(error);
    match is_choice {
        true => failure
            .with_hint(format!("palan push --index pushes all; palan copy oci:{path}:TAG IMAGE one of them")),
        false => failure,
    }
}

/// A file as crane writes it: for the owner only. What it holds stays until there is something to write.
fn open_private(path: &Path) -> Result<(&Path, std::fs::File)> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok((path, options.open(path).map_err(|e| Failure::file("write", path, e))?))
}
