//! What is found, and how it is gathered.

use std::fmt;

use serde::Serialize;

use super::{Grade, State};

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
    /// Whether build steps name what the new base changed.
    BuildSteps,
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
            Self::BuildSteps => "build-steps",
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
    pub(super) fn new(
        grade: impl Into<Option<Grade>>,
        class: Class,
        path: &[u8],
        text: impl Into<String>,
    ) -> Self {
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

    pub(super) fn relating(mut self, related: impl IntoIterator<Item = String>) -> Self {
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
    /// A step of the build.
    BuildStep,
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

/// Gathers findings and gates.
#[derive(Default)]
pub(super) struct Collector {
    pub(super) gates: Vec<Gate>,
    pub(super) findings: Vec<Finding>,
}

impl Collector {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn gate(&mut self, name: GateName, outcome: Outcome, reason: impl Into<String>) {
        self.gates.push(Gate { name, outcome, reason: reason.into() });
    }

    /// A gate that fails with broken findings since `mark`, warns with others that lead to a grade.
    pub(super) fn gate_since(&mut self, mark: usize, name: GateName, passed: &str) {
        let graded: Vec<Grade> = self.findings[mark..].iter().filter_map(|found| found.grade).collect();
        let Some(worst) = graded.iter().max() else { return self.gate(name, Outcome::Pass, passed) };
        let outcome = if *worst == Grade::Broken { Outcome::Fail } else { Outcome::Warn };
        let findings = if graded.len() == 1 { "finding" } else { "findings" };
        self.gate(name, outcome, format!("{} {findings}, the worst is {worst}", graded.len()));
    }

    pub(super) fn finish(mut self) -> (Vec<Gate>, Vec<Finding>, Grade) {
        self.findings.sort_by(|a, b| b.grade.cmp(&a.grade).then_with(|| a.cmp(b)));
        self.findings.dedup();
        let grade = self.findings.iter().filter_map(|finding| finding.grade).max().unwrap_or_default();
        (self.gates, self.findings, grade)
    }
}
