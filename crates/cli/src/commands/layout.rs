use std::path::PathBuf;

use clap::Subcommand;
use palan::place::{Layout, Location};

use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};

/// Work with OCI layouts
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Gc(Gc),
}

/// Remove the blobs of a layout that nothing leads to
///
/// What its index.json leads to stays, and what is about it (signatures, attestations). Says every blob that it
/// removes. Does nothing while palan writes to the layout; other tools must not either.
#[derive(clap::Args)]
struct Gc {
    /// The layout
    #[arg(value_name = "DIR")]
    layout: String,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// The form of the report; json goes to stdout
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    match &args.command {
        Command::Gc(args) => gc(args, session).await,
    }
}

async fn gc(args: &Gc, session: &Session) -> Result {
    let (path, dry_run) = (directory(&args.layout)?, args.dry_run);
    let work = move || Layout::open(path)?.collect_garbage(dry_run);
    let garbage = tokio::task::spawn_blocking(work).await;
    let garbage = garbage.map_err(|e| Failure::new(Code::Failure, e))??;
    for digest in garbage.blobs.keys() {
        session.ui.say(format!("garbage collecting: {digest}"));
    }
    for path in &garbage.temporary {
        session.ui.say(format!("garbage collecting: {}", path.display()));
    }
    let count = text::count(garbage.blobs.len() + garbage.temporary.len(), "file");
    let what = if dry_run { "would be removed" } else { "removed" };
    let kept = text::count(garbage.kept, "blob");
    session.ui.say(format!("{}: {count} {what}, {}; {kept} kept", args.layout, text::size(garbage.bytes)));
    match args.format {
        ReportFormat::Json => session.ui.json(&garbage),
        ReportFormat::Text => Ok(()),
    }
}

/// A directory, or `oci:DIR`.
fn directory(text: &str) -> Result<PathBuf> {
    if !text.starts_with("oci:") {
        return Ok(text.into());
    }
    match text.parse()? {
        Location::Layout { path, selector: None } => Ok(path),
        _ => Err(Failure::usage(format!("{text} is an image, a layout is wanted"))),
    }
}
