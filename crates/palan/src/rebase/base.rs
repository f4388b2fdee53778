//! The bases of a rebase: read once, resolved for the platforms that are needed, and no others.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::{BoxFuture, try_join_all};
use palan_core::{Descriptor, Digest, Document, Kind, Platform, Reference, Role, Selector, view};
use tokio::sync::OnceCell;

use crate::{
    Error,
    image::{Image, MAX_DEPTH, entry_platform, parsed, too_deep},
    once::Once,
    place::{Opened, Source},
};

/// Images that were read, by manifest digest; shared by all bases of a rebase.
pub(crate) type Images = Arc<Once<Digest, Image>>;

/// A base image or index, read.
pub(crate) struct Base {
    pub(crate) source: Arc<dyn Source>,
    /// Its name, when it is in a registry.
    pub(crate) reference: Option<Reference>,
    pub(crate) root: Document,
    entries: OnceCell<Vec<(Descriptor, Platform)>>,
    images: Images,
}

impl Base {
    pub(crate) async fn read(
        opened: &Opened<dyn Source>,
        reference: Option<Reference>,
        images: Images,
    ) -> Result<Self, Error> {
        let root = opened.place.document(opened.chosen()?).await?;
        let source = Arc::clone(&opened.place);
        let base = Self { source, reference, root, entries: OnceCell::new(), images };
        if base.root.kind() != Kind::Index {
            // It is needed whatever the image is: read while the image is.
            base.load(base.root.digest()).await?;
        }
        Ok(base)
    }

    /// The reference as it was given, or `place@digest`, for messages.
    pub(crate) fn name(&self) -> String {
        match &self.reference {
            Some(reference) => reference.to_string(),
            None => format!("{}@{}", self.source.name(), self.root.digest()),
        }
    }

    /// The base's image for a platform, and for which one that is.
    ///
    /// Of an index, the entry for the same machine: what the entry says counts, as it does for whoever pulls. A single
    /// image is taken as it is.
    pub(crate) async fn image(&self, wanted: &Platform) -> Result<(Arc<Image>, Platform), Error> {
        if self.root.kind() != Kind::Index {
            let image = self.load(self.root.digest()).await?;
            let platform = image.platform();
            return Ok((image, platform));
        }
        let entries = self.entries.get_or_try_init(|| listed(self.source.as_ref(), &self.root, 0)).await?;
        let (entry, platform) = pick(entries, wanted).ok_or_else(|| Error::NoPlatform {
            image: self.name(),
            wanted: wanted.to_string(),
            found: entries.iter().map(|(_, p)| p.clone()).collect(),
        })?;
        Ok((self.load(entry.digest).await?, platform.clone()))
    }

    /// As [`Base::image`]; a single image must be for the same machine.
    pub(crate) async fn image_for(&self, wanted: &Platform) -> Result<Arc<Image>, Error> {
        let (image, found) = self.image(wanted).await?;
        if !found.same_machine(wanted) && !found.is_unstated() {
            return Err(Error::WrongPlatform { image: self.name(), wanted: wanted.to_string(), found });
        }
        Ok(image)
    }

    /// One of its images, if there is any: enough to know when it was made.
    pub(crate) async fn first(&self) -> Result<Option<Arc<Image>>, Error> {
        if self.root.kind() != Kind::Index {
            return self.load(self.root.digest()).await.map(Some);
        }
        let entries = self.entries.get_or_try_init(|| listed(self.source.as_ref(), &self.root, 0)).await?;
        match entries.first() {
            Some((entry, _)) => self.load(entry.digest).await.map(Some),
            None => Ok(None),
        }
    }

    /// All its images that are there, in order, with their platforms.
    pub(crate) async fn all(&self) -> Result<Vec<(Arc<Image>, Platform)>, Error> {
        if self.root.kind() != Kind::Index {
            let image = self.load(self.root.digest()).await?;
            let platform = image.platform();
            return Ok(vec![(image, platform)]);
        }
        let entries = self.entries.get_or_try_init(|| listed(self.source.as_ref(), &self.root, 0)).await?;
        let images = entries.iter().map(|(entry, platform)| async move {
            match self.load(entry.digest).await {
                // Mirrors may hold some platforms of an index only.
                Err(e) if e.is_not_found() => Ok(None),
                image => image.map(|image| Some((image, platform.clone()))),
            }
        });
        Ok(try_join_all(images).await?.into_iter().flatten().collect())
    }

