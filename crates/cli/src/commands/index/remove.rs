use palan::index::filter::{self, Request, Selection};
use palan_core::Digest;

use crate::{
    args::PlatformArg,
    commands::write::Writing,
    exit::{Failure, Result},
    session::Session,
};

/// Remove entries from an index, by digest or --platform
///
/// Attestations go where their images go. An index is never left empty. Prints the full reference of the result, by
/// digest.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The index
    #[arg(value_name = "INDEX")]
    index: String,

    /// Remove the entry of this digest; may be repeated
    #[arg(long, value_name = "DIGEST", value_delimiter = ',')]
    digest: Vec<Digest>,

    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let platforms = session.global.platforms();
    if session.global.platform.iter().any(|p| matches!(p, PlatformArg::All)) {
        return Err(Failure::usage("--platform all would remove everything"));
    }
    if platforms.is_empty() && args.digest.is_empty() {
        return Err(Failure::usage("nothing to remove: --digest or --platform is missing"));
    }
    let index = super::local::remote_first(&args.index, session)?;
    let selection = Selection::Remove { digests: args.digest.clone(), platforms };
    let target = args.writing.tag().cloned();
    let plan = filter::plan(&session.places()?, Request { index, selection, target }).await?;
    args.writing.finish(plan, "removed from", session).await
}
