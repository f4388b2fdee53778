//! Planning: everything is read and computed before anything is written.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::future::{BoxFuture, try_join_all};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Reference, Role, view};
use serde::Serialize;

use super::{
    base::Base,
    hints::{Hints, NewHints},
    index::{self, Replaced},
    one,
};
use crate::{
    Error,
    image::{self, Image},
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

/// Something worth knowing about a planned rebase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// For which platform; `None`: the index or all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// One sentence.
    pub text: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The layers are those of the new base already.
    AlreadyOnNewBase,
    /// History was repaired or left out.
    History,
    /// An attestation was left out of the new index.
    AttestationDropped,
    /// An entry of the index was carried unchanged.
    EntryKept,
    /// Non-distributable layers.
    Foreign,
    /// The manifest has a subject.
    Subject,
    /// The new base has no name that could be written as a hint.
    BaseUnnamed,
}

impl Finding {
    pub(super) fn on(platform: &Platform, kind: FindingKind, text: String) -> Self {
        Self { kind, platform: Some(platform.to_string()), text }
    }

    pub(super) fn of_index(kind: FindingKind, text: String) -> Self {
        Self { kind, platform: None, text }
    }
}

/// A rebase, computed and not yet done.
pub struct Plan {
    pub(super) source: Arc<dyn Source>,
    pub(super) new_base: Arc<dyn Source>,
    pub(super) new_base_blobs: HashSet<Digest>,
    /// New manifests and inner indexes.
    pub(super) documents: Vec<Document>,
    pub(super) configs: Vec<Document>,
    pub(super) root: Document,
    pub(super) target: Location,
    pub(super) role: PutAs,
    report: Report,
}

/// A plan as data, for people and machines. Field names are part of palan's interface.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The image as it was named.
    pub image: String,
    /// Digest of the image or index.
    pub digest: Digest,
    /// Where the result goes.
    pub target: String,
    /// Digest of the result.
    pub new_digest: Digest,
    /// Whether nothing would change.
    pub noop: bool,
    /// One entry per platform that is rebased.
    pub platforms: Vec<PlatformReport>,
    /// What is worth knowing.
    pub findings: Vec<Finding>,
}

/// A planned rebase of one platform's image.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformReport {
    /// The platform.
    pub platform: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The new manifest's digest.
    pub new_digest: Digest,
    /// How many of the image's layers are the old base's.
    pub boundary: usize,
    /// How many layers are the image's own.
    pub own_layers: usize,
    /// The old base: name, manifest digest.
    pub old_base: (String, Digest),
    /// The new base: name, manifest digest.
    pub new_base: (String, Digest),
    /// Layers of the new base, lowest first, as stored.
    pub new_base_layers: Vec<Digest>,
}

