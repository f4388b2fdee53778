//! Whether an image can be expected to be, on its new base, what a rebuild would have made of it.
//!
//! [`assess`] is a pure function of what the layers hold and what the configs say; nobody has to pull anything for it
//! but the layers' [`Listing`]s. One rule decides every doubt: **would a rebuild on the new base give the same tree? If
//! that is not certain, the grade is not [`Grade::Clean`].**
//!
//! | finding | grade |
//! |---|---|
//! | own file, link or device over a path that the new base changed, no longer has, or has for the first time | shadowed |
//! | own directory entry over a directory whose mode, owner or attributes the new base changed | shadowed |
//! | own directory entry with the new base's metadata, or over an unchanged directory | – |
//! | own path at or below what was a directory and now is a link or file, or the other way round | broken |
//! | own path below a directory that the new base no longer has | shadowed |
//! | own path that the build may have reached through a symbolic link that now leads elsewhere | shadowed |
//! | removal of a path that the new base no longer has | note |
//! | removal of a directory whose entries are not the same ones; removal beside entries new in the base | shadowed |
//! | emptied (opaque) directory over a changed one | shadowed |
//! | mode or owner of base files changed where the new base has further files | shadowed |
//! | own symbolic link that led somewhere and now leads nowhere; own hard link to a missing file | broken |
//! | own hard link to a base file that changed | shadowed |
//! | build step that names what the new base changed, or runs a program that it changed | shadowed |
//! | package database over a changed one | db-shadowed |
//! | loader cache, CA bundle or byte code made from base files that changed | shadowed |
//! | own copy of a base file that the new base changed or no longer has | shadowed |
//! | program, library, interpreter, symbol version or entry point that was there and is missing | broken |
//! | the same, missing before as well | note |
//! | library that only the application still has, outside the search path | shadowed |
//! | static program; library found only outside the search path | note |
//! | own files of a language runtime's version that is no longer there | broken |
//! | another minor version of a runtime that the application uses | note, and the gate warns |
//! | user or group of the config that is no longer there; variable of the config that names a path that is gone | broken |
//! | numeric owner of own files that has another name, or none | shadowed |
//! | another distribution, release or libc; packages removed or downgraded | note, and the gate warns |
//!
//! A build step that changed nothing on the old base (removing what was not there) left no trace in the layers and
//! cannot be judged; neither can file content computed from the base, but for the kinds named above.
//!
//! Source of the classes: image-spec `layer.md` for what layers do, `ld.so(8)` for how libraries are found.

mod abi;
mod accounts;
mod case;
mod distribution;
mod footprint;
mod packages;
mod reach;
mod report;
mod runtime;
mod search;
mod settings;
mod shadow;
mod special;
mod stale;
mod steps;
mod summary;
mod trees;
mod version;

use std::{fmt, str::FromStr, sync::Arc};

use palan_layer::{EntryPath, Listing, listing::Interest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resolve;

pub(crate) use case::{Case, starts};
pub use distribution::{Distribution, Libc};
pub use packages::{PackageChange, PackageKind, Packages};
use report::Collector;
pub use report::{Class, Finding, Gate, GateName, Outcome};
pub use runtime::Runtime;
use settings::Settings;
pub use summary::{Size, Sizes};
pub use trees::State;
use trees::Trees;

/// What is to be learned of layers, for all checks.
pub const INTEREST: Interest<'static> = Interest::everything(crate::listings::keeps);

/// A rebase, as data. Configs are whole image configs (`architecture`, `config`, …).
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Layers of the old base, lowest first.
    pub old: &'a [Arc<Listing>],
    /// Layers of the new base, lowest first.
    pub new: &'a [Arc<Listing>],
    /// The application's layers that are put on it, lowest first.
    pub own: &'a [Arc<Listing>],
    /// Config of the image as it was.
    pub app_config: &'a Map<String, Value>,
    /// Config of the old base, where known.
    pub old_config: Option<&'a Map<String, Value>>,
    /// Config of the new base.
    pub new_config: &'a Map<String, Value>,
    /// Config of the result.
    pub result_config: &'a Map<String, Value>,
    /// What made the own layers, `created_by` of the history's entries in order; `None`: the history does not say.
    pub steps: Option<&'a [String]>,
}

/// How much of a rebuild the result is, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// What a rebuild would give.
    #[default]
    Clean,
    /// Something of the new base stays hidden, or a rebuild may differ.
    Shadowed,
    /// The package database is the old one: files and database disagree, only a rebuild helps.
    DbShadowed,
    /// Something that was there is missing or cannot work.
    Broken,
}

impl Grade {
    /// All grades, best first.
    pub const ALL: [Self; 4] = [Self::Clean, Self::Shadowed, Self::DbShadowed, Self::Broken];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Shadowed => "shadowed",
            Self::DbShadowed => "db-shadowed",
            Self::Broken => "broken",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no grade.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no grade (clean, shadowed, db-shadowed, broken)")]
pub struct UnknownGrade(pub String);

impl FromStr for Grade {
    type Err = UnknownGrade;

    fn from_str(name: &str) -> Result<Self, UnknownGrade> {
        Self::ALL
            .into_iter()
            .find(|grade| grade.as_str() == name)
            .ok_or_else(|| UnknownGrade(name.to_owned()))
    }
}

/// What [`assess`] found. Everything is in a fixed order: the same input gives the same bytes of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Assessment {
    /// The worst grade of all findings.
    pub grade: Grade,
    /// What was looked at, and with which outcome.
    pub gates: Vec<Gate>,
    /// What was found, worst grade first, notes last; then by class and path.
    pub findings: Vec<Finding>,
    /// The old base's distribution.
    pub old_distribution: Distribution,
    /// The new base's distribution.
    pub new_distribution: Distribution,
    /// How the packages of the bases differ; `None`: they could not be read.
    pub packages: Option<Packages>,
    /// Language runtimes, by name.
    pub runtimes: Vec<Runtime>,
    /// Sizes before and after.
    pub sizes: Sizes,
}

/// A path in a sentence: quoted, control characters escaped.
fn shown(path: &[u8]) -> String {
    EntryPath::from(&[b"/", path].concat()).to_string().trim_matches('"').to_owned()
}

/// Judges a rebase before it is done.
///
/// Fails where the new base's or the old base's layers do not make a file system. Own layers that do not fit on the
/// new base are findings.
pub fn assess(input: &Input<'_>) -> palan_layer::Result<Assessment> {
    let trees = Trees::build(input)?;
    let (before, after) = (Settings::new(input.app_config), Settings::new(input.result_config));
    let mut report = Collector::default();
    {
        let delta = trees.delta();
        shadow::check(&trees, &delta, &mut report);
        reach::check(&trees, &delta, &mut report);
        stale::check(&trees, &delta, &mut report);
        steps::check(input, &trees, &delta, &mut report);
    }
    abi::check(&trees, &before, &after, &mut report);
    settings::check(&trees, &before, &after, &mut report);
    let runtimes = runtime::check(&trees, &before, &after, &mut report);
    let [old_distribution, new_distribution] = distribution::check(&trees, &before, &after, &mut report);
    let packages = packages::check(&trees, &mut report);
    accounts::check(&trees, &before, &after, &mut report);
    let (gates, findings, grade) = report.finish();
    let sizes = Sizes::of(&trees);
    Ok(Assessment { grade, gates, findings, old_distribution, new_distribution, packages, runtimes, sizes })
}

#[cfg(test)]
mod tests;
