//! Detection: candidates from everything that speaks of a base, each compared with the image's layers.

use std::{cmp::Reverse, sync::Arc};

use futures_util::{StreamExt as _, stream};
use palan_core::{Document, Kind, PlatformPattern, Reference, Repository};

use super::{
    Conflict, Detection, Found, KnownBases, PlatformBase, Subject,
    examine::{Examination, Judged},
    subject::subjects,
};
use crate::{
    Error,
    image::platforms,
    once::Once,
    place::{Location, Places, Source},
    rebase::base::{Base, Images},
};

/// How many images of an index are looked at at the same time.
const JOBS: usize = 4;

/// Finds the bases of the images at a location: of all platforms of an index, or of those asked for. Reads manifests,
/// configs and attestations, and no layers.
///
/// A base that cannot be read is no error; an image that cannot be read is one.
pub async fn detect(
    places: &Places,
    image: &Location,
    known: Option<&KnownBases>,
    asked: &[PlatformPattern],
) -> Result<Detection, Error> {
    Detector::new(places, known).detect(image, asked).await
}

/// Finds bases, and reads each base once, however many images are built on it.
pub struct Detector<'a> {
    places: &'a Places,
    pub(super) known: Option<&'a KnownBases>,
    /// A base that is taken for a known one.
    pub(super) asked: Option<Reference>,
    images: Images,
    read: Once<Reference, Base>,
    tags: Once<Repository, Vec<String>>,
}

impl<'a> Detector<'a> {
    /// A detector that looks into registries, and into the index of known bases if there is one.
    pub fn new(places: &'a Places, known: Option<&'a KnownBases>) -> Self {
        Self {
            places,
            known,
            asked: None,
            images: Images::default(),
            read: Once::default(),
            tags: Once::default(),
        }
    }

    /// Also knows a base by its layers that is in no index; it must be one that can be read.
    pub(crate) fn asking(self, base: Reference) -> Self {
        Self { asked: Some(base), ..self }
    }

    /// The base that is asked for, where an image starts with its layers: whatever else its base is.
    pub(crate) async fn asked(&self, subject: &Subject) -> Option<Found> {
        Examination::of(self, subject).asked().await
    }

    /// As [`detect`](fn@detect).
    pub async fn detect(&self, image: &Location, asked: &[PlatformPattern]) -> Result<Detection, Error> {
        let (detection, _) = self.subjects_of(image, asked).await?;
        Ok(detection)
    }

    /// As [`Detector::detect`], with the images themselves, in the same order.
    pub(crate) async fn subjects_of(
        &self,
        image: &Location,
        asked: &[PlatformPattern],
    ) -> Result<(Detection, Vec<Subject>), Error> {
        let opened = self.places.source(image)?;
        let root = opened.place.document(opened.chosen()?).await?;
        self.subjects_in(opened.place.as_ref(), &root, image, asked).await
    }

    /// As [`Detector::subjects_of`], of what was read already.
    pub(crate) async fn subjects_in(
        &self,
        source: &dyn Source,
        root: &Document,
        image: &Location,
        asked: &[PlatformPattern],
    ) -> Result<(Detection, Vec<Subject>), Error> {
        let subjects = subjects(source, root, asked).await?;
        if subjects.is_empty() {
            return Err(nothing(source, root, asked).await?);
        }
        let found = stream::iter(&subjects).map(|subject| self.image(source, subject)).buffered(JOBS);
        let found: Vec<Result<PlatformBase, Error>> = found.collect().await;
        let platforms = found.into_iter().collect::<Result<_, _>>()?;
        Ok((Detection { image: image.to_string(), digest: root.digest(), platforms }, subjects))
    }

