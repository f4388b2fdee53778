//! The image or index to rebase, read as far as needed.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::{BoxFuture, try_join_all};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Role, view};

use super::{
    hints::Hints,
    report::{Finding, FindingKind},
};
use crate::{
    Error,
    base::Subject,
    image::{self, Image, MAX_DEPTH, too_deep},
    index::{Subjects, about, is_marked, subject_of},
    place::{Opened, Source},
};

/// What was read.
pub(super) struct Tree {
    /// Where it was read.
    pub(super) source: Arc<dyn Source>,
    pub(super) root: Document,
    /// The images to rebase, in the order of the index, each once.
    pub(super) nodes: Vec<Node>,
    /// The root, if it is an index, and inner indexes, each once; what is listed before what lists it.
    pub(super) indexes: Vec<Document>,
    /// What the entries that are not images are about, by their own digest.
    pub(super) subjects: Subjects,
    /// Everything that the indexes list.
    pub(super) listed: HashSet<Digest>,
    pub(super) findings: Vec<Finding>,
    /// Whether there are images that were not asked for, and so stay as they are.
    pub(super) partial: bool,
}

/// An image to rebase.
pub(super) struct Node {
    pub(super) image: Arc<Image>,
    /// As the index states it or, where it does not, as the config does.
    pub(super) platform: Platform,
    /// Manifest before descriptor before index before labels.
    pub(super) hints: Hints,
    /// Whether only its labels say something, which may be inherited.
    pub(super) only_labels: bool,
    /// The same image, for when hints do not suffice.
    pub(super) subject: Subject,
}

/// An entry of an index, and what was read for it.
enum Child {
    Image(Arc<Image>),
    Index(Document),
    /// Something else, and what it is about.
    Other(Option<Digest>),
}

impl Tree {
    pub(super) async fn read(
        opened: &Opened<dyn Source>,
        platforms: &[PlatformPattern],
    ) -> Result<Self, Error> {
        let source = opened.place.as_ref();
        let root = source.document(opened.chosen()?).await?;
        let tree = Self {
            source: Arc::clone(&opened.place),
            root: root.clone(),
            nodes: Vec::new(),
            indexes: Vec::new(),
            subjects: Subjects::new(),
            listed: HashSet::new(),
            findings: Vec::new(),
            partial: false,
        };
        let mut reader = Reader { source, platforms, seen: HashSet::new(), passed: Vec::new(), tree };
        match root.kind() {
            Kind::Index => reader.index(root, Hints::default(), 0).await?,
            _ => reader.single(root).await?,
        }
        reader.check()?;
        reader.share_hints();
        Ok(reader.tree)
    }
}

struct Reader<'a> {
    source: &'a dyn Source,
    platforms: &'a [PlatformPattern],
    seen: HashSet<Digest>,
    /// Platforms that were not asked for.
    passed: Vec<Platform>,
    tree: Tree,
}

impl<'a> Reader<'a> {
    fn is_asked(&self, platform: &Platform) -> bool {
        self.platforms.is_empty() || self.platforms.iter().any(|p| p.matches(platform))
    }

