use std::fmt::Write as _;

use palan::{
    index,
    place::{Layout, Location},
};
use palan_core::{Descriptor, Platform};

use crate::{args::ReportFormat, exit::Result, session::Session, ui::text};

/// List what an index lists
///
/// Of a layout without a tag, what the layout lists.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The index, or an image layout
    #[arg(value_name = "INDEX")]
    index: String,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let location = super::local::location(&args.index, session)?;
    let entries = match &location {
        Location::Layout { path, selector: None } => Layout::open(path)?.entries()?,
        _ => {
            let source = session.places()?.source(&location)?;
            index::list(source.place.as_ref(), source.chosen()?).await?
        }
    };
    match args.format {
        ReportFormat::Json => session.ui.json(&entries),
        ReportFormat::Text => session.ui.data(table(&entries).as_bytes()),
    }
}

/// As crane prints it, to the byte.
fn table(entries: &[Descriptor]) -> String {
    let mut out = format!("{:<70} {:<20} Platform\n", "Digest", "MediaType");
    for entry in entries {
        let platform = entry.platform.as_ref().map_or_else(|| "-".to_owned(), platform);
        let media_type = text::one_line(entry.media_type.as_str(), 200);
        let _ = writeln!(out, "{:<70} {media_type:<20} {platform}", entry.digest);
    }
    out
}

fn platform(platform: &Platform) -> String {
    match platform.os.is_empty() {
        true => String::new(),
        false => text::one_line(&platform.to_string(), 200),
    }
}
