//! The image or index to rebase, read as far as needed.

use std::sync::Arc;

use palan_core::{Document, Kind, Platform, PlatformPattern};

use super::{
    hints::Hints,
    report::{Finding, FindingKind},
};
use crate::{
    Error,
    base::Subject,
    image::Image,
    index::{
        chosen::{Chosen, Found, What},
        is_marked,
        tree::At,
    },
    place::{Opened, Source},
};

/// What was read.
pub(super) struct Tree {
    /// Where it was read.
    pub(super) source: Arc<dyn Source>,
    pub(super) root: Document,
    /// The images to rebase, in the order of the index, each once.
    pub(super) nodes: Vec<Node>,
    /// The index that the root is, and those in it.
    pub(super) chosen: Option<Chosen>,
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

impl Tree {
    pub(super) async fn read(
        opened: &Opened<dyn Source>,
        platforms: &[PlatformPattern],
    ) -> Result<Self, Error> {
        let source = opened.place.as_ref();
        let root = source.document(opened.chosen()?).await?;
        let mut tree = Self {
            source: Arc::clone(&opened.place),
            root: root.clone(),
            nodes: Vec::new(),
            chosen: None,
            findings: Vec::new(),
            partial: false,
        };
        match root.kind() {
            Kind::Index => {
                let chosen = Chosen::read(source, &root, platforms).await?;
                chosen.check(source, platforms)?;
                tree.images(chosen);
            }
            _ => tree.single(root, platforms).await?,
        }
        tree.share_hints();
        Ok(tree)
    }

    async fn single(&mut self, manifest: Document, wanted: &[PlatformPattern]) -> Result<(), Error> {
        let image = Arc::new(Image::load(self.source.as_ref(), manifest).await?);
        let found = image.platform();
        let is_asked = wanted.is_empty() || wanted.iter().any(|p| p.matches(&found));
        if !is_asked && !found.is_unstated() {
            let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::WrongPlatform { image: image.name.clone(), wanted, found });
        }
        let subject = Subject::new(Arc::clone(&image), found.clone());
        self.nodes.push(Node::new(image, found, Default::default(), subject));
        Ok(())
    }

    fn images(&mut self, chosen: Chosen) {
        self.nodes.extend(chosen.images.iter().map(|found| node(&chosen, found)));
        self.partial = chosen.what.iter().flatten().any(|what| *what == What::Passed);
        for (level, number) in chosen.tree.in_order() {
            let entry = chosen.tree.entry((level, number));
            let is_other = chosen.what[level][number] == What::Other;
            if is_other && chosen.abouts[level][number].is_none() && !is_marked(entry) {
                let (digest, media_type) = (entry.digest, &entry.media_type);
                let text = format!("the entry {digest} ({media_type}) is not an image: carried unchanged");
                let finding = Finding::of_index(FindingKind::EntryKept, text);
                self.findings.extend((!self.findings.contains(&finding)).then_some(finding));
            }
        }
        self.chosen = Some(chosen);
    }

    /// Images that say nothing were built together with those that do.
    fn share_hints(&mut self) {
        let nothing = Hints::default();
        let speaks = |node: &&Node| node.hints != nothing;
        let said = self.nodes.iter().find(speaks).map(|node| (node.hints.clone(), node.only_labels));
        let Some((said, only_labels)) = said else { return };
        for node in self.nodes.iter_mut().filter(|node| node.hints == nothing) {
            node.hints = said.clone();
            node.only_labels = only_labels;
        }
    }
}

impl Node {
    /// `entry`, `index`: what its entry says, and the indexes that it is in.
    fn new(image: Arc<Image>, platform: Platform, (entry, index): (Hints, Hints), subject: Subject) -> Self {
        let stated = Hints::of_manifest(&image).or(entry).or(index);
        let only_labels = stated == Hints::default();
        let hints = stated.or(Hints::of_labels(&image));
        Self { image, platform, hints, only_labels, subject }
    }
}

fn node(chosen: &Chosen, found: &Found) -> Node {
    let (image, platform) = (Arc::clone(&found.image), found.platforms[0].clone());
    let index = &chosen.tree.levels[found.at.0].view;
    let entry = chosen.tree.entry(found.at);
    let subject = Subject::new(Arc::clone(&image), platform.clone()).entry(entry).index(index);
    let about = |at: &At| chosen.abouts[at.0][at.1] == Some(entry.digest);
    let attestations = chosen.tree.all().filter(about).map(|at| chosen.tree.entry(at));
    let subject = attestations.filter(|e| e.is_attestation()).cloned().fold(subject, Subject::attestation);
    Node::new(image, platform, hints_above(chosen, found.at), subject)
}

/// What an entry says, and what the indexes say that it is in: an inner one before its own entry in the next.
fn hints_above(chosen: &Chosen, at: At) -> (Hints, Hints) {
    let outside = |at: &At| chosen.tree.levels[at.0].above;
    let path: Vec<At> = std::iter::successors(Some(at), outside).collect();
    let (mut entry, mut index) = (Hints::default(), Hints::default());
    for at in path.into_iter().rev() {
        let annotations = &chosen.tree.levels[at.0].view.annotations;
        let own = Hints::read(|key| annotations.get(key).map(String::as_str));
        index = own.or(entry.or(index));
        entry = Hints::read(|key| chosen.tree.entry(at).annotation(key));
    }
    (entry, index)
}
