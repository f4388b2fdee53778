use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use palan::{
    base::{Confidence, Detection, Detector, PlatformBase},
    place::Location,
};

use super::KnownFile;
use crate::{
    args::ReportFormat,
    exit::{Code, Result},
    session::Session,
    ui::{self, text},
};

/// Find out what images are built from, with evidence, platform by platform
///
/// Looks, in this order, at the buildpacks lifecycle's label, at org.opencontainers.image.base.name and .digest in
/// annotations of the manifest, of its entry in the index, of the index and in labels, at provenance attestations, and
/// into the index of known bases. A base is "verified" when its own layers are the first of the image's; "bounded" when
/// the builder wrote down which layer is its last, and it was not read itself; "stated" when something says so and that
/// is all. Ends with exit code 6 when the base of any platform is unknown.
///
/// No layer is downloaded.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<Location>,

    #[command(flatten)]
    known: KnownFile,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let progress = session.ui.progress();
    let (places, known) = (session.knowing_places(&progress)?, args.known.open(session)?);
    let (detector, platforms) = (Detector::new(&places, known.as_ref()), session.global.platforms());
    let all = stream::iter(&args.images).map(|image| {
        let (detector, platforms) = (&detector, &platforms);
        async move { (image.clone(), detector.detect(image, platforms).await) }
    });
    let (found, failed) = super::answers(pin!(all.buffered(session.global.jobs)), session).await;
    match args.format {
        ReportFormat::Json => session.ui.json(&found)?,
        ReportFormat::Text => show(&found, session)?,
    }
    failed?;
    super::ends(Code::BaseUnknown, found.iter().any(Detection::is_unknown))
}

fn show(found: &[Detection], session: &Session) -> Result {
    let all = || found.iter().flat_map(|d| d.platforms.iter().map(move |platform| (d, platform)));
    let rows = all().map(|(detection, platform)| row(&detection.image, platform));
    let head = ["IMAGE", "PLATFORM", "BASE", "LAYERS", "CONFIDENCE", "EVIDENCE", "DIGEST"];
    if !found.is_empty() {
        session.ui.line(ui::table(&head, rows))?;
    }
    for (detection, platform) in all() {
        for note in notes(platform) {
            session.ui.note(format!("{} ({}): {note}", detection.image, platform.platform));
        }
    }
    if found.iter().any(Detection::is_unknown) {
        let text = "images that say nothing are recognised by the bases that palan knows";
        session.ui.note(format!("{text}: palan base index add REPO"));
    }
    Ok(())
}

fn row(image: &str, platform: &PlatformBase) -> [String; 7] {
    let (image, name) = (image.to_owned(), platform.platform.clone());
    let Some(base) = &platform.base else {
        let (base, boundary) = if platform.scratch { ("scratch", "0") } else { ("unknown", "?") };
        let layers = format!("{boundary} of {}", platform.layers);
        return [image, name, base.to_owned(), layers, String::new(), String::new(), String::new()];
    };
    let boundary = base.boundary.map_or_else(|| "?".to_owned(), |n| n.to_string());
    [
        image,
        name,
        base.name.as_ref().map_or_else(|| "(no name)".to_owned(), ToString::to_string),
        format!("{boundary} of {}", platform.layers),
        base.confidence.as_str().to_owned(),
        base.evidence.as_str().to_owned(),
        base.digest.map(|digest| digest.to_string()).unwrap_or_default(),
    ]
}

fn notes(platform: &PlatformBase) -> Vec<String> {
    let base = platform.base.iter();
    let reasons = base.clone().filter(|base| base.confidence != Confidence::Verified).filter_map(|base| {
        let reason = base.reason.as_deref()?;
        Some(format!("{} was not compared with the image's layers: {reason}", base.shown()))
    });
    let also = base.filter(|base| !base.also.is_empty()).map(|base| {
        let names: Vec<String> = base.also.iter().map(ToString::to_string).collect();
        format!("the same layers are also known as {}", names.join(", "))
    });
    let conflicts = platform.conflicts.iter().map(|conflict| {
        format!("{} says {}, but {}", conflict.evidence.as_str(), conflict.base, conflict.reason)
    });
    reasons.chain(also).chain(conflicts).map(|note| text::one_line(&note, 1000)).collect()
}
