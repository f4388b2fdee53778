//! Planning: everything is read and computed before anything is written.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use futures_util::future::try_join_all;
use palan_core::{Digest, Document, PlatformPattern, Reference, Selector};

use super::{
    base::Base,
    bases::Bases,
    hints::{Hints, NewHints},
    index::{self, OnIndex, Replaced, Replacement},
    one,
    report::{Finding, FindingKind, PlatformReport, Report, Verdict},
    tree::{Node, Tree},
};
use crate::{
    Error,
    place::{Location, Opened, Places, PutAs, Source},
};

/// What is to be rebased.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image: a single one or an index.
    pub image: Location,
    /// What it was built on; `None`: what its hints say.
    pub old_base: Option<Location>,
    /// What it shall stand on; `None`: what the name in its hints stands for now.
    pub new_base: Option<Location>,
    /// Where the result goes; `None`: where the image is, under the same tag.
    pub target: Option<Location>,
    /// Which platforms of an index; empty: all.
    pub platforms: Vec<PlatformPattern>,
}

/// A rebase, computed and not yet done.
pub struct Plan {
    pub(super) source: Arc<dyn Source>,
    /// The layers of the new bases, and where they are.
    pub(super) new_layers: Vec<(Arc<dyn Source>, HashSet<Digest>)>,
    /// The layers that the images have already.
    pub(super) own_layers: HashSet<Digest>,
    /// New manifests and indexes.
    pub(super) documents: Vec<Document>,
    /// New configs.
    pub(super) configs: Vec<Document>,
    pub(super) root: Document,
    pub(super) target: Location,
    pub(super) role: PutAs,
    report: Report,
}

impl Plan {
    /// The plan as data.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether nothing would change: the result stands at the target already.
    pub fn is_noop(&self) -> bool {
        self.report.noop
    }

    /// Digest of the result.
    pub fn digest(&self) -> Digest {
        self.root.digest()
    }

