use std::path::PathBuf;

use palan::place::{Format, Location};
use palan_core::Selector;

use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Print the digest of an image
///
/// Of an index, the digest of the index, unless --platform chooses one of its images.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image; with --tarball, the name of the image in the file
    #[arg(value_name = "IMAGE")]
    image: Option<String>,

    /// Read the image from a docker archive
    #[arg(long, value_name = "FILE")]
    tarball: Option<PathBuf>,

    /// Print the full reference, by digest
    #[arg(long, conflicts_with = "tarball")]
    full_ref: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let location = location(args)?;
    let source = session.places()?.source(&location)?;
    let digest = match session.global.one_platform()? {
        Some(_) => super::read::document(&source, session).await?.digest(),
        None => source.place.resolve(source.chosen()?).await?.digest,
    };
    if args.full_ref {
        return session.ui.line(super::read::full_name(&location, digest)?);
    }
    session.ui.line(digest.to_string())
}

fn location(args: &Args) -> Result<Location> {
    match (&args.tarball, &args.image) {
        (Some(path), name) => Ok(Location::Archive {
            path: path.clone(),
            format: Format::Docker,
            selector: name.clone().map(Selector::Tag),
        }),
        (None, Some(image)) => Ok(image.parse()?),
        (None, None) => Err(Failure::usage("an image reference is required without --tarball")),
    }
}
