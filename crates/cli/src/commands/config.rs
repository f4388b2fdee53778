use palan::{image::Image, place::Location};

use crate::{exit::Result, session::Session};

/// Print the config of an image, byte for byte
///
/// Of an index, the image for linux/amd64 is taken unless --platform chooses another one.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: Location,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let source = session.places()?.source(&args.image)?;
    let manifest = super::read::image(&source, session).await?;
    let image = Image::load(source.place.as_ref(), manifest).await?;
    session.ui.data(image.config.bytes())
}
