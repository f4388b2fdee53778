use palan::place::{Location, PutAs};
use palan_core::validate_tag;

use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Give an image one more tag, without moving it
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image, in a registry or an image layout
    #[arg(value_name = "IMAGE")]
    image: Location,

    /// The new tag, in the same place
    #[arg(value_name = "TAG")]
    tag: String,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    validate_tag(&args.tag)?;
    if matches!(args.image, Location::Archive { .. }) {
        return Err(
            Failure::unsupported("tagging inside an archive").with_hint("copy it to a layout: oci:DIR")
        );
    }
    let places = session.places()?;
    let document = super::read::document(&places.standing(&args.image)?, session).await?;
    let target = places.target(&args.image)?.place;
    target.put_document(&document, &PutAs::Tag(args.tag.clone())).await?;
    session.ui.say(format!("tagged {} as {}", document.digest(), args.tag));
    Ok(())
}
