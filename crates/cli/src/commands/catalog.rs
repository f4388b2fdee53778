use palan_core::Repository;

use crate::{exit::Result, session::Session};

/// List the repositories of a registry
///
/// In the registry's own order, page by page. Many registries do not offer this.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The registry
    #[arg(value_name = "REGISTRY", value_parser = Repository::parse_registry)]
    registry: String,

    /// Print names with the registry in front
    #[arg(long)]
    full_ref: bool,

    /// Ask for so many repositories at once; default: 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: Option<u32>,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let places = session.places()?;
    let line = |name: &String| match args.full_ref {
        true => format!("{}/{name}\n", args.registry),
        false => format!("{name}\n"),
    };
    let text = |names: Vec<String>| names.iter().map(line).collect::<String>();
    super::ls::print(places.client().catalog_pages(&args.registry, args.page_size)?, text, session).await
}
