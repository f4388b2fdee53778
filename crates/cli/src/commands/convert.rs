use palan::{
    convert::{self, Annotations, Form, Request},
    place::Location,
};
use palan_core::{Algorithm, Family};

use super::write::{Compressing, Rewriting};
use crate::{
    exit::{Failure, Result},
    session::Session,
};

/// Change the form of an image: media types, compression, digests, annotations
///
/// Every image of an index is converted, and the index. What containers see stays what it is: every layer that is
/// stored anew is compared with its diff ID. What Docker's media types cannot say (zstd, annotations, artifact types,
/// subjects, attestations) is refused, unless it is to be converted or left out too. Prints the full reference of the
/// result, by digest.
#[derive(clap::Args)]
#[command(mut_arg("compression", |arg| {
    arg.help("Compression of layers; those that have it already stay as they are")
}))]
#[command(mut_arg("level", |arg| arg.requires("compression")))]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: Location,

    /// Media types of indexes, manifests, configs and layers
    #[arg(long, value_enum, value_name = "FAMILY")]
    to: Option<To>,

    #[command(flatten)]
    compressing: Compressing,

    /// Algorithm of digests; few registries take sha512
    #[arg(long, value_name = "ALGORITHM")]
    digest: Option<Algorithm>,

    /// What becomes of annotations: keep them; strip them, and what else Docker's media types cannot say; or promote
    /// labels to the manifest and what all images have in common to the index
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    annotations: What,

    #[command(flatten)]
    rewriting: Rewriting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Oci,
    Docker,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum What {
    #[default]
    Keep,
    Strip,
    Promote,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let form = form(args)?;
    let subject = args.rewriting.subject(args.image.clone(), None, session);
    let places = session.places()?;
    let progress = session.ui.progress();
    let options = session.copy_options(&progress);
    let plan = convert::plan(&places, Request { subject, form }, &options).await.map_err(refused)?;
    drop(progress);
    args.rewriting.finish(plan, "converted to", session).await
}

fn refused(error: palan::Error) -> Failure {
    let is_refused = matches!(error, palan::Error::Inexpressible { .. });
    let failure = Failure::from(error);
    match is_refused {
        true => failure.with_hint(
            "--compression gzip converts zstd layers; --annotations strip and --attestations drop leave out the rest",
        ),
        false => failure,
    }
}

fn form(args: &Args) -> Result<Form> {
    let form = Form {
        family: args.to.map(|to| match to {
            To::Oci => Family::Oci,
            To::Docker => Family::Docker,
        }),
        compression: args.compressing.kind(),
        level: args.compressing.level()?.unwrap_or_default(),
        only_uncompressed: false,
        algorithm: args.digest,
        annotations: match args.annotations {
            What::Keep => Annotations::Keep,
            What::Strip => Annotations::Strip,
            What::Promote => Annotations::Promote,
        },
    };
    let stays = form.family.is_none() && form.compression.is_none() && form.algorithm.is_none();
    match stays && args.annotations == What::Keep {
        true => {
            Err(Failure::usage("nothing to convert: give --to, --compression, --digest or --annotations"))
        }
        false => Ok(form),
    }
}