    async fn load(&self, digest: Digest) -> Result<Arc<Image>, Error> {
        let read = || async {
            let manifest = if digest == self.root.digest() {
                self.root.clone()
            } else {
                self.source.document(&Selector::Digest(digest)).await?
            };
            Image::load(self.source.as_ref(), manifest).await
        };
        self.images.get(digest, read).await
    }
}

/// The images of an index and of the indexes it lists, with their platforms, in order.
fn listed<'a>(
    source: &'a dyn Source,
    index: &'a Document,
    depth: usize,
) -> BoxFuture<'a, Result<Vec<(Descriptor, Platform)>, Error>> {
    Box::pin(async move {
        if depth >= MAX_DEPTH {
            return Err(too_deep(source, index.digest()));
        }
        let index: view::Index = parsed(source, index)?;
        let mut seen = HashSet::new();
        let once = index.manifests.into_iter().filter(|entry| seen.insert(entry.digest));
        let entries = once.map(|entry| async move {
            if entry.media_type.role() == Role::Index {
                let inner = source.document(&entry.digest.into()).await?;
                return listed(source, &inner, depth + 1).await;
            }
            let platform = entry_platform(source, &entry).await?;
            Ok(platform.map(|platform| (entry, platform)).into_iter().collect())
        });
        Ok(try_join_all(entries).await?.into_iter().flatten().collect())
    })
}

/// The entry for a platform. A Windows image runs on hosts of its own build only: of several builds the same one is
/// taken, and never another.
fn pick<'a>(entries: &'a [(Descriptor, Platform)], wanted: &Platform) -> Option<&'a (Descriptor, Platform)> {
    let fitting: Vec<_> = entries.iter().filter(|(_, p)| p.same_machine(wanted)).collect();
    let version = |p: &Platform| p.os_version.clone().filter(|v| !v.is_empty());
    let several = fitting.iter().any(|(_, p)| version(p) != fitting.first().and_then(|(_, f)| version(f)));
    match version(wanted) {
        Some(wanted) if several => {
            let same = |exact: bool| {
                fitting.iter().find(|(_, p)| {
                    version(p).is_some_and(|v| v == wanted || (!exact && build(&v) == build(&wanted)))
                })
            };
            same(true).or_else(|| same(false)).copied()
        }
        _ => fitting.first().copied(),
    }
}

/// `10.0.17763` of `10.0.17763.1234`.
fn build(version: &str) -> &str {
    version.match_indices('.').nth(2).map_or(version, |(end, _)| &version[..end])
}

#[cfg(test)]
mod tests {
    use palan_core::MediaType;

    use super::*;

    fn entry(os: &str, architecture: &str, version: &str) -> (Descriptor, Platform) {
        let digest = Digest::sha256(format!("{os}{architecture}{version}").as_bytes());
        let platform = Platform {
            os_version: Some(version.to_owned()).filter(|v| !v.is_empty()),
            ..Platform::new(os, architecture)
        };
        (Descriptor::new(MediaType::OCI_MANIFEST, digest, 1), platform)
    }

    #[test]
    fn of_several_windows_builds_the_same_is_taken_and_never_another() {
        let several = [
            entry("linux", "amd64", ""),
            entry("windows", "amd64", "10.0.17763.1"),
            entry("windows", "amd64", "10.0.20348.1"),
            entry("windows", "amd64", "10.0.20348.2"),
        ];
        let one = [entry("windows", "amd64", "10.0.20348.2")];
        let cases: [(&[_], &str, Option<usize>); 6] = [
            (&several, "10.0.20348.2", Some(3)),
            (&several, "10.0.20348.9", Some(2)),
            (&several, "10.0.17763.999", Some(1)),
            (&several, "10.0.14393.1", None),
            (&several, "", Some(1)),
            (&one, "10.0.17763.1", Some(0)),
        ];
        for (entries, version, expected) in cases {
            let (_, wanted) = entry("windows", "amd64", version);
            let found = pick(entries, &wanted).map(|(e, _)| e.digest);
            assert_eq!(found, expected.map(|i| entries[i].0.digest), "{version}");
        }
    }
}
