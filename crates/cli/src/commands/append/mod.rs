mod layers;

use palan::{
    append::{self, History, LayerSource, Request},
    place::Location,
};
use palan_core::{Compression, Platform};

use super::write;
use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Add layers on top of an image
///
/// A layer is a tar file, plain or compressed, or "-" for stdin; a directory, which is packed; or SOURCE:PATH, a file or
/// directory that is packed as PATH. Every platform of an index gets them, or those that --platform chooses, inside the
/// index. Prints the full reference of the result, by digest.
#[derive(clap::Args)]
#[command(mut_arg("compression", |arg| {
    arg.help("Compression of layers that come uncompressed; default: gzip").long_help(
        "Compression of layers that come uncompressed; default: gzip\n\n\
         Where it is given, layers are compressed anew, too, whose compression a Docker image cannot have (zstd).",
    )
}))]
#[command(mut_arg("level", |arg| {
    arg.help("How hard to compress: gzip 0 to 12, by default 1, as crane does; zstd 1 to 22, by default 2")
}))]
pub(crate) struct Args {
    /// The image to append to; default: an empty one
    #[arg(short, long, value_name = "IMAGE")]
    base: Option<Location>,

    /// Where to put the result
    #[arg(
        short = 't',
        long = "new-tag",
        visible_alias = "new_tag",
        value_name = "IMAGE",
        required_unless_present = "output"
    )]
    new_tag: Option<Location>,

    /// A layer: FILE, DIRECTORY, SOURCE:PATH or -; may be repeated, the lowest first
    #[arg(
        short = 'f',
        long = "new-layer",
        visible_alias = "new_layer",
        value_name = "LAYER",
        required = true,
        value_delimiter = ','
    )]
    new_layer: Vec<String>,

    /// Write an archive instead: a docker archive, or a location with its scheme
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,

    /// Say in the result's annotations what it was built on
    #[arg(long, visible_alias = "set_base_image_annotations", requires = "base")]
    set_base_image_annotations: bool,

    /// Start from an empty OCI image; the default without --base
    #[arg(long, visible_alias = "oci_empty_base", conflicts_with = "base")]
    oci_empty_base: bool,

    #[command(flatten)]
    compressing: write::Compressing,

    /// What the history says has made the layers; default: palan append
    #[arg(long, value_name = "TEXT")]
    history: Option<String>,

    /// A remark for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,

    /// Make an OCI image of a Docker image first, so that it can have zstd layers
    #[arg(long, requires = "base")]
    oci: bool,

    /// What becomes of an index's attestations about images that are replaced
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    attestations: write::Keep,

    /// Say what the result would be, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    packing: layers::Packing,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let target = target(args)?;
    let level = args.compressing.level()?.unwrap_or(append::LEVEL);
    let layers = layers::sources(&args.new_layer, &args.packing, session)?;
    let single = match &args.base {
        Some(base) => super::write::single(base, Some(&target), session).await?,
        None => None,
    };
    let request = Request {
        platforms: if single.is_some() { Vec::new() } else { session.global.platforms() },
        empty_platform: empty_platform(args, session)?,
        compression: args.compressing.kind().unwrap_or(Compression::Gzip),
        level,
        recompress: args.compressing.kind().is_some(),
        history: History {
            created_by: args.history.clone(),
            comment: args.comment.clone(),
            created: session.env.created()?,
        },
        oci: args.oci,
        base_annotations: args.set_base_image_annotations,
        attestations: args.attestations.into(),
        limits: session.limits(),
        ahead: !args.dry_run,
        ..Request::new(single.or_else(|| args.base.clone()), layers, target.clone())
    };
    if args.base.is_none() && !args.oci_empty_base {
        session.ui.note(format!(
            "no --base was given: starting from an empty image for {}",
            request.empty_platform
        ));
    }
    let places = session.places()?;
    let plan = append::plan(&places, request).await.map_err(write::not_compressed_so)?;
    let layers = crate::ui::text::count(args.new_layer.len(), "layer");
    write::finish(plan, args.dry_run, &format!("appended {layers} to"), session).await
}

fn target(args: &Args) -> Result<Location> {
    match &args.output {
        Some(file) => write::output(file, args.new_tag.as_ref()),
        None => args.new_tag.clone().ok_or_else(|| Failure::usage("--new-tag is missing")),
    }
}

/// Layers as they are typed, directories packed as they are by default.
pub(super) fn layers(words: &[String], session: &Session) -> Result<Vec<LayerSource>> {
    layers::sources(words, &layers::Packing::default(), session)
}

/// The platform that an empty image is for; a base has its own.
fn empty_platform(args: &Args, session: &Session) -> Result<Platform> {
    let wanted = match args.base {
        None => session.global.one_platform()?,
        Some(_) => None,
    };
    match wanted {
        Some(wanted) => Ok(wanted.to_string().parse()?),
        None => Ok(Platform::default_choice()),
    }
}
