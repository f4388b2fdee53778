//! Copies that are not the whole: some platforms of an index, attestations in another form. The index is rewritten, so
//! that it lists nothing that is not there; images keep their bytes.
//!
//! Attestation forms: BuildKit, `docs/attestations/attestation-storage.md`.

use std::collections::{BTreeMap, HashMap, HashSet};

use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, annotation};
use serde_json::Value;

use super::attestation::{self, Became, Form, counted};
use crate::{
    Error,
    image::{self, Image},
    index::{
        self, point_to,
        tree::{Leaves, Level, PerEntry, Tree},
    },
    json::map_at,
    place::Source,
};

/// What of an image or index is copied, and how.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Which images of an index. Empty: all. One pattern: that image alone, as an image. Several: an index of those
    /// images, with what it lists about them. Each pattern must match; a single image must match one.
    pub platforms: Vec<PlatformPattern>,
    /// What becomes of the attestations that an index lists.
    pub attestations: AttestationForm,
}

/// What becomes of the attestations that an index lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttestationForm {
    /// They are copied as they are.
    #[default]
    Keep,
    /// They are left out.
    Strip,
    /// Artifacts (an empty config and a subject) become manifests with an image config, as before BuildKit 0.32: there
    /// are registries that refuse the media type of the empty config.
    Legacy,
    /// They leave the index and become referrers of the image that they are about.
    Referrers,
}

/// What is to be copied.
#[derive(Clone, Debug)]
pub struct Shaped {
    /// The manifest or index.
    pub root: Document,
    /// Manifests and indexes that are not in the source, the root among them where it is new.
    pub documents: Vec<Document>,
    /// Configs that are not in the source.
    pub configs: Vec<Document>,
    /// Manifests to be copied after the root, which refer to it or to what it lists.
    pub referrers: Vec<Document>,
    /// What was left out of the indexes, by digest.
    pub left_out: HashSet<Digest>,
    /// Indexes that were rewritten: their old and new digests.
    pub rewritten: Vec<(Digest, Digest)>,
    /// What people should know, one sentence each.
    pub notes: Vec<String>,
}

/// Gives `root` its shape. Reads what it must of the source; writes nothing.
pub async fn shape(source: &dyn Source, root: Document, shape: &Shape) -> Result<Shaped, Error> {
    let is_index = root.kind() == Kind::Index;
    let whole = shape.platforms.is_empty() && shape.attestations == AttestationForm::Keep;
    let mut walk = Walk::new(source, shape, root.clone());
    match shape.platforms.as_slice() {
        _ if whole => {}
        [] if !is_index => {}
        [one] if !is_index => walk.out.root = image::choose_from(source, root, Some(one)).await?,
        [one] => walk.out.root = walk.single(root, one).await?,
        several if !is_index => check_image(source, &root, several).await?,
        _ => {
            let new = walk.index(&root).await?;
            walk.out.root = new.ok_or_else(|| walk.nothing_left(&root))?;
            walk.say_rewritten(&root);
        }
    }
    Ok(walk.out)
}

/// A single image must be for one of the platforms.
async fn check_image(
    source: &dyn Source,
    manifest: &Document,
    wanted: &[PlatformPattern],
) -> Result<(), Error> {
    let image = Image::load(source, manifest.clone()).await?;
    let found = image.platform();
    if wanted.iter().any(|p| p.matches(&found)) {
        return Ok(());
    }
    Err(Error::WrongPlatform { image: image.name, wanted: listed(wanted), found })
}

