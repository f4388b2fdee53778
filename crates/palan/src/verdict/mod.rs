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
//! | package database over a changed one | db-shadowed |
//! | loader cache, CA bundle or byte code made from base files that changed | shadowed |
//! | own copy of a base file that the new base changed or no longer has | shadowed |
//! | program, library, interpreter, symbol version or entry point that was there and is missing | broken |
//! | the same, missing before as well | note |
//! | static program; library found only outside the search path | note |
//! | own files of a language runtime's version that is no longer there | broken |
//! | another minor version of a runtime that the application uses | note, and the gate warns |
//! | user or group of the config that is no longer there | broken |
//! | numeric owner of own files that has another name, or none | shadowed |
//! | another distribution, release or libc; packages removed or downgraded | note, and the gate warns |
//!
//! A build step that changed nothing on the old base (removing what was not there) left no trace in the layers and
//! cannot be judged; neither can file content computed from the base, but for the kinds named above.
//!
//! Source of the classes: image-spec `layer.md` for what layers do, `ld.so(8)` for how libraries are found.

mod abi;
mod accounts;
mod distribution;
mod footprint;
mod packages;
mod reach;
mod resolve;
mod runtime;
mod search;
mod settings;
mod shadow;
mod special;
mod stale;
mod summary;
mod trees;
mod version;

use std::{fmt, str::FromStr, sync::Arc};

use palan_layer::{EntryPath, Listing, listing::Interest};
use serde::Serialize;
use serde_json::{Map, Value};

pub use distribution::{Distribution, Libc};
pub use packages::{PackageChange, PackageKind, Packages};
pub use runtime::Runtime;
use settings::Settings;
pub use summary::{Size, Sizes};
pub use trees::State;
use trees::Trees;

/// What is to be learned of layers, for all checks.
pub const INTEREST: Interest = Interest::everything(crate::listings::keeps);

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
}

/// How much of a rebuild the result is, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
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

/// One thing that was looked at, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// What.
    pub name: GateName,
    /// With which outcome.
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub reason: String,
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GateName {
    /// Whether own paths hide what the new base changed.
    Shadow,
    /// Whether build steps depend on what the new base changed at other paths.
    Reach,
    /// Whether the application holds copies of old base files.
    StaleCopies,
    /// Whether programs and libraries find what they need.
    Elf,
    /// Whether what the config starts and names is there.
    Entrypoint,
    /// Whether the application's language runtimes stay.
    Runtime,
    /// Whether both bases are of one release of one distribution.
    Distribution,
    /// Whether both bases have the same kind of C library.
    Libc,
    /// Whether the architecture stays.
    Platform,
    /// How the packages of the bases differ.
    Packages,
    /// Whether users and groups are who they were.
    Accounts,
}

impl fmt::Display for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shadow => "shadow",
            Self::Reach => "reach",
            Self::StaleCopies => "stale-copies",
            Self::Elf => "elf",
            Self::Entrypoint => "entrypoint",
            Self::Runtime => "runtime",
            Self::Distribution => "distribution",
            Self::Libc => "libc",
            Self::Platform => "platform",
            Self::Packages => "packages",
            Self::Accounts => "accounts",
        })
    }
}

/// How a gate was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing was found.
    Pass,
    /// Somebody should look.
    Warn,
    /// The result cannot be expected to work.
    Fail,
    /// Nobody looked: what would have been needed is not there.
    NotAssessed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NotAssessed => "not assessed",
        })
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The grade that it leads to; `None`: a note, which leads to none.
    pub grade: Option<Grade>,
    /// What kind of thing.
    pub class: Class,
    /// Where in the image, without slashes at the ends; what is not UTF-8 is replaced.
    pub path: String,
    /// The path's bytes in hexadecimal, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// One sentence.
    pub text: String,
    /// What the old base has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<State>,
    /// What the new base has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<State>,
    /// What the result has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<State>,
    /// Other paths, libraries, packages or versions that are to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<String>,
}

impl Finding {
    fn new(grade: impl Into<Option<Grade>>, class: Class, path: &[u8], text: impl Into<String>) -> Self {
        let hex = || path.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            grade: grade.into(),
            class,
            path: String::from_utf8_lossy(path).into_owned(),
            path_hex: std::str::from_utf8(path).is_err().then(hex),
            text: text.into(),
            old: None,
            new: None,
            own: None,
            related: Vec::new(),
        }
    }

    fn relating(mut self, related: impl IntoIterator<Item = String>) -> Self {
        self.related = related.into_iter().collect();
        self
    }
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// A package manager's database.
    PackageDatabase,
    /// A directory where there is none any more, or the other way round.
    Kind,
    /// A symbolic link.
    Symlink,
    /// A hard link.
    HardLink,
    /// The dynamic loader's cache.
    LoaderCache,
    /// Users, groups and their passwords.
    Accounts,
    /// Certificates that are trusted.
    TrustStore,
    /// Packages of a language: Python, Ruby, Node, Perl.
    LanguageTree,
    /// A log, cache or temporary file.
    Residue,
    /// Any other file.
    File,
    /// A directory's metadata.
    Directory,
    /// A removal.
    Removal,
    /// A directory that was emptied.
    Emptied,
    /// A copy of a file of the old base.
    StaleCopy,
    /// The architecture.
    Architecture,
    /// What the config starts.
    Entrypoint,
    /// What a variable of the config names.
    Variable,
    /// A program's dynamic loader.
    Interpreter,
    /// A library that a program or library needs.
    Library,
    /// A version of a library's symbols.
    SymbolVersion,
    /// A script's interpreter.
    Script,
    /// A program that a new base does not patch.
    StaticProgram,
    /// A language runtime.
    Runtime,
    /// The config's user or group.
    User,
    /// Numeric owners of files.
    Owner,
    /// The distribution, or its C library.
    Distribution,
    /// Packages of the bases.
    Package,
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

/// Gathers findings and gates.
#[derive(Default)]
struct Collector {
    gates: Vec<Gate>,
    findings: Vec<Finding>,
}

impl Collector {
    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn gate(&mut self, name: GateName, outcome: Outcome, reason: impl Into<String>) {
        self.gates.push(Gate { name, outcome, reason: reason.into() });
    }

    /// A gate that fails with broken findings since `mark`, warns with others that lead to a grade.
    fn gate_since(&mut self, mark: usize, name: GateName, passed: &str) {
        let graded: Vec<Grade> = self.findings[mark..].iter().filter_map(|found| found.grade).collect();
        let Some(worst) = graded.iter().max() else { return self.gate(name, Outcome::Pass, passed) };
        let outcome = if *worst == Grade::Broken { Outcome::Fail } else { Outcome::Warn };
        let findings = if graded.len() == 1 { "finding" } else { "findings" };
        self.gate(name, outcome, format!("{} {findings}, the worst is {worst}", graded.len()));
    }

    fn finish(mut self) -> (Vec<Gate>, Vec<Finding>, Grade) {
        self.findings.sort_by(|a, b| b.grade.cmp(&a.grade).then_with(|| a.cmp(b)));
        self.findings.dedup();
        let grade = self.findings.iter().filter_map(|finding| finding.grade).max().unwrap_or_default();
        (self.gates, self.findings, grade)
    }
}

#[cfg(test)]
mod tests;