impl Plan {
    /// The plan as data.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the result is the image itself, where it is already.
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

/// Reads the image and both bases and computes the result. Writes nothing.
pub async fn plan(places: &Places, request: &Request) -> Result<Plan, Error> {
    let opened = places.source(&request.image)?;
    let typed = |location: &Option<Location>| -> Result<_, Error> {
        Ok(match location {
            Some(l) => Some((places.source(l)?, l.reference().cloned())),
            None => None,
        })
    };
    let (typed_old, typed_new) = (typed(&request.old_base)?, typed(&request.new_base)?);
    let read = |base: Option<(Opened<dyn Source>, Option<Reference>)>| async move {
        match base {
            Some((opened, reference)) => Base::read(&opened, reference).await.map(Some),
            None => Ok(None),
        }
    };
    let (root, old, new) =
        tokio::try_join!(Tree::read(&opened, &request.platforms), read(typed_old), read(typed_new),)?;
    let new = match new {
        Some(new) => new,
        None => named_base(places, &opened, &root).await?,
    };
    let old = match old {
        Some(old) => vec![Arc::new(old); root.nodes.len()],
        None => hinted_bases(places, &opened, &root, &new).await?,
    };
    Planner { source: opened.place.as_ref(), old: &old, new: &new }.run(&opened, request, root).await
}

fn unknown(opened: &Opened<dyn Source>, tree: &Tree, which: &'static str, reason: &str) -> Error {
    let image = format!("{}@{}", opened.place.name(), tree.root.digest());
    Error::BaseUnknown { image, which, reason: reason.to_owned() }
}

async fn read_base(places: &Places, reference: Reference) -> Result<Base, Error> {
    let opened = places.source(&Location::Registry(reference.clone()))?;
    Base::read(&opened, Some(reference)).await
}

/// The new base, when none was typed: what the name in the image's hints stands for now.
async fn named_base(places: &Places, opened: &Opened<dyn Source>, tree: &Tree) -> Result<Base, Error> {
    let missing = "it has no org.opencontainers.image.base.name annotation or label";
    let named = tree.hints().reference().ok_or_else(|| unknown(opened, tree, "new", missing))?;
    read_base(places, named).await
}

/// The old base of each image, when none was typed: by the digest in its hints, which may be that of an index (then all
/// images share it) or of one platform's manifest (then each has its own).
async fn hinted_bases(
    places: &Places,
    opened: &Opened<dyn Source>,
    tree: &Tree,
    new: &Base,
) -> Result<Vec<Arc<Base>>, Error> {
    let mut known: HashMap<Digest, Arc<Base>> = HashMap::new();
    let mut out = Vec::new();
    for node in &tree.nodes {
        let hints = node.hints(&tree.index_hints);
        let missing = "it has no org.opencontainers.image.base.digest annotation or label";
        let digest = hints.digest.ok_or_else(|| unknown(opened, tree, "old", missing))?;
        let base = match known.get(&digest) {
            Some(base) => Arc::clone(base),
            None => Arc::new(
                find_base(places, digest, hints.reference(), new)
                    .await?
                    .ok_or_else(|| unknown(opened, tree, "old", "its hints name no repository to look in"))?,
            ),
        };
        known.insert(digest, Arc::clone(&base));
        out.push(base);
    }
    Ok(out)
}

/// Looks for a base where the image says it came from, then where the new one is.
async fn find_base(
    places: &Places,
    digest: Digest,
    named: Option<Reference>,
    new: &Base,
) -> Result<Option<Base>, Error> {
    let mut repositories: Vec<Reference> = named.into_iter().chain(new.reference.clone()).collect();
    repositories.dedup_by(|a, b| a.repository() == b.repository());
    let mut gone = None;
    for reference in repositories {
        match read_base(places, reference.repository().with_digest(digest)).await {
            Ok(base) => return Ok(Some(base)),
            Err(e) if e.is_not_found() => gone = Some(e),
            Err(e) => return Err(e),
        }
    }
    gone.map_or(Ok(None), Err)
}

/// The image or index to rebase, read as far as needed.
struct Tree {
    root: Document,
    nodes: Vec<Node>,
    /// Inner indexes, by digest.
    indexes: Vec<Document>,
    kept: Vec<Finding>,
    index_hints: Hints,
}

struct Node {
    image: Arc<Image>,
    descriptor_hints: Hints,
}

impl Tree {
    async fn read(opened: &Opened<dyn Source>, platforms: &[PlatformPattern]) -> Result<Self, Error> {
        let source = opened.place.as_ref();
        let root = source.document(opened.chosen()?).await?;
        let mut tree = Self {
            root: root.clone(),
            nodes: Vec::new(),
            indexes: Vec::new(),
            kept: Vec::new(),
            index_hints: Hints::default(),
        };
        tree.visit(source, root, Hints::default(), platforms).await?;
        if tree.nodes.is_empty() {
            let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            let image = format!("{}@{}", source.name(), tree.root.digest());
            if wanted.is_empty() {
                return Err(Error::WrongKind {
                    image,
                    found: "an index without images".into(),
                    wanted: "an image",
                });
            }
            let found = image::platforms(source, &tree.root).await?.into_iter().map(|(_, p)| p).collect();
            return Err(Error::NoPlatform { image, wanted: wanted.join(", "), found });
        }
        Ok(tree)
    }

