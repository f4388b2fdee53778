use std::path::PathBuf;

use palan::{
    place::{Format, Location, Places},
    validate::{self, Fault, Options, Report, Severity},
};

use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::text::escaped,
};

/// Check images: every document and every byte of every layer
///
/// Each layer is read once. Prints PASS or FAIL per image, one line per fault; an image that cannot be read is a fault,
/// and the others are checked all the same.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true))]
pub(crate) struct Args {
    /// The images
    #[arg(value_name = "IMAGE", group = "target")]
    images: Vec<String>,

    /// An image in a registry
    #[arg(long, value_name = "IMAGE", group = "target")]
    remote: Option<String>,

    /// A docker archive
    #[arg(long, value_name = "FILE", group = "target")]
    tarball: Option<PathBuf>,

    /// Only ask whether layers are there, do not read them
    #[arg(long)]
    fast: bool,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let targets = targets(args)?;
    session.global.one_platform()?;
    let places = session.places()?;
    let (mut reports, mut worst) = (Vec::new(), None);
    for (name, location) in targets {
        let (report, code) = match one(name.clone(), &location, &places, args, session).await {
            Ok(done) => done,
            // Nobody waits for more when it was interrupted.
            Err(failure) if matches!(failure.code, Code::Interrupted | Code::BrokenPipe) => {
                return Err(failure);
            }
            Err(failure) => (unread(name, &failure), Some(failure.code)),
        };
        worst = worst.or(code);
        if args.format == ReportFormat::Text {
            print(&report, session)?;
        }
        reports.push(report);
    }
    if args.format == ReportFormat::Json {
        session.ui.json(&reports)?;
    }
    worst.map_or(Ok(()), |code| Err(Failure::reported(code)))
}

fn targets(args: &Args) -> Result<Vec<(String, Location)>> {
    let mut out = Vec::new();
    if let Some(text) = &args.tarball {
        let location = Location::Archive { path: text.clone(), format: Format::Docker, selector: None };
        out.push((text.display().to_string(), location));
    }
    for text in args.remote.iter().chain(&args.images) {
        out.push((text.clone(), text.parse()?));
    }
    Ok(out)
}

/// The report, and the exit code if it is bad.
async fn one(
    name: String,
    location: &Location,
    places: &Places,
    args: &Args,
    session: &Session,
) -> Result<(Report, Option<Code>)> {
    let source = places.source(location)?;
    let progress = session.ui.progress();
    let options = Options {
        fast: args.fast,
        platform: session.global.one_platform()?,
        jobs: session.global.jobs,
        limits: session.limits(),
        observer: progress.observer(),
    };
    let report = validate::validate(source.place.as_ref(), source.chosen()?, &options).await?;
    let report = Report { name, ..report };
    if report.is_valid() {
        return Ok((report, None));
    }
    // Where not even the root could be read, it may simply not be there.
    let absent = report.digest.is_none()
        && source.place.resolve(source.chosen()?).await.is_err_and(|error| error.is_not_found());
    Ok((report, Some(if absent { Code::NotFound } else { Code::Damaged })))
}

/// The report of an image that could not be read at all.
fn unread(name: String, failure: &Failure) -> Report {
    let fault = Fault { severity: Severity::Error, digest: None, text: failure.chain().join(": ") };
    Report { name, digest: None, documents: 0, blobs: 0, faults: vec![fault] }
}

fn print(report: &Report, session: &Session) -> Result {
    for fault in &report.faults {
        let about = fault.digest.map(|digest| format!("{digest} "));
        let about = about.filter(|digest| !fault.text.contains(digest.trim_end())).unwrap_or_default();
        let text = escaped(&format!("{}: {about}{}", report.name, fault.text));
        match fault.severity {
            Severity::Error => session.ui.line(format!("FAIL: {text}"))?,
            Severity::Warning => session.ui.warning(text),
        }
    }
    if report.is_valid() {
        session.ui.line(format!("PASS: {}", escaped(&report.name)))?;
    }
    Ok(())
}
