use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use palan::fleet::{self, Settings};

use super::{
    named::{FILE, Named},
    scan,
};
use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Write a commented fleet.toml from what is found
///
/// Scans the images that are named, and writes the settings of a fleet: where its images are, one rule for each base that
/// they stand on, names of tags, gates and a first wave. Every key is explained. A file that exists is not replaced.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,

    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = FILE)]
    output: PathBuf,

    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    if args.named.is_empty() {
        let failure = Failure::usage("no images are named");
        return Err(failure.with_hint("palan fleet init 'ghcr.io/org/*:1.*', or --manifests FOLDER"));
    }
    let is_written = !args.dry_run && args.output != Path::new("-");
    if is_written && args.output.symlink_metadata().is_ok() {
        return Err(exists(&args.output));
    }
    let folder = args.output.parent().filter(|folder| !folder.as_os_str().is_empty());
    // What the file names is below its own folder.
    let path = |path: &Path| match folder {
        Some(_) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        None => path.to_owned(),
    };
    let settings = Settings { images: args.named.images(path)?, ..Settings::default() };
    let progress = session.ui.progress();
    let (places, known) = (session.knowing_places(&progress)?, args.named.known.open(session)?);
    let observer = progress.observer();
    let inventory = fleet::scan(&places, &settings, known.as_ref(), super::AT_ONCE, &observer).await?;
    drop(progress);
    let text = fleet::commented(&settings.images, &inventory);
    if inventory.images.is_empty() {
        let _ = scan::told(&inventory, session);
        return Err(Failure::new(Code::NotFound, "no image was found, so that nothing is written"));
    }
    if !is_written {
        session.ui.data(text.as_bytes())?;
    } else {
        create(&args.output, folder.unwrap_or(Path::new(".")), &text)?;
        session.ui.line(args.output.display().to_string())?;
    }
    scan::told(&inventory, session)
}

fn exists(path: &Path) -> Failure {
    Failure::new(Code::Conflict, format!("{} exists", path.display()))
}

/// Writes a file that nobody has written meanwhile.
fn create(path: &Path, folder: &Path, text: &str) -> Result {
    let failed = |error| Failure::file("write", path, error);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(error.error)),
    }
}
