//! What the verbs share that judge a result before they write it.

use std::sync::Arc;

use palan::{
    listings::{DirectoryCache, ListingCache, Listings, ListingsRead},
    rebase::{Check, Finding, Refuse, Verdict},
    verdict::{Assessment, Grade},
};

use crate::{
    exit::{Failure, Result},
    session::Session,
    ui::{Progress, text},
};

/// How many lines of findings a warning shows.
const FEW: usize = 5;
/// How many `--explain` shows; JSON has all.
const MANY: usize = 200;

#[derive(clap::Args)]
pub(super) struct VerdictArgs {
    /// Say what would be done and everything that was found, and write nothing
    #[arg(long)]
    pub(super) explain: bool,

    /// How closely to look at the result: none, metadata (configs, attestations) or content (the files of all layers)
    #[arg(long, value_name = "DEPTH", default_value_t)]
    check: Check,

    /// The worst verdict with which the result is written: clean, shadowed, db-shadowed (the default) or broken
    #[arg(long, value_name = "VERDICT", conflicts_with = "fail_on")]
    accept: Option<Grade>,

    /// Write nothing and end with exit code 11 when the verdict is this bad or worse: shadowed, db-shadowed or broken
    #[arg(long, value_name = "VERDICT")]
    fail_on: Option<Grade>,
}

impl VerdictArgs {
    /// How closely to look, which must be closely where a verdict decides.
    pub(super) fn check(&self) -> Result<Check> {
        let decides = self.fail_on.is_some() || self.accept.is_some();
        match decides && self.check != Check::Content {
            true => Err(Failure::usage(
                "--accept and --fail-on need --check content: without it there is no verdict",
            )),
            false => Ok(self.check),
        }
    }

    pub(super) fn refuse(&self) -> Refuse {
        match (self.accept, self.fail_on) {
            (Some(accepted), _) => Refuse(Grade::ALL.into_iter().find(|grade| *grade > accepted)),
            (None, Some(grade)) => Refuse(Some(grade)),
            (None, None) => Refuse::default(),
        }
    }
}

/// What fails in verbs with [`VerdictArgs`].
pub(super) fn failed(error: palan::Error) -> Failure {
    let failure = Failure::from(error);
    match failure.is_because(|error| matches!(error, palan::Error::NotHere { .. })) {
        true => failure.with_hint("--check metadata does without the layers, and without a verdict"),
        false => failure,
    }
}

/// Listings that are kept from run to run.
pub(super) fn listings(progress: &Progress, session: &Session) -> Arc<Listings> {
    let cache = session
        .env
        .cache_folder()
        .map(|folder| -> Arc<dyn ListingCache> { Arc::new(DirectoryCache::new(folder.join("layers"))) });
    let listings = Listings::new(cache, progress.observer());
    Arc::new(listings.with_scratch(session.scratch()).with_limits(session.limits()))
}

/// Says what the verdict cost, if it cost anything.
pub(super) fn say_read(listings: &Listings, session: &Session) {
    if let Some(read) = read(listings.read()) {
        session.ui.say(read);
    }
}

fn read(listed: ListingsRead) -> Option<String> {
    let count = |layers: u64| text::count(usize::try_from(layers).unwrap_or(usize::MAX), "layer");
    match (listed.layers, listed.cached) {
        (0, 0) => None,
        (0, known) => Some(format!("looked into {}, all known from before", count(known))),
        (new, 0) => Some(format!("looked into {}: {} read", count(new), text::size(listed.bytes))),
        (new, known) => Some(format!(
            "looked into {}: {} read, {known} known from before",
            count(new + known),
            text::size(listed.bytes)
        )),
    }
}

/// A dry run ends as the real one would.
pub(super) fn refuse(is_refused: bool, image: &str, verdict: Verdict) -> Result {
    match is_refused {
        true => Err(palan::Error::Refused { image: image.to_owned(), verdict: verdict.to_string() }.into()),
        false => Ok(()),
    }
}

/// What led to the grade of a platform's image, and nothing else; `more` comes first. `None`: there is nothing wrong.
pub(super) fn warning(
    platform: &str,
    verdict: Verdict,
    more: impl IntoIterator<Item = String>,
    assessment: Option<&Assessment>,
) -> Option<String> {
    let Verdict::Assessed(grade) = verdict else { return None };
    let lines = more.into_iter().chain(assessment.map(graded).unwrap_or_default());
    let lines: String = lines.map(|line| format!("\n  {line}")).collect();
    (grade > Grade::Clean).then(|| format!("{platform}: {grade}{lines}"))
}

/// The few lines that led to a grade.
pub(super) fn graded(assessment: &Assessment) -> Vec<String> {
    let mut lines = assessment.summary(usize::MAX);
    lines.retain(|line| !line.starts_with("note: ") && !line.starts_with("not assessed: "));
    if lines.len() > FEW {
        let more = lines.split_off(FEW - 1).len();
        lines.push(format!("and {more} more lines in the full report"));
    }
    lines
}

/// Findings and, where `everything` is asked for, gates: indented lines.
pub(super) fn describe(assessment: &Assessment, everything: bool) -> String {
    let mut out = String::new();
    for line in assessment.summary(if everything { MANY } else { FEW }) {
        out.push_str(&format!("  - {line}\n"));
    }
    for gate in assessment.gates.iter().filter(|_| everything) {
        out.push_str(&format!("  {:<13} {:<12}  {}\n", gate.name, gate.outcome, gate.reason));
    }
    out
}

/// The text of a plan, with what is worth knowing about it at the end, and without a line break there.
pub(super) fn with_notes(mut out: String, findings: &[Finding]) -> String {
    if !findings.is_empty() {
        out.push('\n');
    }
    for finding in findings {
        out.push_str(&format!("note: {}\n", on_platform(finding)));
    }
    out.truncate(out.trim_end().len());
    out
}

/// `linux/amd64: what was found`
pub(super) fn on_platform(finding: &Finding) -> String {
    match &finding.platform {
        Some(platform) => format!("{platform}: {}", finding.text),
        None => finding.text.clone(),
    }
}
