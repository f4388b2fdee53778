use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use palan::place::Location;
use palan_core::Digest;

use super::read::Collection;
use crate::{exit::Result, session::Session};

/// List the tags of a repository, layout or archive
///
/// In the place's own order, page by page as a registry gives them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The repository, or oci:DIR, oci-archive:FILE, docker-archive:FILE
    #[arg(value_name = "REPO")]
    repo: String,

    /// Print full references
    #[arg(long)]
    full_ref: bool,

    /// Leave out tags that stand for digests (sha256-…), as signatures and referrers have
    #[arg(short = 'O', long)]
    omit_digest_tags: bool,

    /// Ask a registry for so many tags at once; default: 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: Option<u32>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let collection = Collection::parse(&args.repo)?;
    let line = |tag: &String| match args.full_ref {
        true => format!("{}:{}\n", collection.name, printable(tag)),
        false => format!("{}\n", printable(tag)),
    };
    // crane goes by this prefix, whatever follows it.
    let is_digest_tag = |tag: &str| tag.starts_with("sha256-") || Digest::tag_stem(tag).is_some();
    let is_shown = |tag: &&String| !(args.omit_digest_tags && is_digest_tag(tag));
    let text = |tags: Vec<String>| tags.iter().filter(is_shown).map(line).collect::<String>();
    let places = session.places()?;
    match &collection.location {
        Location::Registry(reference) => {
            let repo = places.client().repository(reference.repository());
            print(repo.tag_pages(args.page_size)?, text, session).await
        }
        _ => {
            let tags = collection.source(&places)?.tags().await?;
            print(stream::once(future::ok(tags)), text, session).await
        }
    }
}

/// Names are what a registry or a layout says: each stays on its line, and none is a command for the terminal.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Prints what comes, when it comes.
pub(super) async fn print(
    pages: impl Stream<Item = std::result::Result<Vec<String>, palan_client::Error>>,
    text: impl Fn(Vec<String>) -> String,
    session: &Session,
) -> Result {
    let mut pages = std::pin::pin!(pages.map_ok(text));
    while let Some(page) = pages.next().await {
        session.ui.data(page?.as_bytes())?;
    }
    Ok(())
}