    /// Where the result goes.
    pub fn target(&self) -> &Location {
        &self.target
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Reads the image and both bases and computes the result. Writes nothing.
pub async fn plan(places: &Places, request: &Request) -> Result<Plan, Error> {
    refuse_to_overwrite(request)?;
    let opened = places.source(&request.image)?;
    let standing = async { Ok(standing(places, request).await) };
    let (tree, bases, standing) = tokio::try_join!(
        Tree::read(&opened, &request.platforms),
        Bases::given(places, request.old_base.as_ref(), request.new_base.as_ref()),
        standing,
    )?;
    let rebased = rebase(tree, &bases).await?;
    let destination = Destination::of(request, &opened, &rebased).await?;
    Ok(rebased.into_plan(request, opened, destination, standing))
}

/// Writing an archive replaces the file: what else it holds would be lost.
fn refuse_to_overwrite(request: &Request) -> Result<(), Error> {
    let file = |location: &Location| match location {
        Location::Archive { path, .. } => Some(path.clone()),
        _ => None,
    };
    let target = request.target.as_ref().unwrap_or(&request.image);
    match file(target) {
        Some(path) if file(&request.image).as_ref() == Some(&path) => Err(Error::Unsupported(format!(
            "changing the archive {} in place: give another file as target",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// What stands at a target that is not the image itself, where that is easy to tell.
async fn standing(places: &Places, request: &Request) -> Option<Digest> {
    let target = request.target.as_ref().filter(|target| **target != request.image)?;
    let selector @ Selector::Tag(_) = target.selector()? else { return None };
    match target {
        Location::Archive { .. } => None,
        _ => Some(places.source(target).ok()?.place.resolve(&selector).await.ok()?.digest),
    }
}

/// Where the result goes.
struct Destination {
    role: PutAs,
    /// Whether that is where the image itself stands.
    in_place: bool,
}

impl Destination {
    async fn of(request: &Request, opened: &Opened<dyn Source>, rebased: &Rebased) -> Result<Self, Error> {
        let target = request.target.as_ref().unwrap_or(&request.image);
        let in_place = *target == request.image;
        let tag = match target.selector() {
            None if in_place => only_tag(opened, rebased.old).await?.map(Selector::Tag),
            selector => selector,
        };
        let role = match tag {
            Some(Selector::Tag(tag)) if in_place => PutAs::Replace { tag, expected: rebased.old },
            Some(selector) => PutAs::from_selector(&selector),
            None => PutAs::Root,
        };
        Ok(Self { role, in_place })
    }
}

/// The tag of an image that was given without one, being the only image of its place.
async fn only_tag(opened: &Opened<dyn Source>, digest: Digest) -> Result<Option<String>, Error> {
    let tags = opened.place.tags().await?;
    let [tag] = tags.as_slice() else { return Ok(None) };
    let found = opened.place.resolve(&Selector::Tag(tag.clone())).await?;
    Ok((found.digest == digest).then(|| tag.clone()))
}

/// A tree whose images have been rebased.
struct Rebased {
    old: Digest,
    root: Document,
    documents: Vec<Document>,
    configs: Vec<Document>,
    own_layers: HashSet<Digest>,
    new_layers: Vec<(Arc<dyn Source>, HashSet<Digest>)>,
    platforms: Vec<PlatformReport>,
    findings: Vec<Finding>,
}

impl Rebased {
    fn into_plan(
        self,
        request: &Request,
        opened: Opened<dyn Source>,
        destination: Destination,
        standing: Option<Digest>,
    ) -> Plan {
        let target = request.target.clone().unwrap_or_else(|| request.image.clone());
        let standing = if destination.in_place { Some(self.old) } else { standing };
        let report = Report {
            image: request.image.to_string(),
            digest: self.old,
            target: target.to_string(),
            new_digest: self.root.digest(),
            noop: standing == Some(self.root.digest()),
            verdict: Verdict::NotAssessed,
            platforms: self.platforms,
            findings: self.findings,
        };
        Plan {
            source: opened.place,
            new_layers: self.new_layers,
            own_layers: self.own_layers,
            documents: self.documents,
            configs: self.configs,
            root: self.root,
            target,
            role: destination.role,
            report,
        }
    }
}

/// One image, rebased.
struct Part {
    rebased: one::Rebased,
    report: PlatformReport,
    hints: NewHints,
    new: Arc<Base>,
    unnamed: Option<Finding>,
}

/// Rebases every image of a tree, and rewrites its indexes.
async fn rebase(tree: Tree, bases: &Bases<'_>) -> Result<Rebased, Error> {
    let parts = try_join_all(tree.nodes.iter().map(|node| part(node, bases))).await?;
    let on_index = on_index(&tree, &parts);
    let layers = tree.nodes.iter().flat_map(|node| &node.image.manifest_view.layers);
    let mut out = Rebased {
        old: tree.root.digest(),
        root: tree.root.clone(),
        documents: Vec::new(),
        configs: Vec::new(),
        own_layers: layers.map(|layer| layer.digest).collect(),
        new_layers: Vec::new(),
        platforms: Vec::new(),
        findings: tree.findings,
    };
    let mut replaced = Replaced::new();
    for (node, part) in tree.nodes.iter().zip(parts) {
        out.add(node, part, &mut replaced);
    }
    for index in &tree.indexes {
        let (document, findings) = index::rewrite(index, &replaced, &tree.subjects, &on_index)?;
        out.findings.extend(findings);
        out.replace(index, document, on_index.clone(), None, &mut replaced);
    }
    if let Some(root) = replaced.remove(&out.old) {
        out.root = root.document;
    }
    Ok(out)
}

impl Rebased {
    fn add(&mut self, node: &Node, part: Part, replaced: &mut Replaced) {
        let one::Rebased { manifest, config, os_version, findings, .. } = part.rebased;
        self.findings.extend(findings);
        if let Some(unnamed) = part.unnamed.filter(|finding| !self.findings.contains(finding)) {
            self.findings.push(unnamed);
        }
        if config.digest() != node.image.config.digest() {
            self.configs.push(config);
        }
        let layers = part.report.new_base_layers.iter().copied().collect();
        self.new_layers.push((Arc::clone(&part.new.source), layers));
        self.platforms.push(part.report);
        let hints = OnIndex::Write(part.hints);
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

async fn part(node: &Node, bases: &Bases<'_>) -> Result<Part, Error> {
    let (old_base, new_base) = bases.of(&node.image.name, &node.hints).await?;
    let ((old, old_platform), new) =
        tokio::try_join!(old_base.image(&node.platform), new_base.image_for(&node.platform))?;
    let (name, unnamed) = base_name(&new_base, &node.hints);
    let hints = NewHints { name, digest: new.manifest.digest() };
    let rebased = one::rebase(node, &old, &new, &hints)?.map_err(|difference| {
        // Layers in common prove more than what is written on them; without any, that is the likelier mistake.
        match old_platform.same_machine(&node.platform) {
            true => one::not_based_on(node, old_base.name(), difference).into(),
            false => Error::WrongPlatform {
                image: old_base.name(),
                wanted: node.platform.to_string(),
                found: old_platform.clone(),
            },
        }
    })?;
    let report = PlatformReport {
        platform: node.platform.to_string(),
        digest: node.image.manifest.digest(),
        new_digest: rebased.manifest.digest(),
        boundary: rebased.boundary,
        own_layers: node.image.manifest_view.layers.len() - rebased.boundary,
        old_base: (old_base.name(), old.manifest.digest()),
        new_base: (new_base.name(), new.manifest.digest()),
        new_base_layers: new.manifest_view.layers.iter().map(|l| l.digest).collect(),
    };
    Ok(Part { rebased, report, hints, new: new_base, unnamed })
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
    let hints = |part: &Part| NewHints { name: part.hints.name.clone(), digest: part.new.root.digest() };
    let all: HashMap<Digest, NewHints> = parts.iter().map(hints).map(|h| (h.digest, h)).collect();
    match (tree.partial, all.len()) {
        (true, _) => OnIndex::Leave,
        (false, 1) => parts.first().map(hints).map_or(OnIndex::Leave, OnIndex::Write),
        _ => OnIndex::Clear,
    }
}
