use palan::{
    Error,
    flatten::{Keep, Request, plan, usual_level},
    place::Location,
};
use palan_core::Compression;

use super::{
    base::KnownFile,
    write::{self, Compressing, Rewriting},
};
use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Make the layers of an image one
///
/// Files, config and annotations stay as they are; the history becomes one entry that holds the old one. Of an index, every
/// image, or those for --platform, inside the index. The same image gives the same result. Prints the full reference of the
/// result, by digest.
#[derive(clap::Args)]
#[command(mut_arg("compression", |arg| arg.help("Compression of the layer; default: gzip")))]
#[command(mut_arg("level", |arg| {
    arg.help("How hard to compress: gzip 0 to 12, by default 5; zstd 1 to 22, by default 2").long_help(
        "How hard to compress: gzip 0 to 12, by default 5; zstd 1 to 22, by default 2\n\n\
         Without it, parts that are compressed with gzip already, and well, stay as they are.",
    )
}))]
pub(crate) struct Args {
    /// The image or index
    #[arg(value_name = "IMAGE")]
    image: Location,

    /// Flatten only so many layers, the uppermost ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..), conflicts_with = "keep_base")]
    last: Option<u32>,

    /// Leave the layers of the image's base as they are: so many, or by default those of the base that is detected
    #[arg(
        long,
        visible_alias = "keep_base",
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "detect"
    )]
    keep_base: Option<Base>,

    /// Leave the layers of this image as they are: flatten only what the application put onto it
    #[arg(long, value_name = "BASE", conflicts_with_all = ["last", "keep_base"])]
    onto_base: Option<Location>,

    #[command(flatten)]
    compressing: Compressing,

    #[command(flatten)]
    known: KnownFile,

    #[command(flatten)]
    rewriting: Rewriting,
}

#[derive(Clone, Copy, Debug)]
enum Base {
    Detect,
    Layers(usize),
}

impl std::str::FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "detect" => Ok(Self::Detect),
            number => match number.parse() {
                Ok(number) => Ok(Self::Layers(number)),
                Err(_) => Err("a number of layers is expected".to_owned()),
            },
        }
    }
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let compression = args.compressing.kind().unwrap_or(Compression::Gzip);
    let request = Request {
        subject: args.rewriting.subject(args.image.clone(), None, session),
        keep: match (args.last, args.keep_base, &args.onto_base) {
            (Some(last), ..) => Keep::AllBut(usize::try_from(last).unwrap_or(usize::MAX)),
            (_, Some(Base::Layers(number)), _) => Keep::Lowest(number),
            (_, Some(Base::Detect), _) => Keep::Base,
            (.., Some(base)) => Keep::Of(base.clone()),
            (None, None, None) => Keep::Nothing,
        },
        compression,
        level: args.compressing.level()?.unwrap_or_else(|| usual_level(compression)),
        created: session.env.created()?,
        ahead: !args.rewriting.is_dry(),
    };
    let known = match request.keep {
        Keep::Base => args.known.open(session)?,
        _ => None,
    };
    let places = session.places()?;
    let progress = session.ui.progress();
    let plan = plan(&places, &request, known.as_ref(), &session.copy_options(&progress)).await;
    drop(progress);
    let plan = plan.map_err(|error| match error {
        Error::BaseUnknown { .. } => Failure::from(error)
            .with_hint("say how many layers it has, --keep-base=N, or name it: --onto-base BASE"),
        error => write::not_compressed_so(error),
    })?;
    args.rewriting.finish(plan, "flattened", session).await
}
