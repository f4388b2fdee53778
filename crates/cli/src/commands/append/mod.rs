mod layers;

use palan::{
    append::{self, History, LayerSource, Request},
    place::Location,
};
use palan_core::{Compression, Platform};
use palan_layer::Level;

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Add layers on top of an image
///
/// A layer is a tar file, plain or compressed, or "-" for stdin; a directory, which is packed; or SOURCE:PATH, a file or
/// directory that is packed as PATH. Every platform of an index gets them, or those that --platform chooses, inside the
/// index. Prints the full reference of the result, by digest.
#[derive(clap::Args)]
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

    /// Compression of layers that come uncompressed; default: gzip
    ///
    /// Where it is given, layers are compressed anew, too, whose compression a Docker image cannot have (zstd).
    #[arg(long, value_enum, value_name = "KIND")]
    compression: Option<Kind>,

    /// How hard to compress: gzip 0 to 12 (6), zstd 1 to 22 (3)
    #[arg(long, value_name = "N")]
    level: Option<i32>,

    /// What the history says has made the layers; default: palan append LAYER
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
    attestations: super::write::Keep,

    /// Say what the result would be, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    packing: layers::Packing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    #[default]
    Gzip,
    Zstd,
    None,
}

impl From<Kind> for Compression {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Gzip => Self::Gzip,
            Kind::Zstd => Self::Zstd,
            Kind::None => Self::None,
        }
    }
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let target = target(args)?;
    let layers = layers::sources(&args.new_layer, &args.packing, session)?;
    let single = match &args.base {
        Some(base) => super::write::single(base, Some(&target), session).await?,
        None => None,
    };
    let request = Request {
        platforms: if single.is_some() { Vec::new() } else { session.global.platforms() },
        empty_platform: empty_platform(session)?,
        compression: args.compression.unwrap_or_default().into(),
        level: args.level.map_or(Level::DEFAULT, Level::new),
        recompress: args.compression.is_some(),
        history: History {
            created_by: args.history.clone(),
            comment: args.comment.clone(),
            created: session.env.created()?,
        },
        oci: args.oci,
        base_annotations: args.set_base_image_annotations,
        attestations: args.attestations.into(),
        ..Request::new(single.or_else(|| args.base.clone()), layers, target.clone())
    };
    if args.base.is_none() && !args.oci_empty_base {
        session.ui.note(format!(
            "no --base was given: starting from an empty image for {}",
            request.empty_platform
        ));
    }
    let places = session.places()?;
    let plan = append::plan(&places, request).await?;
    let layers = crate::ui::text::count(args.new_layer.len(), "layer");
    super::write::finish(plan, args.dry_run, &format!("appended {layers} to"), session).await
}

fn target(args: &Args) -> Result<Location> {
    match &args.output {
        Some(file) => super::write::output(file, args.new_tag.as_ref()),
        None => args.new_tag.clone().ok_or_else(|| Failure::usage("--new-tag is missing")),
    }
}

/// Layers as they are typed, directories packed as they are by default.
pub(super) fn layers(words: &[String], session: &Session) -> Result<Vec<LayerSource>> {
    layers::sources(words, &layers::Packing::default(), session)
}

/// The platform that an empty image is for.
fn empty_platform(session: &Session) -> Result<Platform> {
    let Some(wanted) = session.global.one_platform().unwrap_or_default() else {
        return Ok(Platform::default_choice());
    };
    let text = wanted.to_string();
    let (machine, version) = text.split_once(':').map_or((text.as_str(), None), |(m, v)| (m, Some(v)));
    let mut parts = machine.split('/').map(str::to_owned);
    let (Some(os), Some(architecture)) = (parts.next(), parts.next()) else {
        return Err(Failure::new(Code::Usage, format!("an architecture is missing in --platform {text}")));
    };
    let os_version = version.map(str::to_owned);
    Ok(Platform { variant: parts.next(), os_version, ..Platform::new(os, architecture) })
}
