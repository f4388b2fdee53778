//! A planned rebase, for people: the few lines that matter first.

use palan::{
    listings::ListingsRead,
    rebase::{BaseReport, Finding, FindingKind, PlatformReport, Report, Verdict},
    verdict::Grade,
};

use crate::{session::Session, ui::text};

/// How many lines of findings a warning shows.
const FEW: usize = 5;
/// How many `--explain` shows; JSON has all.
const MANY: usize = 200;

/// Says on stderr what somebody should know who only wanted it done.
pub(super) fn notes(report: &Report, session: &Session) {
    for finding in &report.findings {
        // Said once for the whole image at the end.
        if !(report.noop && finding.kind == FindingKind::AlreadyOnNewBase) {
            session.ui.note(on_platform(finding));
        }
    }
    for platform in &report.platforms {
        for conflict in &platform.config.conflicts {
            session.ui.warning(format!("{}: {conflict}", platform.platform));
        }
        match platform.verdict {
            Verdict::Assessed(grade) if grade > Grade::Clean => session.ui.warning(warning(platform, grade)),
            _ => {
                for note in &platform.config.notes {
                    session.ui.note(format!("{}: {note}", platform.platform));
                }
            }
        }
    }
}

/// What led to the grade, and nothing else.
fn warning(platform: &PlatformReport, grade: Grade) -> String {
    let mut out = format!("{}: {grade}", platform.platform);
    for note in &platform.config.notes {
        out.push_str(&format!("\n  config: {note}"));
    }
    let lines = platform.assessment.as_ref().map(|a| a.summary(FEW)).unwrap_or_default();
    for line in lines.iter().filter(|line| !line.starts_with("note: ") && !line.starts_with("not assessed: "))
    {
        out.push_str(&format!("\n  {line}"));
    }
    out
}

/// The whole plan.
pub(super) fn describe(report: &Report, everything: bool) -> String {
    let mut out = format!("image:   {} is {}\n", report.image, report.digest);
    out.push_str(&match report.noop {
        true => "result:  the same, nothing to do\n".to_owned(),
        false => format!("result:  {} would be {}\n", report.target, report.new_digest),
    });
    out.push_str(&format!("verdict: {}\n", report.verdict));
    for platform in &report.platforms {
        out.push_str(&of_platform(platform, everything));
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    for finding in &report.findings {
        out.push_str(&format!("note: {}\n", on_platform(finding)));
    }
    out.truncate(out.trim_end().len());
    out
}

fn of_platform(platform: &PlatformReport, everything: bool) -> String {
    let old_layers = platform.boundary - platform.below;
    let mut out = format!(
        "\n{}: {}\n  layers:   {} of the old base become {} of the new base, {} of the image's own stay\n  \
         old base: {}\n  new base: {}\n  manifest: {} becomes {}\n",
        platform.platform,
        platform.verdict,
        old_layers,
        platform.new_base_layers.len(),
        platform.own_layers,
        base(&platform.old_base),
        base(&platform.new_base),
        platform.digest,
        platform.new_digest,
    );
    let config = &platform.config;
    let changes = config.changes.iter().map(ToString::to_string);
    let conflicts = config.conflicts.iter().map(|c| format!("conflict: {c}"));
    let notes = config.notes.iter().map(ToString::to_string);
    for line in conflicts.chain(changes).chain(notes) {
        out.push_str(&format!("  config:   {line}\n"));
    }
    let Some(assessment) = &platform.assessment else { return out };
    for line in assessment.summary(if everything { MANY } else { FEW }) {
        out.push_str(&format!("  - {line}\n"));
    }
    for gate in assessment.gates.iter().filter(|_| everything) {
        out.push_str(&format!("  {:<13} {:<12}  {}\n", gate.name, gate.outcome, gate.reason));
    }
    out
}

/// What the verdict cost, if it cost anything.
pub(super) fn read(listed: ListingsRead) -> Option<String> {
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

fn base(base: &BaseReport) -> String {
    let digest = base.digest.map_or_else(|| "digest unknown".to_owned(), |digest| digest.to_string());
    match base.evidence.as_deref() {
        None | Some("given") => format!("{} ({digest})", base.name),
        Some(evidence) => format!("{} ({digest}), known by {evidence}", base.name),
    }
}

fn on_platform(finding: &Finding) -> String {
    match &finding.platform {
        Some(platform) => format!("{platform}: {}", finding.text),
        None => finding.text.clone(),
    }
}