    /// Finds the base of one image. `source` is where it is, and where attestations about it are looked for.
    pub async fn image(&self, source: &dyn Source, subject: &Subject) -> Result<PlatformBase, Error> {
        let examination = Examination::of(self, subject);
        let mut all = examination.hinted().await?;
        if !all.iter().any(Judged::settles) {
            all.extend(examination.attested(source).await?);
        }
        all.extend(examination.known(&all)?.map(Judged::found));
        all.extend(examination.asked().await.map(Judged::found));
        let (base, conflicts) = choose(all);
        Ok(PlatformBase {
            platform: subject.platform.to_string(),
            digest: subject.image.manifest.digest(),
            layers: subject.image.config_view.rootfs.diff_ids.len(),
            scratch: base.is_none() && subject.is_from_scratch(),
            base,
            conflicts,
        })
    }

    /// The images that were read, for who reads bases beside it.
    pub(crate) fn images(&self) -> Images {
        self.images.clone()
    }

    /// All tags of a reference's repository.
    pub(super) async fn all_tags(&self, reference: &Reference) -> Result<Arc<Vec<String>>, Error> {
        let read = || async { self.places.base(&Location::Registry(reference.clone()))?.place.tags().await };
        self.tags.get(reference.repository().clone(), read).await
    }

    /// What a name or a digest in a repository stands for.
    pub(crate) async fn base(&self, reference: &Reference) -> Result<Arc<Base>, Error> {
        let read = || async {
            let opened = self.places.base(&Location::Registry(reference.clone()))?;
            Base::read(&opened, Some(reference.clone()), self.images.clone()).await
        };
        self.read.get(reference.clone(), read).await
    }
}

/// Why there are no images.
async fn nothing(
    source: &dyn Source,
    root: &palan_core::Document,
    asked: &[PlatformPattern],
) -> Result<Error, Error> {
    let image = format!("{}@{}", source.name(), root.digest());
    if asked.is_empty() {
        let found = "an index without images".to_owned();
        return Ok(Error::WrongKind { image, found, wanted: "an image" });
    }
    let wanted = asked.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let found = match root.kind() {
        Kind::Index => platforms(source, root).await?.into_iter().map(|(_, platform)| platform).collect(),
        _ => vec![crate::image::Image::load(source, root.clone()).await?.platform()],
    };
    Ok(Error::NoPlatform { image, wanted, found })
}

/// The base, and what speaks of others.
///
/// What was written about this very image and is proven wins. Else the longest proven stack of layers does: labels are
/// handed down, provenance lists all stages. What is only stated comes last.
fn choose(all: Vec<Judged>) -> (Option<Found>, Vec<Conflict>) {
    let mut conflicts = Vec::new();
    let mut found = Vec::new();
    for judged in all {
        match judged {
            Judged::Found(base) => found.push(*base),
            Judged::Refuted(conflict) => conflicts.push(conflict),
        }
    }
    found.sort_by_key(|base| {
        let length = if base.evidence.is_direct() { 0 } else { base.boundary.unwrap_or_default() };
        (!base.is_proven(), base.is_proven() && !base.evidence.is_direct(), Reverse(length), base.evidence)
    });
    let mut found = found.into_iter();
    let chosen = found.next();
    if let Some(chosen) = &chosen {
        conflicts.extend(found.filter_map(|other| contradiction(chosen, &other)));
    }
    conflicts.sort_by_key(|conflict| conflict.evidence);
    (chosen, conflicts)
}

/// What another candidate says against the one that was chosen.
fn contradiction(chosen: &Found, other: &Found) -> Option<Conflict> {
    let reason = match (chosen.boundary, other.boundary) {
        (_, Some(_)) if other.chain_id == chosen.chain_id => return None,
        (Some(chosen), Some(other)) if other < chosen => format!("only the first {} are its", layers(other)),
        (_, Some(other)) => format!("the first {} are its", layers(other)),
        _ => {
            let repository = |found: &Found| found.name.as_ref().map(|name| name.repository().clone());
            let same = chosen.digest == other.digest || repository(chosen) == repository(other);
            if same {
                return None;
            }
            other.reason.clone().unwrap_or_default()
        }
    };
    Some(Conflict { evidence: other.evidence, base: other.shown(), reason })
}

fn layers(n: usize) -> String {
    format!("{n} layer{}", if n == 1 { "" } else { "s" })
}
