use std::{io::Read as _, path::PathBuf, pin::pin};

use futures_util::{StreamExt as _, stream};
use palan::{
    base::{self, Detector, PlatformStale, Stale},
    place::Location,
    source,
};

use super::KnownFile;
use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui,
};

/// Tell which images do not stand on what their base's tag stands for now
///
/// For every platform: "current"; "moved" when the base's tag stands for another image now; "newer-tag" when the base's
/// repository has tags of the same form with higher numbers (13-slim for 12-slim, not 13 and not 12.1-slim); "gone" when
/// the tag does not exist any more; "unknown" when the base or its tag is. Manifests of platforms are compared: an index
/// that lists other attestations is no change.
///
/// Ends with exit code 0 when all are current, 10 when any is stale, 6 when none is stale and any is unknown.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required_unless_present = "from")]
    images: Vec<Location>,

    /// Read more images from a file, separated by white space; "#" begins a comment, "-" is stdin
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// Do not look for newer tags
    #[arg(long)]
    same_tag: bool,

    #[command(flatten)]
    known: KnownFile,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let images = args.images.iter().cloned().chain(listed(args)?);
    let progress = session.ui.progress();
    let (places, known) = (session.knowing_places(&progress)?, args.known.open(session)?);
    let (detector, platforms) = (Detector::new(&places, known.as_ref()), session.global.platforms());
    let all = stream::iter(images).map(|image| {
        let (detector, platforms) = (&detector, &platforms);
        async move {
            let stale = base::stale(detector, &image, platforms, !args.same_tag).await;
            (image, stale)
        }
    });
    let (found, failed) = super::answers(pin!(all.buffered(session.global.jobs)), session).await;
    match args.format {
        ReportFormat::Json => session.ui.json(&found)?,
        ReportFormat::Text if found.is_empty() => {}
        ReportFormat::Text => session.ui.line(table(&found))?,
    }
    failed?;
    super::ends(Code::Stale, found.iter().any(Stale::is_stale))?;
    super::ends(Code::BaseUnknown, found.iter().any(Stale::is_unknown))
}

/// The images of `--from`.
fn listed(args: &Args) -> Result<Vec<Location>> {
    let Some(path) = &args.from else { return Ok(Vec::new()) };
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, e))?
    };
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, file: &str) -> Result<Vec<Location>> {
    let names = source::listed(text)
        .map(|(line, name)| name.parse().map_err(|e| Failure::usage(format!("{file}, line {line}: {e}"))));
    names.collect()
}

fn table(found: &[Stale]) -> String {
    let all = found.iter().flat_map(|stale| stale.platforms.iter().map(move |platform| (stale, platform)));
    let rows = all.map(|(stale, platform)| row(&stale.image, platform));
    ui::table(&["IMAGE", "PLATFORM", "STATUS", "BASE", "NEWER TAGS", "NOW"], rows)
}

fn row(image: &str, platform: &PlatformStale) -> [String; 6] {
    let newer = match platform.newer.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [newest, more @ ..] => format!("{newest} and {} more", more.len()),
    };
    // What has not moved stands for what it stood for.
    let now = platform.new.filter(|new| platform.old != Some(*new));
    [
        image.to_owned(),
        platform.platform.clone(),
        platform.status.as_str().to_owned(),
        platform.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        newer,
        now.map(|digest| digest.to_string()).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments_and_empty_lines() {
        let found = parse("# ours\n\n  a:1  # the first\noci:dir:v1\n", "list").unwrap();
        let expected = ["a:1", "oci:dir:v1"].map(|text| text.parse::<Location>().unwrap());
        assert_eq!(found, expected);
        let failure = parse("a:1\nNOT ONE\n", "list").unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.chain()[0].starts_with("list, line 2:"), "{:?}", failure.chain());
    }
}
