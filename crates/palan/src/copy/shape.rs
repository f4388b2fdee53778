//! Copies that are not the whole: some platforms of an index, attestations in another form. The index is rewritten, so
//! that it lists nothing that is not there; images keep their bytes.
//!
//! Attestation forms: BuildKit, `docs/attestations/attestation-storage.md`.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::future::BoxFuture;
use palan_core::{Descriptor, Digest, Document, Kind, Platform, PlatformPattern, Role, annotation, view};
use serde_json::Value;

use super::attestation::{self, Form};
use crate::{
    Error,
    image::{self, Image, MAX_DEPTH, too_deep},
    index::{self, Subjects, point_to},
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
            let new = walk.index(root.clone(), 0).await?;
            walk.check(&root)?;
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

/// What became of an attestation, where that is said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    LeftOut,
    Missing,
    Kept,
    Legacy,
    Referrer,
}

/// What becomes of an entry of an index.
enum Fate {
    Stay,
    Leave,
    Become(Document, Option<Digest>),
}

struct Walk<'a> {
    source: &'a dyn Source,
    shape: &'a Shape,
    out: Shaped,
    /// Images that the new indexes list, and those that were not chosen.
    kept: HashMap<Digest, Descriptor>,
    gone: HashSet<Digest>,
    /// Platforms that were found, chosen or not.
    found: Vec<Platform>,
    /// The images for platforms that were asked for.
    chosen: Vec<Digest>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, shape: &'a Shape, root: Document) -> Self {
        let out = Shaped::whole(root);
        let (kept, gone) = (HashMap::new(), HashSet::new());
        Self { source, shape, out, kept, gone, found: Vec::new(), chosen: Vec::new() }
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
        self.index(root.clone(), 0).await?;
        self.check(&root)?;
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
    fn index(&mut self, document: Document, depth: usize) -> BoxFuture<'_, Result<Option<Document>, Error>> {
        Box::pin(async move {
            if depth >= MAX_DEPTH {
                return Err(too_deep(self.source, document.digest()));
            }
            let index: view::Index = image::parsed(self.source, &document)?;
            let mut fates: Vec<Fate> = Vec::new();
            for entry in &index.manifests {
                let is_image = !entry.is_attestation();
                fates.push(if is_image { self.entry(entry, depth).await? } else { Fate::Stay });
            }
            let subjects = self.follow(&index, &mut fates).await?;
            let mut counts = BTreeMap::new();
            for (entry, fate) in index.manifests.iter().zip(&mut fates) {
                if !entry.is_attestation() || matches!(fate, Fate::Leave) {
                    continue;
                }
                *fate = self.attestation(entry, subjects.get(&entry.digest).copied(), &mut counts).await?;
            }
            self.out.notes.extend(counts.into_iter().map(|(what, n)| counted(n, what)));
            let empty = !fates.is_empty() && fates.iter().all(|fate| matches!(fate, Fate::Leave));
            let new = rewritten(&document, &fates)?;
            for (entry, _) in index.manifests.iter().zip(&fates).filter(|(_, f)| !matches!(f, Fate::Stay)) {
                self.out.left_out.insert(entry.digest);
            }
            if new.digest() != document.digest() {
                self.out.rewritten.push((document.digest(), new.digest()));
                self.out.documents.extend((!empty).then(|| new.clone()));
            }
            Ok(Some(new).filter(|_| !empty))
        })
    }

    /// Entries about what is left out are left out too. What those that are not images are about.
    async fn follow(&mut self, index: &view::Index, fates: &mut [Fate]) -> Result<Subjects, Error> {
        let mut gone: HashSet<Digest> =
            self.gone.iter().filter(|digest| !self.kept.contains_key(digest)).copied().collect();
        if self.shape.attestations == AttestationForm::Strip {
            gone.extend(index.manifests.iter().filter(|e| e.is_attestation()).map(|e| e.digest));
        }
        let asked = |e: &&Descriptor| e.is_attestation() || (!gone.is_empty() && index::may_be_about(e));
        let others: Vec<&Descriptor> = index.manifests.iter().filter(asked).collect();
        let subjects = index::subjects(self.source, &others).await?;
        let following: Subjects = index::followers(&others, &subjects, &gone).into_iter().collect();
        for (entry, fate) in index.manifests.iter().zip(fates) {
            if following.contains_key(&entry.digest) {
                self.kept.remove(&entry.digest);
                *fate = Fate::Leave;
            }
        }
        self.gone.extend(following.into_keys());
        Ok(subjects)
    }

    /// What becomes of an entry that is no attestation.
    async fn entry(&mut self, entry: &Descriptor, depth: usize) -> Result<Fate, Error> {
        if entry.media_type.role() == Role::Index {
            let inner = self.source.document(&entry.digest.into()).await?;
            return Ok(match self.index(inner, depth + 1).await? {
                None => {
                    self.gone.insert(entry.digest);
                    Fate::Leave
                }
                Some(new) if new.digest() == entry.digest => Fate::Stay,
                Some(new) => Fate::Become(new, None),
            });
        }
        let platform = match self.shape.platforms.is_empty() {
            true => None,
            false => image::entry_platform(self.source, entry).await?,
        };
        if let Some(platform) = platform {
            let chosen = self.shape.platforms.iter().any(|p| p.matches(&platform));
            self.found.push(platform);
            if chosen {
                self.chosen.extend((!self.chosen.contains(&entry.digest)).then_some(entry.digest));
            } else {
                self.gone.insert(entry.digest);
                return Ok(Fate::Leave);
            }
        }
        let plain = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
        self.kept.insert(entry.digest, plain);
        Ok(Fate::Stay)
    }

    async fn attestation(
        &mut self,
        entry: &Descriptor,
        about: Option<Digest>,
        counts: &mut BTreeMap<Became, usize>,
    ) -> Result<Fate, Error> {
        let mut count = |what| *counts.entry(what).or_default() += 1;
        if about.is_some_and(|about| self.gone.contains(&about) && !self.kept.contains_key(&about)) {
            return Ok(Fate::Leave);
        }
        let form = match self.shape.attestations {
            AttestationForm::Keep => return Ok(Fate::Stay),
            AttestationForm::Strip => {
                count(Became::LeftOut);
                return Ok(Fate::Leave);
            }
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
        if is_new {
            self.out.documents.push(new.clone());
        }
        if form == Form::Artifact {
            count(Became::Referrer);
            self.out.referrers.push(new);
            return Ok(Fate::Leave);
        }
        if is_new {
            count(Became::Legacy);
        }
        Ok(if is_new { Fate::Become(new, Some(subject.digest)) } else { Fate::Stay })
    }

    fn say_rewritten(&mut self, old: &Document) {
        let (old, new) = (old.digest(), self.out.root.digest());
        let of = match self.shape.platforms.is_empty() {
            true => String::new(),
            false => format!(", with {} of {} images", self.chosen.len(), self.found.len()),
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

fn counted(n: usize, what: Became) -> String {
    let (subject, end) = match n {
        1 => ("1 attestation was".to_owned(), ["a referrer of its image", "it", "it is"]),
        n => (format!("{n} attestations were"), ["referrers of their images", "them", "they are"]),
    };
    let [referrer, object, about] = end;
    match what {
        Became::LeftOut => format!("{subject} left out of the index"),
        Became::Missing => format!("{subject} left out of the index, for the source does not have {object}"),
        Became::Kept => format!("{subject} kept in the index, which does not list what {about} about"),
        Became::Legacy => format!("{subject} rewritten to the legacy form"),
        Became::Referrer => format!("{subject} made {referrer}"),
    }
}

/// The index with its entries' fates carried out; the same bytes where all stay.
fn rewritten(index: &Document, fates: &[Fate]) -> Result<Document, Error> {
    let edited = index.edit(|json| {
        let Some(entries) = json.get_mut("manifests").and_then(Value::as_array_mut) else { return };
        let mut fates = fates.iter();
        entries.retain_mut(|entry| match fates.next() {
            Some(Fate::Leave) => false,
            Some(Fate::Become(document, about)) => {
                point_to(entry, document);
                if let Some(about) = about {
                    as_attestation(entry, *about);
                }
                true
            }
            _ => true,
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
