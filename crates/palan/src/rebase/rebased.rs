//! A tree of images becomes another one: every image is rebased, every index rewritten. Reads bases, writes nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use futures_util::future::try_join_all;
use palan_core::{Descriptor, Digest, Document, Reference, chain_ids};

use super::{
    Difference,
    attestations::{Carried, carry_entries, look_for_referrers},
    base::Base,
    bases::Bases,
    content::{self, Subject},
    hints::{Hints, NewHints},
    index::{self, OnIndex, Replaced, Replacement},
    old::Old,
    one,
    plan::Request,
    policy::{Check, OnConflict, Policy},
    report::{BaseReport, Finding, FindingKind, PlatformReport, Verdict},
    tree::{Node, Tree},
};
use crate::{
    Error,
    image::Image,
    place::Source,
    verdict::{Assessment, Grade},
};

/// A tree whose images have been rebased.
pub(super) struct Rebased {
    pub(super) old: Digest,
    pub(super) root: Document,
    pub(super) documents: Vec<Document>,
    pub(super) configs: Vec<Document>,
    /// Manifests that refer to new ones.
    pub(super) referrers: Vec<Document>,
    pub(super) own_layers: HashSet<Digest>,
    pub(super) new_layers: Vec<(Arc<dyn Source>, HashSet<Digest>)>,
    pub(super) platforms: Vec<PlatformReport>,
    pub(super) findings: Vec<Finding>,
}

/// One image, rebased.
struct Part {
    rebased: one::Rebased,
    report: PlatformReport,
    /// What it says of its base now; `None`: what it said before.
    hints: Option<NewHints>,
    new: Arc<Base>,
    notes: Vec<Finding>,
}

/// Rebases every image of a tree, and rewrites its indexes.
pub(super) async fn rebase(tree: Tree, bases: &Bases<'_>, request: &Request) -> Result<Rebased, Error> {
    let policy = &request.policy;
    let parts = try_join_all(tree.nodes.iter().map(|node| part(&tree, node, bases, request))).await?;
    let on_index = on_index(&tree, &parts);
    let layers = tree.nodes.iter().flat_map(|node| &node.image.manifest_view.layers);
    let mut out = Rebased {
        old: tree.root.digest(),
        root: tree.root.clone(),
        documents: Vec::new(),
        configs: Vec::new(),
        referrers: Vec::new(),
        own_layers: layers.map(|layer| layer.digest).collect(),
        new_layers: Vec::new(),
        platforms: Vec::new(),
        findings: tree.findings.clone(),
    };
    let mut replaced = Replaced::new();
    for (node, part) in tree.nodes.iter().zip(parts) {
        out.add(node, part, &mut replaced);
    }
    let mut carried = Carried::default();
    if let Some(chosen) = &tree.chosen {
        carry_entries(tree.source.as_ref(), chosen, &replaced, &policy.attestations, &mut carried).await?;
        for level in chosen.tree.inside_out(&chosen.abouts) {
            let orphan = |entry, about| policy.attestations.orphan(entry, about, &carried);
            let (document, findings) = index::rewrite(chosen, level, &replaced, &on_index, orphan)?;
            out.findings.extend(findings);
            let index = &chosen.tree.levels[level].document;
            out.replace(index, document, on_index.clone(), None, &mut replaced);
        }
    }
    if policy.looks_for_referrers() {
        let changed = replaced.iter().filter(|(old, new)| new.document.digest() != **old);
        let changed: BTreeMap<Digest, Document> =
            changed.map(|(old, new)| (*old, new.document.clone())).collect();
        look_for_referrers(tree.source.as_ref(), &changed, &policy.attestations, &mut carried).await?;
    }
    out.documents.extend(carried.entries.into_values());
    out.configs.extend(carried.configs);
    out.referrers = carried.referrers;
    out.findings.extend(carried.findings);
    if let Some(root) = replaced.remove(&out.old) {
        out.root = root.document;
    }
    Ok(out)
}

impl Rebased {
    fn add(&mut self, node: &Node, part: Part, replaced: &mut Replaced) {
        let one::Rebased { manifest, config, os_version, findings, .. } = part.rebased;
        self.findings.extend(findings);
        for note in part.notes {
            if !self.findings.contains(&note) {
                self.findings.push(note);
            }
        }
        if config.digest() != node.image.config.digest() {
            self.configs.push(config);
        }
        let layers = part.report.new_base_layers.iter().copied().collect();
        self.new_layers.push((Arc::clone(&part.new.source), layers));
        self.platforms.push(part.report);
        let hints = part.hints.map_or(OnIndex::Leave, OnIndex::Write);
        self.replace(&node.image.manifest, manifest, hints, os_version, replaced);
    }

    fn replace(
        &mut self,
        old: &Document,
        new: Document,
        hints: OnIndex,
        os_version: Option<String>,
        replaced: &mut Replaced,
    ) {
        if old.digest() != new.digest() {
            self.documents.push(new.clone());
        }
        replaced.insert(old.digest(), Replacement { document: new, hints, os_version });
    }
}

