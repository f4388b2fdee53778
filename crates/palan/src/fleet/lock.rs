//! From the report of one rebase to what a plan says of it.

use palan_core::Reference;

use super::planned::{Locked, LockedPlatform};
use crate::{rebase::Report, verdict::Grade};

/// How many findings of one platform stand in a plan; `rebase --dry-run` lists all.
const MOST_FINDINGS: usize = 10;

pub(super) fn lock(
    report: &Report,
    old_base: Option<Reference>,
    new_base: Reference,
    candidate: Reference,
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
    Locked {
        old_base,
        new_base,
        new_digest: report.new_digest,
        candidate,
        backup,
        verdict: report.verdict,
        size: report.platforms.iter().map(|platform| platform.size).sum(),
        new_size: report.platforms.iter().map(|platform| platform.new_size).sum(),
        platforms: platforms.collect(),
        findings: findings(report),
    }
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
