use palan::place::Location;

use crate::{exit::Result, session::Session};

/// Print the manifest of an image, byte for byte
///
/// An index stays an index, unless --platform chooses one of its images.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: Location,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let source = session.places()?.source(&args.image)?;
    let document = super::read::document(&source, session).await?;
    session.ui.data(document.bytes())
}