async fn part(tree: &Tree, node: &Node, bases: &Bases<'_>, request: &Request) -> Result<Part, Error> {
    let new_base = bases.new_base(tree.source.as_ref(), node).await?;
    let (old, new) = tokio::try_join!(
        bases.old_base(tree.source.as_ref(), node, &new_base),
        new_base.image_for(&node.platform)
    )?;
    let (name, unnamed) = base_name(&new_base, &node.hints);
    let hints = NewHints { name, digest: new.manifest.digest() };
    // Of layers in the middle nothing is said, unless the result begins with all of the new image's.
    let kept = &node.image.config_view.rootfs.diff_ids[..old.below];
    let stands = new.config_view.rootfs.diff_ids.starts_with(kept);
    let rebased = one::rebase(node, &old, &new, Some(&hints).filter(|_| stands), &request.policy)?
        .map_err(|difference| refusal(node, &old, difference))?;
    check_conflicts(node, &rebased, &request.policy)?;
    let subject = Subject {
        source: tree.source.as_ref(),
        node,
        old: &old,
        new_source: new_base.source.as_ref(),
        new: &new,
        splice: rebased.splice,
        config: &rebased.config,
    };
    let assessment = match request.policy.check == Check::Content && !rebased.splice.already {
        false => None,
        true => Some(content::look(subject, &request.knowledge.listings).await?),
    };
    let verdict = verdict(node, &rebased, assessment.as_ref(), &request.policy);
    let report = PlatformReport {
        platform: node.platform.to_string(),
        digest: node.image.manifest.digest(),
        new_digest: rebased.manifest.digest(),
        boundary: rebased.splice.end,
        below: rebased.splice.start,
        own_layers: node.image.manifest_view.layers.len() - rebased.splice.end,
        size: size(&node.image.manifest_view.layers),
        new_size: size(&rebased.splice.of(&node.image.manifest_view.layers, &new.manifest_view.layers)),
        old_base: old.report(),
        new_base: new_base_report(&new_base, &new),
        new_base_layers: new.manifest_view.layers[rebased.splice.from..].iter().map(|l| l.digest).collect(),
        verdict,
        config: rebased.merged.clone(),
        assessment,
    };
    let notes = unnamed.filter(|_| stands).into_iter().chain(found_base(node, &old, &new_base)).collect();
    Ok(Part { rebased, report, hints: stands.then_some(hints), new: new_base, notes })
}

fn size(layers: &[Descriptor]) -> u64 {
    layers.iter().map(|layer| layer.size).sum()
}

/// Layers in common prove more than what is written on them; without any, that is the likelier mistake.
fn refusal(node: &Node, old: &Old, difference: Difference) -> Error {
    match old.platform.clone().filter(|found| !found.same_machine(&node.platform)) {
        None => one::not_based_on(node, old.name.clone(), difference).into(),
        Some(found) => {
            let (image, wanted) = (old.name.clone(), node.platform.to_string());
            Error::WrongPlatform { image, wanted, found }
        }
    }
}

fn verdict(node: &Node, rebased: &one::Rebased, assessment: Option<&Assessment>, policy: &Policy) -> Verdict {
    let changed = rebased.manifest.digest() != node.image.manifest.digest();
    let verdict = match assessment {
        Some(assessment) => Verdict::Assessed(assessment.grade),
        // The files stay as they are, on the layers of the new base.
        None if policy.check == Check::Content && changed => Verdict::Assessed(Grade::Clean),
        None => Verdict::NotAssessed,
    };
    verdict.at_least(rebased.merged.grade())
}

fn new_base_report(base: &Base, image: &Image) -> BaseReport {
    BaseReport {
        name: base.name(),
        digest: Some(image.manifest.digest()),
        chain_id: chain_ids(&image.config_view.rootfs.diff_ids).pop(),
        evidence: None,
        found: None,
    }
}

/// A base that nobody named is said, where it is not plainly the one that the new one follows.
fn found_base(node: &Node, old: &Old, new: &Base) -> Option<Finding> {
    let repository = new.reference.as_ref().map(Reference::repository);
    let found = old.found.as_ref().filter(|name| Some(name.repository()) != repository)?;
    let text = format!("the old base is {found}, known by {}", old.evidence);
    Some(Finding::on(&node.platform, FindingKind::BaseFound, text))
}

/// With [`OnConflict::Fail`], what image and new base disagree about is an error.
fn check_conflicts(node: &Node, rebased: &one::Rebased, policy: &Policy) -> Result<(), Error> {
    let conflicts = &rebased.merged.conflicts;
    if policy.on_conflict != OnConflict::Fail || conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::ConfigConflict {
        image: node.image.name.clone(),
        platform: node.platform.clone(),
        conflicts: conflicts.iter().map(ToString::to_string).collect(),
    })
}

/// The name that a result will give for its base.
fn base_name(new: &Base, hints: &Hints) -> (Option<String>, Option<Finding>) {
    let reference = new.reference.as_ref();
    let previous = || {
        let previous = hints.reference()?;
        reference.filter(|r| r.repository() == previous.repository()).and(previous.base_name())
    };
    let name = reference.and_then(Reference::base_name).or_else(previous);
    let text = || {
        let why = if reference.is_some() { "was given without a tag" } else { "is not in a registry" };
        let name = new.name();
        format!(
            "the new base {name} {why}: the result names its digest only, and a later rebase needs --new-base"
        )
    };
    let unnamed = name.is_none().then(|| Finding::of_index(FindingKind::BaseUnnamed, text()));
    (name, unnamed)
}

/// What the indexes will say of their images' base.
fn on_index(tree: &Tree, parts: &[Part]) -> OnIndex {
    let hints = |part: &Part| {
        let name = part.hints.as_ref()?.name.clone();
        Some(NewHints { name, digest: part.new.root.digest() })
    };
    let all: HashMap<Digest, NewHints> = parts.iter().filter_map(hints).map(|h| (h.digest, h)).collect();
    match (tree.partial, all.len()) {
        (true, _) | (_, 0) => OnIndex::Leave,
        (false, 1) => parts.first().and_then(hints).map_or(OnIndex::Leave, OnIndex::Write),
        _ => OnIndex::Clear,
    }
}