    fn visit<'a>(
        &'a mut self,
        source: &'a dyn Source,
        document: Document,
        descriptor_hints: Hints,
        platforms: &'a [PlatformPattern],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if document.kind() != Kind::Index {
                let image = Arc::new(Image::load(source, document).await?);
                let platform = image.platform();
                if platforms.is_empty() || platforms.iter().any(|p| p.matches(&platform)) {
                    self.nodes.push(Node { image, descriptor_hints });
                } else if self.indexes.is_empty() {
                    let wanted = platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    return Err(Error::WrongPlatform { image: image.name.clone(), wanted, found: platform });
                }
                return Ok(());
            }
            let index: view::Index = image::parsed(source, &document)?;
            let own = Hints::read(|k| index.annotations.get(k).map(String::as_str));
            self.index_hints = std::mem::take(&mut self.index_hints).or(own);
            self.indexes.push(document);
            let entries = self.choose(index.manifests, platforms);
            let children =
                try_join_all(entries.iter().map(|e| async { source.document(&e.digest.into()).await }))
                    .await?;
            let images = try_join_all(children.iter().map(|child| Self::image(source, child))).await?;
            for ((entry, child), image) in entries.iter().zip(children).zip(images) {
                let hints = Hints::read(|k| entry.annotation(k));
                match image {
                    Some(image) => self.add(image, hints, platforms),
                    None if child.kind() == Kind::Index => {
                        self.visit(source, child, hints, platforms).await?;
                    }
                    None => self.keep(entry),
                }
            }
            Ok(())
        })
    }

    /// The image of a child, unless it is an index or an artifact.
    async fn image(source: &dyn Source, child: &Document) -> Result<Option<Arc<Image>>, Error> {
        let is_image =
            child.kind() == Kind::Manifest && image::parsed::<view::Manifest>(source, child)?.is_image();
        if !is_image {
            return Ok(None);
        }
        Ok(Some(Arc::new(Image::load(source, child.clone()).await?)))
    }

    fn add(&mut self, image: Arc<Image>, descriptor_hints: Hints, platforms: &[PlatformPattern]) {
        let platform = image.platform();
        if platforms.is_empty() || platforms.iter().any(|p| p.matches(&platform)) {
            self.nodes.push(Node { image, descriptor_hints });
        }
    }

    /// Entries that may be images and are asked for; the same digest once. Others are carried as they are.
    fn choose(&mut self, entries: Vec<Descriptor>, platforms: &[PlatformPattern]) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        for entry in entries {
            if entry.is_attestation() || !seen.insert(entry.digest) {
                continue;
            }
            let asked = match &entry.platform {
                Some(platform) => platforms.is_empty() || platforms.iter().any(|p| p.matches(platform)),
                None => true,
            };
            match entry.media_type.role() {
                Role::Index | Role::Manifest if asked => out.push(entry),
                Role::Index | Role::Manifest => {}
                _ => self.keep(&entry),
            }
        }
        out
    }

    fn keep(&mut self, entry: &Descriptor) {
        let text =
            format!("the entry {} ({}) is not an image: carried unchanged", entry.digest, entry.media_type);
        self.kept.push(Finding::of_index(FindingKind::EntryKept, text));
    }

    /// What the images say of their base, taken together.
    fn hints(&self) -> Hints {
        self.nodes.iter().map(|node| node.hints(&self.index_hints)).fold(Hints::default(), Hints::or)
    }
}

impl Node {
    /// What the image says of its base: manifest before index before descriptor before labels.
    fn hints(&self, index: &Hints) -> Hints {
        let annotations = &self.image.manifest_view.annotations;
        Hints::read(|k| annotations.get(k).map(String::as_str))
            .or(index.clone())
            .or(self.descriptor_hints.clone())
            .or(Hints::read(|k| one::label(&self.image, k)))
    }
}

struct Planner<'a> {
    source: &'a dyn Source,
    /// Of each node.
    old: &'a [Arc<Base>],
    new: &'a Base,
}

