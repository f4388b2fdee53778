use palan::{
    Error,
    delete::{self, Deleted, Found, Options},
    place::Location,
};
use palan_core::Selector;

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// How many tags of a repository are looked at, unless all are to be.
const TAGS: usize = 100;

/// Delete images or tags from a registry or image layout
///
/// Deletes exactly what is named. A tag goes alone; a digest takes all its tags along, which are named before. What
/// refers to it (signatures, SBOMs) stays. Layers stay, too, until the registry collects them, or `palan layout gc`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The images: NAME:TAG or NAME@DIGEST in a registry, or oci:DIR:TAG, oci:DIR@DIGEST
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<Location>,

    /// What is not there counts as deleted
    #[arg(long)]
    ignore_missing: bool,

    /// Where a registry cannot delete a tag alone, move the tag to an empty image made for that, and delete this one
    ///
    /// Other tags of the image, and the image itself, stay.
    #[arg(long)]
    untag: bool,

    /// Before deleting by digest, look at all tags of the repository, not only at the first 100
    #[arg(long)]
    list_tags: bool,

    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let mut first = None;
    for image in &args.images {
        if let Err(failure) = one(args, image, session).await {
            if args.images.len() == 1 {
                return Err(failure);
            }
            // The others are deleted all the same.
            session.ui.warning(format!("{image} was not deleted"));
            session.ui.failure(&failure);
            first.get_or_insert(failure.code);
        }
    }
    first.map_or(Ok(()), |code| Err(Failure::reported(code)))
}

async fn one(args: &Args, image: &Location, session: &Session) -> Result {
    let selector = match (image, image.selector()) {
        (Location::Archive { .. }, _) => {
            return Err(Failure::unsupported("deleting inside an archive")
                .with_hint("copy what is to stay to another archive: palan copy --tags"));
        }
        (_, Some(selector)) => selector,
        (_, None) => {
            return Err(Failure::usage(format!("{image} does not say which image to delete"))
                .with_hint(format!("name its tag: {image}:TAG")));
        }
    };
    if args.dry_run || matches!(selector, Selector::Digest(_)) {
        match look(args, image, session).await {
            Ok(found) => foretell(args, image, &found, session)?,
            Err(failure) if args.dry_run || failure.code == Code::NotFound => {
                return missing_or(args, image, failure, session);
            }
            // To be told is not a condition.
            Err(failure) => session.ui.note(format!(
                "it is not known which tags of {image} will be gone, too: {}",
                failure.chain().join(": ")
            )),
        }
    }
    if args.dry_run {
        return Ok(());
    }
    let places = session.places()?;
    match delete::delete(&places, image, Options { untag: args.untag }).await {
        Ok(deleted) => {
            session.ui.say(sentence(image, &deleted));
            Ok(())
        }
        Err(error) => missing_or(args, image, failure(args, error), session),
    }
}

fn failure(args: &Args, error: Error) -> Failure {
    let hint = matches!(error, Error::NoTagDelete { .. }) && !args.untag;
    let failure = Failure::from(error);
    match hint {
        true => failure
            .with_hint("--untag deletes the tag by way of an empty image, and leaves its other tags alone"),
        false => failure,
    }
}

/// A failure, unless it is that there is nothing to delete and that is as well.
fn missing_or(args: &Args, image: &Location, failure: Failure, session: &Session) -> Result {
    if failure.code == Code::NotFound && args.ignore_missing {
        session.ui.say(format!("{image} is not there"));
        return Ok(());
    }
    Err(failure)
}

async fn look(args: &Args, image: &Location, session: &Session) -> Result<Found> {
    let most = if args.list_tags { usize::MAX } else { TAGS };
    Ok(delete::look(&session.places()?, image, most).await?)
}

/// Says what will go, and what will stay.
fn foretell(args: &Args, image: &Location, found: &Found, session: &Session) -> Result {
    if !found.tags.is_empty() {
        let count = text::count(found.tags.len(), "tag");
        session.ui.note(format!("{count} of {} will be gone, too: {}", found.digest, found.tags.join(", ")));
    }
    if found.unseen > 0 {
        let count = text::count(found.unseen, "more tag");
        session.ui.note(format!("{count} were not looked at; --list-tags looks at all"));
    }
    if found.referrers > 0 {
        let count = text::count(found.referrers, "referrer");
        session.ui.note(format!("{count} of {} will stay, about something that is gone", found.digest));
    }
    match args.dry_run {
        true => session.ui.line(format!("would delete {image} ({})", found.digest)),
        false => Ok(()),
    }
}

fn sentence(image: &Location, deleted: &Deleted) -> String {
    match deleted {
        Deleted::Tag { emulated: false } => format!("deleted the tag {image}"),
        Deleted::Tag { emulated: true } => {
            format!(
                "deleted the tag {image}, by way of an empty image: the registry cannot delete tags alone"
            )
        }
        Deleted::Manifest => format!("deleted {image}"),
    }
}
