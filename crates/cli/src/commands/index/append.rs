use std::path::Path;

use palan::{
    index::append::{self, Entries, Existing, Request},
    place::Location,
};
use palan_core::{Family, Platform};

use crate::{
    commands::write::{self, Writing},
    exit::{Failure, Result},
    session::Session,
    ui::text,
};

/// Put images into an index, or start one
///
/// An image takes the place of the one that the index has for the same platform, attestations follow their images.
/// Of an index, --platform chooses images. Names that exist here, or start with "." or "/", are layouts and archives,
/// of which all images are added; appending to a layout that is named so adds to what the layout lists. Prints the full
/// reference of the result, by digest.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The index to add to, then what to add; without an index, give --tag and add with --manifest
    #[arg(value_name = "INDEX")]
    names: Vec<String>,

    /// What to add: an image, an artifact, an index; may be repeated
    #[arg(short, long, value_name = "IMAGE", value_delimiter = ',')]
    manifest: Vec<String>,

    /// Start from an empty Docker list, not from an empty OCI index
    #[arg(long, visible_alias = "docker_empty_base")]
    docker_empty_base: bool,

    /// Of an index, add what it lists; "false" adds the index itself
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    flatten: bool,

    /// Keep entries that the index has for the platforms of what is added
    #[arg(long)]
    keep_existing: bool,

    /// The platform of the image that is added, instead of what its config says
    #[arg(long, visible_alias = "set_platform", value_name = "PLATFORM")]
    set_platform: Option<Platform>,

    /// An annotation of every entry that is added, or is there already; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = write::key_value)]
    annotation: Vec<(String, String)>,

    /// The artifact type of the resulting index
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,

    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let (base, more) = match args.names.split_first() {
        Some((base, more)) => (Some(base), more),
        None => (None, [].as_slice()),
    };
    let names = args.manifest.iter().chain(more);
    let manifests: Vec<Location> =
        names.map(|name| super::local::location(name, session)).collect::<Result<_>>()?;
    let entries = Entries {
        flatten: args.flatten,
        platforms: session.global.platforms(),
        platform: args.set_platform.clone(),
        annotations: args.annotation.iter().cloned().collect(),
    };
    if let (Some(Location::Layout { path, .. }), None) =
        (base.and_then(|base| super::local::path(base)), args.writing.tag())
    {
        return into_layout(args, &path, &manifests, &entries, session).await;
    }
    let base = base.map(|base| super::local::location(base, session)).transpose()?;
    if base.is_none() && args.writing.tag().is_none() {
        return Err(Failure::usage("an index to add to or --tag is needed"));
    }
    if base.is_none() {
        session.ui.note("no index to add to was given: starting from an empty one");
    }
    let count = text::count(manifests.len(), "manifest");
    let request = Request {
        base,
        manifests,
        target: args.writing.tag().cloned(),
        family: if args.docker_empty_base { Family::Docker } else { Family::Oci },
        entries,
        existing: if args.keep_existing { Existing::Keep } else { Existing::Replace },
        artifact_type: args.artifact_type.clone(),
    };
    let plan = append::plan(&session.places()?, request).await?;
    args.writing.finish(plan, &format!("appended {count} to"), session).await
}

/// As crane does it: the layout is the index, and nothing is printed.
async fn into_layout(
    args: &Args,
    path: &Path,
    manifests: &[Location],
    entries: &Entries,
    session: &Session,
) -> Result {
    if args.writing.is_dry() || args.artifact_type.is_some() {
        return Err(Failure::usage(format!(
            "{} is a layout, whose own list is added to: --dry-run and --artifact-type need an index, oci:{}:TAG",
            path.display(),
            path.display()
        )));
    }
    session.ui.note(format!("adding to what the layout {} lists", path.display()));
    let places = session.places()?;
    let progress = session.ui.progress();
    let options = session.copy_options(&progress);
    let summary = append::into_layout(&places, path, manifests, entries, &options).await?;
    drop(progress);
    let count = text::count(manifests.len(), "manifest");
    session.ui.say(format!("appended {count} to {}: {}", path.display(), write::summary(&summary)));
    Ok(())
}