impl Planner<'_> {
    async fn run(&self, opened: &Opened<dyn Source>, request: &Request, tree: Tree) -> Result<Plan, Error> {
        let mut findings = tree.kept.clone();
        let name = self.base_name(&tree.hints(), &mut findings);
        let parts = try_join_all(
            tree.nodes.iter().zip(self.old).map(|(node, old)| self.one(node, old, name.clone())),
        )
        .await?;
        let mut replaced: Replaced = HashMap::new();
        let (mut configs, mut documents, mut platforms) = (Vec::new(), Vec::new(), Vec::new());
        let mut new_base_blobs = HashSet::new();
        for (part, report, hints) in parts {
            findings.extend(part.findings);
            new_base_blobs.extend(report.new_base_layers.iter().copied());
            replaced.insert(report.digest, (part.manifest.clone(), hints));
            documents.push(part.manifest);
            configs.push(part.config);
            platforms.push(report);
        }
        let index_hints = NewHints { name, digest: self.new.root.digest() };
        // Inner indexes were read after the ones that list them: rewritten in the opposite order.
        for index in tree.indexes.iter().rev() {
            let (edited, found) = index::rewrite(self.source, index, &replaced, Some(&index_hints)).await?;
            findings.extend(found);
            replaced.insert(index.digest(), (edited.clone(), index_hints.clone()));
            documents.push(edited);
        }
        let root = replaced.get(&tree.root.digest()).map_or(tree.root.clone(), |(root, _)| root.clone());
        let target = request.target.clone().unwrap_or_else(|| request.image.clone());
        let (role, in_place) = role(&target, &request.image, tree.root.digest());
        let report = Report {
            image: request.image.to_string(),
            digest: tree.root.digest(),
            target: target.to_string(),
            new_digest: root.digest(),
            noop: in_place && root.digest() == tree.root.digest(),
            platforms,
            findings,
        };
        Ok(Plan {
            source: Arc::clone(&opened.place),
            new_base: Arc::clone(&self.new.source),
            new_base_blobs,
            documents,
            configs,
            root,
            target,
            role,
            report,
        })
    }

    async fn one(
        &self,
        node: &Node,
        old_base: &Base,
        name: Option<String>,
    ) -> Result<(one::Rebased, PlatformReport, NewHints), Error> {
        let platform = node.image.platform();
        let (old, new) = tokio::try_join!(old_base.image(&platform), self.new.image(&platform))?;
        let hints = NewHints { name, digest: new.manifest.digest() };
        let rebased = one::rebase(&node.image, &old, &new, &old_base.name(), &hints)?;
        let report = PlatformReport {
            platform: platform.to_string(),
            digest: node.image.manifest.digest(),
            new_digest: rebased.manifest.digest(),
            boundary: rebased.boundary,
            own_layers: node.image.manifest_view.layers.len() - rebased.boundary,
            old_base: (old_base.name(), old.manifest.digest()),
            new_base: (self.new.name(), new.manifest.digest()),
            new_base_layers: new.manifest_view.layers.iter().map(|l| l.digest).collect(),
        };
        Ok((rebased, report, hints))
    }

    /// The name that the result will give for its base.
    fn base_name(&self, hints: &Hints, findings: &mut Vec<Finding>) -> Option<String> {
        let reference = self.new.reference.as_ref();
        if let Some(name) = reference.and_then(Reference::base_name) {
            return Some(name);
        }
        let previous =
            hints.reference().filter(|p| reference.is_some_and(|r| r.repository() == p.repository()));
        let name = previous.and_then(|p| p.base_name());
        if name.is_none() {
            let text = format!(
                "the new base {} was given without a tag: the result names its digest only, \
                 so that a later rebase needs --new-base",
                self.new.name()
            );
            findings.push(Finding::of_index(FindingKind::BaseUnnamed, text));
        }
        name
    }
}

/// In which role the result is put, and whether that is where the image itself stands.
fn role(target: &Location, image: &Location, current: Digest) -> (PutAs, bool) {
    let in_place = target == image;
    let role = match target.selector() {
        Some(palan_core::Selector::Tag(tag)) if in_place => PutAs::Replace { tag, expected: current },
        Some(selector) => PutAs::from_selector(&selector),
        None => PutAs::Root,
    };
    (role, in_place)
}
