use super::read::Collection;
use crate::{exit::Result, session::Session};

/// List the tags of a repository, layout or archive
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
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let collection = Collection::parse(&args.repo)?;
    let place = collection.source(&session.places()?)?;
    let tags = place.tags().await?;
    let tags = tags.iter().filter(|tag| !(args.omit_digest_tags && tag.starts_with("sha256-")));
    let line = |tag: &String| match args.full_ref {
        true => format!("{}:{tag}\n", collection.name),
        false => format!("{tag}\n"),
    };
    session.ui.data(tags.map(line).collect::<String>().as_bytes())
}
