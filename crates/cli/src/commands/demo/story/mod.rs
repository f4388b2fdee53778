mod check;
mod fixture;
mod made;
mod shapes;
mod steps;
mod told;

use std::path::{Path, PathBuf};

use palan::documents::Documents;
use palan_server::Registry;

use crate::{
    args::ReportFormat,
    exit::{Code, Failure, Result},
    session::Session,
    ui::text,
};
use steps::Demo;

/// Take a whole fleet off a base with a hole, on an embedded registry, and check every image
///
/// Starts a registry on a free loopback port and publishes a team's images for two platforms, on five bases, two of which
/// are the team's own and stand on another one, in the shapes found in the wild. The bases are patched; then the fleet is
/// scanned, planned, applied, promoted wave by wave (somebody moves a tag meanwhile), and a few images are given back. At the end
/// every tag is read back: files of the new base and of the image, config, platforms. Exit code 1 if a check fails.
#[derive(clap::Args)]
pub(super) struct Args {
    /// How many images: from 40 to 10000
    #[arg(long, value_name = "N", default_value_t = 260,
        value_parser = clap::value_parser!(u32).range(fixture::FEWEST as i64..=10_000))]
    images: u32,

    /// Keep the registry's content, fleet.toml, plan, journal and a report in this directory; default: in memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let temporary = session.temporary_folder()?;
    let folder = args.dir.as_deref().unwrap_or(temporary.path());
    let registry = match &args.dir {
        Some(dir) => Registry::directory(dir.join("registry"))?,
        None => Registry::memory(),
    };
    let server = registry.serve("127.0.0.1:0").await?;
    let demo = Demo {
        places: session.places()?.with_documents(Documents::default()),
        host: server.host(),
        folder: folder.to_owned(),
        scratch: session.scratch(),
    };
    let images = usize::try_from(args.images).unwrap_or(usize::MAX);
    let story = demo.run(images, session).await;
    server.stop().await;
    let story = story?;
    match args.format {
        ReportFormat::Json => session.ui.json(&story)?,
        ReportFormat::Text => session.ui.line(told::table_of(&story))?,
    }
    if !story.faults.is_empty() {
        for fault in &story.faults {
            session.ui.warning(format!("{}: {}", fault.image, fault.fault));
        }
        let failed = text::count(story.faults.len(), "check");
        return Err(Failure::new(Code::Failure, format!("{failed} failed")));
    }
    told::tell(&story, session);
    if let Some(dir) = &args.dir {
        look_around(dir, &story.registry, session);
    }
    Ok(())
}

fn look_around(dir: &Path, host: &str, session: &Session) {
    let port = host.rsplit(':').next().unwrap_or_default();
    let [registry, plan] = ["registry", "plan.json"].map(|name| dir.join(name).display().to_string());
    session.ui.say(format!("look around: palan registry serve --dir {registry} --port {port}"));
    session.ui.say(format!("             palan fleet status {plan}"));
}
