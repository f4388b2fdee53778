//! From the report of one rebase to what a plan says of it.

use palan_core::Reference;

use super::planned::{Locked, LockedPlatform, Stood};
use crate::{
    rebase::{PlatformReport, Report, Verdict},
    verdict::Grade,
};

/// How many findings of one platform stand in a plan; `rebase --dry-run` lists all.
const MOST_FINDINGS: usize = 10;

pub(super) fn lock(
    report: &Report,
    old_base: Option<Reference>,
    new_base: Reference,
    (candidate, candidate_was): (Reference, Option<Stood>),
    backup: Reference,
) -> Locked {
    let platforms = report.platforms.iter().map(|platform| LockedPlatform {
        platform: platform.platform.clone(),
        digest: platform.digest,
        new_digest: platform.new_digest,
        boundary: platform.boundary,
        old_base: platform.old_base.name.clone(),
        evidence: platform.old_base.evidence.clone(),
        old_base_at: platform.old_base.found.clone(),
        new_base: platform.new_base.digest,
        verdict: platform.verdict,
    });
    let (size, new_size) = sizes(report);
    Locked {
        old_base,
        new_base,
        new_digest: report.new_digest,
        candidate,
        candidate_was,
        backup,
        verdict: report.verdict,
        size,
        new_size,
        platforms: platforms.collect(),
        findings: findings(report),
    }
}

/// What a plan says of a result that is not so, by the rebase computed again; `None`: nothing. Verdicts are only compared
/// with each other: what they are taken from is not looked at again.
pub(super) fn edited(locked: &Locked, report: &Report) -> Option<&'static str> {
    let (size, new_size) = sizes(report);
    let verdict = Verdict::of_all(locked.platforms.iter().map(|platform| platform.verdict));
    let known = |platform: &PlatformReport| {
        (
            platform.platform.clone(),
            platform.digest,
            platform.new_digest,
            platform.boundary,
            platform.new_base.digest,
        )
    };
    let said =
        |on: &LockedPlatform| (on.platform.clone(), on.digest, on.new_digest, on.boundary, on.new_base);
    if !report.platforms.iter().map(known).eq(locked.platforms.iter().map(said)) {
        return Some("platforms");
    }
    if (locked.size, locked.new_size) != (size, new_size) {
        return Some("size");
    }
    (locked.verdict != verdict).then_some("verdict")
}

/// Bytes of the layers of all platforms, before and after.
fn sizes(report: &Report) -> (u64, u64) {
    let sum = |size: fn(&PlatformReport) -> u64| report.platforms.iter().map(size).sum();
    (sum(|platform| platform.size), sum(|platform| platform.new_size))
}

/// What a reviewer should know: the worst first, and not all of it where it is much.
fn findings(report: &Report) -> Vec<String> {
    let mut findings = Vec::new();
    for platform in &report.platforms {
        let assessed = platform.assessment.iter().flat_map(|assessment| &assessment.findings);
        let bad: Vec<_> =
            assessed.filter(|finding| finding.grade.is_some_and(|g| g > Grade::Clean)).collect();
        let shown =
            bad.iter().take(MOST_FINDINGS).map(|finding| format!("{}: {}", platform.platform, finding.text));
        findings.extend(shown);
        if bad.len() > MOST_FINDINGS {
            findings.push(format!("{}: and {} more findings", platform.platform, bad.len() - MOST_FINDINGS));
        }
        let conflicts = platform.config.conflicts.iter();
        findings.extend(conflicts.map(|conflict| format!("{}: {conflict}", platform.platform)));
    }
    findings.extend(report.findings.iter().map(|finding| finding.text.clone()));
    findings
}
