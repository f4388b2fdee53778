use futures_util::StreamExt as _;
use palan::place::Location;
use palan_core::view;

use crate::{exit::Result, session::Session};

/// Print the config of an image, byte for byte
///
/// Of an index, the image for linux/amd64 is taken unless --platform chooses another one. Of an artifact, whatever its
/// manifest has as config.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: Location,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let source = session.places()?.source(&args.image)?;
    let manifest = super::read::image(&source, session).await?;
    let manifest: view::Manifest = manifest.view()?;
    let mut content = source.place.open(&manifest.config, 0).await?;
    while let Some(piece) = content.next().await {
        session.ui.data(&piece?)?;
    }
    Ok(())
}
