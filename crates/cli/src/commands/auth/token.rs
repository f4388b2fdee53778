use palan_core::Repository;

use crate::{exit::Result, session::Session};

/// Print a token for a repository, as its registry's token service gives it
///
/// The token allows to pull. Whoever has it can do what it allows until it expires.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The repository
    #[arg(value_name = "REPO")]
    repository: Repository,

    /// Print it as an HTTP header, without a line break
    #[arg(short = 'H', long)]
    header: bool,

    /// Also allow to push
    #[arg(long)]
    push: bool,

    /// Also allow to pull from this repository, for mounting its blobs; may be repeated
    #[arg(short, long, value_name = "REPO", value_delimiter = ',')]
    mount: Vec<Repository>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    let answer = places.client().repository(&args.repository).token(args.push, &args.mount).await?;
    match args.header {
        true => session.ui.data(format!("Authorization: Bearer {}", answer.token().expose()).as_bytes()),
        false => session.ui.line(answer.json().expose()),
    }
}
