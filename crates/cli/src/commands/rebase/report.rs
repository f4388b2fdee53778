//! A planned rebase, for people: the few lines that matter first.

use palan::rebase::{BaseReport, FindingKind, PlatformReport, Report};

use crate::{
    commands::verdict::{self, on_platform, warning},
    session::Session,
    ui::text,
};

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
        let notes = &platform.config.notes;
        let first = notes.iter().map(|note| format!("config: {note}"));
        match warning(&platform.platform, platform.verdict, first, platform.assessment.as_ref()) {
            Some(warning) => session.ui.warning(warning),
            None => notes.iter().for_each(|note| session.ui.note(format!("{}: {note}", platform.platform))),
        }
    }
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
    verdict::with_notes(out, &report.findings)
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
    if let Some(assessment) = &platform.assessment {
        let (old, new) = (assessment.sizes.old, assessment.sizes.new);
        let (was, is) = (text::size(old.bytes), text::size(new.bytes));
        out.push_str(&format!("  content:  {was} in {} files become {is} in {}\n", old.files, new.files));
        out.push_str(&verdict::describe(assessment, everything));
    }
    out
}

fn base(base: &BaseReport) -> String {
    let digest = base.digest.map_or_else(|| "digest unknown".to_owned(), |digest| digest.to_string());
    match base.evidence.as_deref() {
        None | Some("given") => format!("{} ({digest})", base.name),
        Some(evidence) => format!("{} ({digest}), known by {evidence}", base.name),
    }
}
