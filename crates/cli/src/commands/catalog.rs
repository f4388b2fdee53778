use palan_core::Repository;

use crate::{exit::Result, session::Session};

/// List the repositories of a registry
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The registry
    #[arg(value_name = "REGISTRY", value_parser = Repository::parse_registry)]
    registry: String,

    /// Print names with the registry in front
    #[arg(long)]
    full_ref: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let names = session.places()?.client().catalog(&args.registry, None).await?;
    let line = |name: &String| match args.full_ref {
        true => format!("{}/{name}\n", args.registry),
        false => format!("{name}\n"),
    };
    session.ui.data(names.iter().map(line).collect::<String>().as_bytes())
}