fn listed(things: &[impl ToString]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Shaped {
    fn whole(root: Document) -> Self {
        Self {
            root,
            documents: Vec::new(),
            configs: Vec::new(),
            referrers: Vec::new(),
            left_out: HashSet::new(),
            rewritten: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn forget_indexes(&mut self) {
        self.documents.retain(|document| document.kind() == Kind::Manifest);
        self.configs.retain(|config| config.bytes().as_ref() == b"{}");
        self.rewritten.clear();
        self.notes.clear();
    }
}

/// What becomes of an entry of an index that does not leave it.
enum Fate {
    Stay,
    /// It leaves as an attestation does that is kept elsewhere, or not at all.
    Leave,
    Become(Document, Digest),
}

struct Walk<'a> {
    source: &'a dyn Source,
    shape: &'a Shape,
    out: Shaped,
    /// Images that the new indexes list.
    kept: HashMap<Digest, Descriptor>,
    /// Platforms that were found, chosen or not.
    found: Vec<Platform>,
    /// The images for platforms that were asked for.
    chosen: Vec<Digest>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, shape: &'a Shape, root: Document) -> Self {
        let out = Shaped::whole(root);
        Self { source, shape, out, kept: HashMap::new(), found: Vec::new(), chosen: Vec::new() }
    }

    /// The one image of an index, at any depth, for a platform, and what its attestations become.
    async fn single(&mut self, root: Document, wanted: &PlatformPattern) -> Result<Document, Error> {
        let chosen = match image::choose_from(self.source, root.clone(), Some(wanted)).await {
            Ok(chosen) => Some(chosen),
            // It may be in an index inside.
            Err(Error::NoPlatform { .. }) => None,
            Err(error) => return Err(error),
        };
        if let (Some(chosen), true) = (&chosen, self.shape.attestations != AttestationForm::Referrers) {
            return Ok(chosen.clone());
        }
        self.index(&root).await?;
        let chosen = match (chosen, self.chosen.as_slice()) {
            (Some(chosen), _) => chosen,
            (None, [one]) => self.source.document(&(*one).into()).await?,
            (None, several) => {
                let place = format!("{}@{}", self.source.name(), root.digest());
                let choices = several.iter().map(ToString::to_string).collect();
                return Err(Error::ChooseOne { place, choices });
            }
        };
        self.out.forget_indexes();
        self.out.referrers.retain(|r| attestation::subject(r) == Some(chosen.digest()));
        Ok(chosen)
    }

    /// What an index becomes; `None`: nothing of it was chosen.
    async fn index(&mut self, root: &Document) -> Result<Option<Document>, Error> {
        let tree = Tree::read(self.source, root, |_| false).await?;
        let (mut leaves, abouts) = self.leaving(&tree).await?;
        self.check(root)?;
        let before = tree.listed(|_| true);
        let there = tree.listed(|(level, number)| leaves[level][number].is_none());
        for at in tree.all().filter(|at| there.contains(&tree.entry(*at).digest)) {
            let entry = tree.entry(at);
            if !entry.is_attestation() && leaves[at.0][at.1].is_none() {
                let plain = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
                self.kept.insert(entry.digest, plain);
            }
        }
        let fates = self.fates(&tree, &mut leaves, &abouts).await?;
        let mut replaced = HashMap::new();
        for level in tree.inside_out(&abouts) {
            let old = &tree.levels[level];
            let new = rewritten(old, &leaves[level], &fates[level], &replaced)?;
            if new.digest() == old.document.digest() {
                continue;
            }
            if leaves[level].iter().any(Option::is_none) {
                self.out.documents.push(new.clone());
            }
            self.out.rewritten.push((old.document.digest(), new.digest()));
            replaced.insert(old.document.digest(), new);
        }
        let still = tree.listed(|(level, number)| {
            leaves[level][number].is_none() && matches!(fates[level][number], Fate::Stay)
        });
        let is_new = |digest: &Digest| !still.contains(digest) || replaced.contains_key(digest);
        self.out.left_out.extend(before.into_iter().filter(is_new));
        let empty = !leaves[0].is_empty() && leaves[0].iter().all(Option::is_some);
        let new = replaced.remove(&root.digest()).unwrap_or_else(|| root.clone());
        Ok(Some(new).filter(|_| !empty))
    }

    /// What was not chosen, with what goes with it, and what entries are about.
    async fn leaving(
        &mut self,
        tree: &Tree,
    ) -> Result<(PerEntry<Option<Leaves>>, PerEntry<Option<Digest>>), Error> {
        let mut leaves = tree.each(|at| {
            let is_stripped =
                self.shape.attestations == AttestationForm::Strip && tree.entry(at).is_attestation();
            is_stripped.then_some(Leaves::Chosen)
        });
        if !self.shape.platforms.is_empty() {
            for (at, platform) in tree.platforms(self.source).await? {
                if !self.shape.platforms.iter().any(|p| p.matches(&platform)) {
                    leaves[at.0][at.1] = Some(Leaves::Chosen);
                } else if !self.chosen.contains(&tree.entry(at).digest) {
                    self.chosen.push(tree.entry(at).digest);
                }
                self.found.push(platform);
            }
        }
        let any = leaves.iter().flatten().any(Option::is_some);
        let is_asked = |e: &Descriptor| e.is_attestation() || (any && index::may_be_about(e));
        let abouts = tree.abouts(self.source, is_asked).await?;
        tree.follow(&mut leaves, &abouts, &HashSet::new());
        if self.shape.attestations == AttestationForm::Strip {
            let (before, now) =
                (tree.listed(|_| true), tree.listed(|(level, number)| leaves[level][number].is_none()));
            // Those of images that were not chosen are not worth a word.
            let is_told = |about: Digest| now.contains(&about) || !before.contains(&about);
            let stripped = tree.all().filter(|at| tree.entry(*at).is_attestation());
            let count = stripped.filter(|at| abouts[at.0][at.1].is_none_or(is_told)).count();
            self.out.notes.extend((count > 0).then(|| counted(count, Became::LeftOut)));
        }
        Ok((leaves, abouts))
    }

    /// What becomes of the attestations that stay.
    async fn fates(
        &mut self,
        tree: &Tree,
        leaves: &mut PerEntry<Option<Leaves>>,
        abouts: &PerEntry<Option<Digest>>,
    ) -> Result<PerEntry<Fate>, Error> {
        let mut fates = tree.each(|_| Fate::Stay);
        let mut counts = BTreeMap::new();
        for at in tree.in_order() {
            let entry = tree.entry(at);
            if !entry.is_attestation() || leaves[at.0][at.1].is_some() {
                continue;
            }
            let fate = self.attestation(entry, abouts[at.0][at.1], &mut counts).await?;
            if matches!(fate, Fate::Leave) {
                leaves[at.0][at.1] = Some(Leaves::Chosen);
            }
            fates[at.0][at.1] = fate;
        }
        self.out.notes.extend(counts.into_iter().map(|(what, n)| counted(n, what)));
        // Indexes of nothing but attestations go too.
        tree.follow(leaves, &tree.each(|_| None), &HashSet::new());
        Ok(fates)
    }

    async fn attestation(
        &mut self,
        entry: &Descriptor,
        about: Option<Digest>,
        counts: &mut BTreeMap<Became, usize>,
    ) -> Result<Fate, Error> {
        let mut count = |what| *counts.entry(what).or_default() += 1;
        let form = match self.shape.attestations {
            AttestationForm::Keep | AttestationForm::Strip => return Ok(Fate::Stay),
            AttestationForm::Legacy => Form::Legacy,
            AttestationForm::Referrers => Form::Artifact,
        };
        let Some(subject) = about.and_then(|about| self.kept.get(&about)) else {
            count(Became::Kept);
            return Ok(Fate::Stay);
        };
        let manifest = match self.source.document(&entry.digest.into()).await {
            // There are mirrors that leave out what nothing can run.
            Err(error) if error.is_not_found() => {
                count(Became::Missing);
                return Ok(Fate::Leave);
            }
            manifest => manifest?,
        };
        let (new, config) = attestation::convert(self.source, &manifest, subject, form)?;
        self.out.configs.extend(config);
        let is_new = new.digest() != entry.digest;
        let is_known = |known: &Document| known.digest() == new.digest();
        if is_new && !self.out.documents.iter().any(is_known) {
            self.out.documents.push(new.clone());
        }
        if form == Form::Artifact {
            count(Became::Referrer);
            if !self.out.referrers.iter().any(is_known) {
                self.out.referrers.push(new);
            }
            return Ok(Fate::Leave);
        }
        if is_new {
            count(Became::Legacy);
        }
        Ok(if is_new { Fate::Become(new, subject.digest) } else { Fate::Stay })
    }

    fn say_rewritten(&mut self, old: &Document) {
        let (old, new) = (old.digest(), self.out.root.digest());
        let of = match self.shape.platforms.is_empty() {
            true => String::new(),
            false => {
                let is_chosen = |p: &&Platform| self.shape.platforms.iter().any(|wanted| wanted.matches(p));
                let chosen = self.found.iter().filter(is_chosen).count();
                format!(", with {chosen} of {} images", self.found.len())
            }
        };
        if new != old {
            self.out.notes.push(format!("the index was rewritten{of}: {old} became {new}"));
        }
    }

    /// Everything that was asked for must be there.
    fn check(&self, root: &Document) -> Result<(), Error> {
        let image = || format!("{}@{}", self.source.name(), root.digest());
        image::check_platforms(image, &self.shape.platforms, &self.found)
    }

    fn nothing_left(&self, root: &Document) -> Error {
        let image = format!("{}@{}", self.source.name(), root.digest());
        Error::WrongKind { image, found: "an index without images".to_owned(), wanted: "an image" }
    }
}

/// The index with its entries' fates carried out; the same bytes where all stay.
fn rewritten(
    index: &Level,
    leaves: &[Option<Leaves>],
    fates: &[Fate],
    replaced: &HashMap<Digest, Document>,
) -> Result<Document, Error> {
    let edited = index.document.edit(|json| {
        let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
        let mut all = index.view.manifests.iter().zip(&index.inner).zip(leaves.iter().zip(fates));
        entries.retain_mut(|json| {
            let Some(((entry, inner), (leaves, fate))) = all.next() else { return true };
            match (fate, replaced.get(&entry.digest)) {
                (Fate::Become(document, about), _) => {
                    point_to(json, document);
                    as_attestation(json, *about);
                }
                (_, Some(new)) if inner.is_some() => point_to(json, new),
                _ => {}
            }
            leaves.is_none()
        });
    })?;
    Ok(edited)
}

/// Makes an entry say, the way that every tool knows, that it is an attestation and about which image.
fn as_attestation(entry: &mut Value, about: Digest) {
    let Some(entry) = entry.as_object_mut() else { return };
    entry.shift_remove("artifactType");
    let platform = entry.entry("platform").or_insert(Value::Null);
    if !platform.is_object() {
        *platform = serde_json::json!({"architecture": "unknown", "os": "unknown"});
    }
    if let Some(annotations) = map_at(entry, "annotations") {
        for (key, value) in [
            (annotation::DOCKER_REFERENCE_DIGEST, about.to_string()),
            (annotation::DOCKER_REFERENCE_TYPE, annotation::ATTESTATION_MANIFEST.to_owned()),
        ] {
            annotations.entry(key).or_insert(value.into());
        }
    }
}