    async fn single(&mut self, manifest: Document) -> Result<(), Error> {
        let image = Arc::new(Image::load(self.source, manifest).await?);
        let found = image.platform();
        if !self.is_asked(&found) && !found.is_unstated() {
            let wanted = self.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::WrongPlatform { image: image.name.clone(), wanted, found });
        }
        let subject = Subject::new(Arc::clone(&image), found.clone());
        self.add(image, found, Hints::default(), Hints::default(), subject);
        Ok(())
    }

    fn add(
        &mut self,
        image: Arc<Image>,
        platform: Platform,
        descriptor: Hints,
        index: Hints,
        subject: Subject,
    ) {
        let stated = Hints::of_manifest(&image).or(descriptor).or(index);
        let only_labels = stated == Hints::default();
        let hints = stated.or(Hints::of_labels(&image));
        self.tree.nodes.push(Node { image, platform, hints, only_labels, subject });
    }

    fn index(&mut self, document: Document, outer: Hints, depth: usize) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if depth >= MAX_DEPTH {
                return Err(too_deep(self.source, document.digest()));
            }
            let index: view::Index = image::parsed(self.source, &document)?;
            self.tree.listed.extend(index.manifests.iter().map(|entry| entry.digest));
            let own = Hints::read(|k| index.annotations.get(k).map(String::as_str)).or(outer);
            let entries: Vec<_> = index.manifests.iter().filter(|e| self.is_wanted(e)).cloned().collect();
            let children = try_join_all(entries.iter().map(|e| child(self.source, e))).await?;
            for (entry, child) in entries.iter().zip(children) {
                let descriptor = Hints::read(|k| entry.annotation(k));
                match child {
                    Child::Image(image) => self.image(image, entry, descriptor, own.clone(), &index),
                    Child::Index(inner) => self.index(inner, descriptor.or(own.clone()), depth + 1).await?,
                    Child::Other(about) => self.other(entry, about),
                }
            }
            self.tree.indexes.push(document);
            Ok(())
        })
    }

    /// Whether an entry has to be read; each digest is read once.
    fn is_wanted(&mut self, entry: &Descriptor) -> bool {
        let stated = entry.platform.as_ref().filter(|_| !entry.is_attestation());
        if let Some(platform) = stated
            && entry.media_type.is_document()
            && !self.is_asked(platform)
        {
            self.passed.push(platform.clone());
            self.tree.partial = true;
            return false;
        }
        self.seen.insert(entry.digest)
    }

    fn image(
        &mut self,
        image: Arc<Image>,
        entry: &Descriptor,
        descriptor: Hints,
        hints: Hints,
        index: &view::Index,
    ) {
        let platform = image.platform_in(entry);
        if self.is_asked(&platform) {
            let subject = Subject::new(Arc::clone(&image), platform.clone()).entry(entry).index(index);
            let about = |e: &&Descriptor| e.is_attestation() && e.attested_digest() == Some(entry.digest);
            let subject = index.manifests.iter().filter(about).cloned().fold(subject, Subject::attestation);
            self.add(image, platform, descriptor, hints, subject);
        } else {
            self.passed.push(platform);
            self.tree.partial = true;
        }
    }

    fn other(&mut self, entry: &Descriptor, about: Option<Digest>) {
        if let Some(about) = about {
            self.tree.subjects.insert(entry.digest, about);
        } else if !is_marked(entry) {
            let text = format!(
                "the entry {} ({}) is not an image: carried unchanged",
                entry.digest, entry.media_type
            );
            self.tree.findings.push(Finding::of_index(FindingKind::EntryKept, text));
        }
    }

    /// Images that say nothing were built together with those that do.
    fn share_hints(&mut self) {
        let nothing = Hints::default();
        let speaks = |node: &&Node| node.hints != nothing;
        let said = self.tree.nodes.iter().find(speaks).map(|node| (node.hints.clone(), node.only_labels));
        let Some((said, only_labels)) = said else { return };
        for node in self.tree.nodes.iter_mut().filter(|node| node.hints == nothing) {
            node.hints = said.clone();
            node.only_labels = only_labels;
        }
    }

    /// Everything that was asked for must be there.
    fn check(&self) -> Result<(), Error> {
        let image = || format!("{}@{}", self.source.name(), self.tree.root.digest());
        let present = self.tree.nodes.iter().map(|node| node.platform.clone());
        // What was passed over is nothing that was asked for.
        let found: Vec<Platform> = present.chain(self.passed.iter().cloned()).collect();
        image::check_platforms(image, self.platforms, &found)?;
        if self.tree.nodes.is_empty() {
            let found = "an index without images".into();
            return Err(Error::WrongKind { image: image(), found, wanted: "an image" });
        }
        Ok(())
    }
}

/// Reads what an entry stands for.
async fn child(source: &dyn Source, entry: &Descriptor) -> Result<Child, Error> {
    if entry.is_attestation() {
        return Ok(Child::Other(about(source, entry).await?));
    }
    if !matches!(entry.media_type.role(), Role::Index | Role::Manifest) {
        return Ok(Child::Other(entry.attested_digest()));
    }
    let document = source.document(&entry.digest.into()).await?;
    if document.kind() == Kind::Index {
        return Ok(Child::Index(document));
    }
    let manifest: view::Manifest = image::parsed(source, &document)?;
    if !manifest.is_image() {
        return Ok(Child::Other(subject_of(entry, &document)));
    }
    Ok(Child::Image(Arc::new(Image::load(source, document).await?)))
}
