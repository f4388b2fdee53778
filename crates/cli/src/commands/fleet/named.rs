//! Which images are meant: the same for every verb that looks for them.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use palan::{
    base::RepositoryPattern,
    fleet::{Images, Settings},
    source,
};
use palan_core::ReferenceError;

use crate::{
    commands::base::KnownFile,
    exit::{Code, Failure, Result},
    session::Session,
};

/// The settings of a fleet, where nothing else is named.
pub(super) const FILE: &str = "fleet.toml";

/// Images that are named on the command line.
#[derive(clap::Args)]
pub(super) struct Named {
    /// Images, and repositories with wildcards: ghcr.io/org/api:1, 'ghcr.io/org/*:1.*'
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Take images from a list ("#" begins a comment), or from what `kubectl get pods -A -o json` prints; "-" is stdin
    ///
    /// May be repeated.
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,

    /// Take images from Kubernetes manifests, kustomizations, Compose files and Helm values, or folders of them
    ///
    /// May be repeated. In folders, *.yaml and *.yml are read; hidden folders, node_modules, target and vendor are not
    /// entered. Manifests that a kustomization takes in count as it makes them.
    #[arg(long, value_name = "PATH")]
    manifests: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) known: KnownFile,
}

impl Named {
    pub(super) fn is_empty(&self) -> bool {
        self.images.is_empty() && self.from.is_empty() && self.manifests.is_empty()
    }

    /// What is named, as settings say it; paths as `path` gives them.
    pub(super) fn images(&self, path: impl Fn(&Path) -> PathBuf) -> Result<Images> {
        let mut out = Images::default();
        for text in &self.images {
            match text.contains(['*', '?']) {
                true => {
                    text.parse::<RepositoryPattern>()?;
                    out.repositories.push(text.clone());
                }
                false => out.references.push(text.parse()?),
            }
        }
        let shown = |file: &PathBuf| path(file).to_string_lossy().into_owned();
        out.manifests = self.manifests.iter().map(shown).collect();
        for file in &self.from {
            match file.as_os_str() == "-" {
                true => stdin(&mut out)?,
                false => out.files.push(shown(file)),
            }
        }
        Ok(out)
    }
}

fn stdin(out: &mut Images) -> Result {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    if !source::is_list(&text) {
        return manifests(&text, out);
    }
    for (line, name) in source::listed(&text) {
        let wrong = |e: ReferenceError| Failure::usage(format!("stdin, line {line}: {e}"));
        out.references.push(name.parse().map_err(wrong)?);
    }
    Ok(())
}

/// What a cluster or a tool prints, as in files.
fn manifests(text: &str, out: &mut Images) -> Result {
    if let Some((line, reason)) = source::unreadable(text) {
        return Err(Failure::usage(format!("stdin, line {line}: {reason}")));
    }
    for named in source::images(text) {
        let wrong =
            |reason| Failure::usage(format!("stdin, line {}: {}: {reason}", named.line, named.written));
        out.references.push(named.image.map_err(wrong)?);
    }
    match out.references.is_empty() {
        true => Err(Failure::usage("stdin names no image")),
        false => Ok(()),
    }
}

/// Reads a `fleet.toml`; what it names is below its folder.
pub(super) fn settings(file: &Path, session: &Session) -> Result<Settings> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let failure = Failure::file("read", file, error);
        if is_missing { failure.with_hint("palan fleet init writes one") } else { failure }
    })?;
    let settings = Settings::parse(&text).map_err(|error| {
        let shown = file.display();
        let Some((last, others)) = error.problems.split_last() else {
            return Failure::usage(error.to_string());
        };
        for problem in others {
            session.ui.warning(format!("{shown}, {problem}"));
        }
        Failure::new(Code::Usage, format!("{shown}, {last}"))
    })?;
    Ok(settings.in_folder(file.parent().unwrap_or(Path::new(""))))
}
