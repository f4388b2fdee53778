use futures_util::StreamExt as _;
use palan::place::{Archive, Layout, Location};
use palan_client::Repo;
use palan_core::{Descriptor, Digest, MediaType, Mismatch, Selector};

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Print a blob, byte for byte as it is stored
///
/// A layer comes compressed. The content is checked while it is printed: only exit code 0 says that all of it is right.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Repository and digest: REPO@DIGEST, oci:DIR@DIGEST, oci-archive:FILE@DIGEST or docker-archive:FILE@DIGEST
    #[arg(value_name = "BLOB")]
    blob: Location,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let Some(Selector::Digest(digest)) = args.blob.selector() else {
        return Err(Failure::usage(format!("a blob is named by its digest, {} has none", args.blob))
            .with_hint("REPO@sha256:…"));
    };
    let places = session.places()?;
    let source = places.source(&args.blob)?;
    let size = match &args.blob {
        Location::Registry(reference) => {
            size_in(&places.client().repository(reference.repository()), digest).await?
        }
        Location::Layout { path, .. } => size_of(&Layout::open(path)?, digest)?,
        Location::Archive { path, format, .. } => {
            let missing = || palan::Error::NotFound { name: digest.to_string(), place: source.place.name() };
            Archive::open_with(path, *format, places.scratch())?.blob_size(digest).ok_or_else(missing)?
        }
    };
    let blob = Descriptor::new(MediaType::new("application/octet-stream"), digest, size);
    let mut content = source.place.open(&blob, 0).await?;
    while let Some(piece) = content.next().await {
        session.ui.data(&piece?)?;
    }
    Ok(())
}

/// The size that the registry announces. The client checks sizes, so it is told a wrong one and corrects it before
/// any content is read.
async fn size_in(repo: &Repo, digest: Digest) -> Result<u64> {
    let unknown = Descriptor::new(MediaType::new("application/octet-stream"), digest, 0);
    match repo.open_blob(&unknown, 0).await {
        Err(palan_client::Error::Mismatch { source: Mismatch::Size { found, .. }, .. }) => Ok(found),
        Err(error) => Err(error.into()),
        Ok(mut content) => match content.next().await {
            None => Ok(0),
            Some(_) => {
                let name = repo.name().with_digest(digest);
                Err(Failure::new(Code::Failure, format!("the registry does not say how large {name} is")))
            }
        },
    }
}

fn size_of(layout: &Layout, digest: Digest) -> Result<u64> {
    let path = layout.blob_path(digest);
    Ok(path.metadata().map_err(|e| Failure::file("read", &path, e))?.len())
}
