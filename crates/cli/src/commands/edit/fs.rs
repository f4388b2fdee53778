use palan::{edit, image::Image, place::Location};

use super::editor;
use crate::{
    commands::{read, verdict, write::Rewriting},
    exit::Result,
    session::Session,
};

/// Replace or add a file of an image, by one more layer
///
/// Links in the path are followed, inside the image. A file that is replaced keeps its mode, owner, extended attributes and
/// time; a new one has mode 0644, belongs to root and is of 1970 or SOURCE_DATE_EPOCH. Of an index, one image is edited: the
/// one that --platform chooses, else that for linux/amd64. The index keeps all else.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The image or index
    image: Location,

    /// The file, from the image's root
    #[arg(short, long, value_name = "PATH")]
    filename: String,

    #[command(flatten)]
    rewriting: Rewriting,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let created = session.env.created()?;
    let places = session.places()?;
    let source = places.to_change(&args.image, args.rewriting.tag())?;
    let place = source.place.as_ref();
    let image = Image::load(place, read::image(&source, session).await?).await?;
    let progress = session.ui.progress();
    let listings = verdict::listings(&progress, session);
    let found = edit::find(place, &image, args.filename.as_bytes(), &listings).await?;
    drop(progress);
    let typed = match editor::is_wanted() {
        true => {
            let file = editor::File::new(found.path(), session)?;
            edit::read(place, &image, &found, file.create()?).await?;
            file.edit(session).await?
        }
        false => editor::spool(session).await?,
    };
    let subject = args.rewriting.subject(args.image.clone(), None, session);
    let time = created.and_then(|text| text.parse().ok()).map(jiff::Timestamp::as_second);
    let file = edit::File { content: typed.path(), time };
    let plan = edit::file(&places, &subject, &image, &found, file).await?;
    args.rewriting.finish_by_name(plan, "edited a file of", session).await
}
