use palan::{edit, image::Image, place::Location};

use super::editor;
use crate::{
    commands::{read, write::Rewriting},
    exit::Result,
    session::Session,
};

/// Replace an image's config
///
/// Of an index, the config of one image: the one that --platform chooses, else that for linux/amd64. The index keeps all
/// else. What stdin gives is stored as it is; what the editor gives, as the config was written before.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The image or index
    image: Location,

    #[command(flatten)]
    rewriting: Rewriting,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    let source = places.to_change(&args.image, args.rewriting.tag())?;
    let image = Image::load(source.place.as_ref(), read::image(&source, session).await?).await?;
    let typed = editor::document(&image.config, "config.json", session).await?;
    let subject = args.rewriting.subject(args.image.clone(), None, session);
    let plan = edit::config(&places, &subject, image.manifest.digest(), typed.text()).await?;
    args.rewriting.finish_by_name(plan, "edited the config of", session).await
}
