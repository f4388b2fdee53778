use palan::index::filter::{self, Request, Selection};

use crate::{
    commands::write::Writing,
    exit::{Failure, Result},
    session::Session,
};

/// Keep only some platforms of an index
///
/// --platform says which, and may be repeated; parts left out match anything. Attestations go where their images go. An
/// index is never left without images. Prints the full reference of the result, by digest.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The index
    #[arg(value_name = "INDEX")]
    index: String,

    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    if session.global.platform.is_empty() {
        let failure = Failure::usage("no platform was chosen: everything would be removed");
        return Err(failure.with_hint("choose what stays, for example --platform linux/amd64,linux/arm64"));
    }
    let index = super::local::remote_first(&args.index, session)?;
    let platforms = session.global.platforms();
    let selection = match platforms.is_empty() {
        true => {
            session.ui.note("--platform all: every image stays");
            Selection::Remove { digests: Vec::new(), platforms }
        }
        false => Selection::Keep(platforms),
    };
    let target = args.writing.tag().cloned();
    let plan = filter::plan(&session.places()?, Request { index, selection, target }).await?;
    args.writing.finish(plan, "filtered to", session).await
}
