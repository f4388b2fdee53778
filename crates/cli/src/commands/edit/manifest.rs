use palan::{edit, place::Location};
use palan_core::MediaType;

use super::editor;
use crate::{
    commands::{read, write::Rewriting},
    exit::Result,
    session::Session,
};

/// Replace a manifest or an index
///
/// With --platform, the manifest of that image inside an index, which keeps all else. Content that the new manifest names must be
/// there already. What stdin gives is stored as it is; what the editor gives, as the manifest was written before.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The image or index
    image: Location,

    /// The media type, also where the new manifest says another one; default: what it says, else that of the old one
    #[arg(short, long, visible_alias = "media_type", value_name = "TYPE")]
    media_type: Option<String>,

    #[command(flatten)]
    rewriting: Rewriting,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    let source = places.to_change(&args.image, args.rewriting.tag())?;
    let manifest = read::document(&source, session).await?;
    let typed = editor::document(&manifest, "manifest.json", session).await?;
    let subject = args.rewriting.subject(args.image.clone(), None, session);
    let media_type = args.media_type.clone().map(MediaType::new);
    let plan = edit::manifest(&places, &subject, manifest.digest(), media_type, typed.text()).await?;
    args.rewriting.finish_by_name(plan, "edited the manifest of", session).await
}
