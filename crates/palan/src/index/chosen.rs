//! The images of a tree that are to be changed, and what else its indexes list.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Role, view};

use super::{
    about, subject_of,
    tree::{AT_ONCE, At, PerEntry, Tree},
};
use crate::{
    Error,
    image::{self, Image},
    place::Source,
};

/// A tree of which some images were asked for.
pub(crate) struct Chosen {
    pub(crate) tree: Tree,
    /// The images that were asked for, each once, in the order of the indexes.
    pub(crate) images: Vec<Found>,
    pub(crate) what: PerEntry<What>,
    /// What entries are about that are not images.
    pub(crate) abouts: PerEntry<Option<Digest>>,
    /// Of all images, asked for or not, in the order of the indexes.
    pub(crate) platforms: Vec<Platform>,
    /// Everything that is listed.
    pub(crate) listed: HashSet<Digest>,
    /// What is listed where it was not asked for: it stays there, whatever it becomes elsewhere.
    pub(crate) standing: HashSet<Digest>,
}

/// An image that was asked for.
pub(crate) struct Found {
    pub(crate) image: Arc<Image>,
    /// For which it was asked, as the indexes state it or, where they do not, as the config does: one per entry.
    pub(crate) platforms: Vec<Platform>,
    /// Its first entry.
    pub(crate) at: At,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An image that was asked for.
    Image,
    /// An index of the tree.
    Index,
    /// An image that was not asked for, or an index of such.
    Passed,
    /// An attestation, an artifact, a blob.
    Other,
}

enum Child {
    Image(Arc<Image>),
    /// Something else, and what it is about.
    Other(Option<Digest>),
}

impl Chosen {
    /// Reads an index, the indexes in it, and the images that are for one of the platforms, or all; several documents at
    /// the same time. Attestations may be missing.
    pub(crate) async fn read(
        source: &dyn Source,
        root: &Document,
        wanted: &[PlatformPattern],
    ) -> Result<Self, Error> {
        let is_asked = |p: &Platform| wanted.is_empty() || wanted.iter().any(|w| w.matches(p));
        let is_passed = |e: &Descriptor| {
            let stated = e.platform.as_ref().filter(|_| e.media_type.is_document() && !e.is_attestation());
            stated.is_some_and(|platform| !is_asked(platform))
        };
        let tree = Tree::read(source, root, is_passed).await?;
        let mut ahead: Vec<&Descriptor> = Vec::new();
        let mut seen = HashSet::new();
        for (level, number) in tree.in_order() {
            let entry = tree.entry((level, number));
            let is_ahead = tree.levels[level].inner[number].is_none() && !is_passed(entry);
            ahead.extend((is_ahead && seen.insert(key(entry))).then_some(entry));
        }
        let read =
            stream::iter(ahead).map(|e| async move { Ok::<_, Error>((key(e), child(source, e).await?)) });
        let read: HashMap<_, Child> = read.buffered(AT_ONCE).try_collect().await?;
        let mut chosen = Self::of(tree);
        for at in chosen.tree.in_order() {
            let entry = chosen.tree.entry(at).clone();
            if chosen.tree.levels[at.0].inner[at.1].is_some() {
                chosen.what[at.0][at.1] = What::Index;
                continue;
            }
            match (read.get(&key(&entry)).filter(|_| !is_passed(&entry)), entry.platform) {
                (Some(Child::Image(image)), _) => {
                    let image = Arc::clone(image);
                    let platform = image.platform_in(chosen.tree.entry(at));
                    let asked = is_asked(&platform);
                    chosen.image(at, image, platform, asked);
                }
                (Some(Child::Other(about)), _) => {
                    chosen.abouts[at.0][at.1] = chosen.tree.entry(at).attested_digest().or(*about);
                }
                (None, platform) => {
                    chosen.platforms.extend(platform);
                    chosen.what[at.0][at.1] = What::Passed;
                }
            }
        }
        chosen.standing = chosen.standing();
        Ok(chosen)
    }

    fn of(tree: Tree) -> Self {
        let (what, abouts) = (tree.each(|_| What::Other), tree.each(|_| None));
        let listed = tree.listed(|_| true);
        let (images, platforms, standing) = (Vec::new(), Vec::new(), HashSet::new());
        Self { tree, images, what, abouts, platforms, listed, standing }
    }

    fn image(&mut self, at: At, image: Arc<Image>, platform: Platform, asked: bool) {
        self.platforms.push(platform.clone());
        self.what[at.0][at.1] = if asked { What::Image } else { What::Passed };
        let digest = image.manifest.digest();
        match self.images.iter_mut().find(|found| found.image.manifest.digest() == digest) {
            _ if !asked => {}
            Some(found) => found.platforms.push(platform),
            None => self.images.push(Found { image, platforms: vec![platform], at }),
        }
    }

    fn standing(&self) -> HashSet<Digest> {
        let passed = self.tree.all().filter(|(level, number)| self.what[*level][*number] == What::Passed);
        passed.flat_map(|at| self.tree.with_inside(at)).collect()
    }

    /// Everything that was asked for must be there.
    pub(crate) fn check(&self, source: &dyn Source, wanted: &[PlatformPattern]) -> Result<(), Error> {
        let image = || format!("{}@{}", source.name(), self.tree.levels[0].document.digest());
        image::check_platforms(image, wanted, &self.platforms)?;
        if self.images.is_empty() {
            let found = "an index without images".into();
            return Err(Error::WrongKind { image: image(), found, wanted: "an image" });
        }
        Ok(())
    }
}

/// The same document may be listed as an image and as an attestation.
fn key(entry: &Descriptor) -> (Digest, bool) {
    (entry.digest, entry.is_attestation())
}

/// Reads what an entry stands for.
async fn child(source: &dyn Source, entry: &Descriptor) -> Result<Child, Error> {
    if entry.is_attestation() {
        return Ok(Child::Other(about(source, entry).await?));
    }
    if entry.media_type.role() != Role::Manifest {
        return Ok(Child::Other(entry.attested_digest()));
    }
    let document = source.document(&entry.digest.into()).await?;
    if document.kind() == Kind::Index {
        let image = format!("{}@{}", source.name(), entry.digest);
        let found = format!("an index, listed as {}", entry.media_type);
        return Err(Error::WrongKind { image, found, wanted: "a manifest" });
    }
    let manifest: view::Manifest = image::parsed(source, &document)?;
    if !manifest.is_image() {
        return Ok(Child::Other(subject_of(entry, &document)));
    }
    Ok(Child::Image(Arc::new(Image::load(source, document).await?)))
}
