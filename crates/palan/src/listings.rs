//! Listings of images' layers: each read once per run, and never again where there is a cache.
//!
//! A layer's diff ID names its content and therefore its [`Listing`]. A listing that is in the cache is taken from
//! there: its blob is then not looked at, nor whether it is what the diff ID says. A layer that is read is checked,
//! digest and diff ID, in the pass that lists it.

mod cache;

use std::{
    fmt,
    ops::RangeBounds,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::future::try_join_all;
use palan_core::{Descriptor, Digest, Role};
use palan_layer::{Limits, Listing, list_expecting, listing::Interest};
use tokio::sync::Semaphore;

pub use self::cache::{DirectoryCache, ListingCache};
use crate::{
    Error, Event, Observer, Scratch, Transfer,
    cancel::{Crew, on_thread},
    image::Image,
    once::Once,
    place::{BlobStream, Source, open_announced, with_reader},
    verdict::INTEREST,
};

/// How many layers are read at once, at most.
const AT_ONCE: usize = 4;
/// How many more of those that take longer to ask for than to read.
const SMALL_AT_ONCE: usize = 16;
/// Bytes, as stored (compressed), of the largest of these.
const SMALL: u64 = 1 << 20;
/// How many images are judged at once: four trees of files are in memory for each.
const JUDGED_AT_ONCE: usize = 2;

/// The listings of a run, by diff ID. Shared by everything that needs some: each layer is read once, however many
/// images have it and however many ask at the same time.
pub struct Listings {
    cache: Option<Arc<dyn ListingCache>>,
    observer: Observer,
    scratch: Scratch,
    limits: Limits,
    known: Once<Digest, Listing>,
    room: Semaphore,
    room_for_small: Semaphore,
    judges: Crew,
    counts: Arc<Counts>,
}

impl fmt::Debug for Listings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listings").field("read", &self.read()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Counts {
    layers: AtomicU64,
    bytes: AtomicU64,
    cached: AtomicU64,
}

/// What listing cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ListingsRead {
    /// Layers whose blobs were read to their end.
    pub layers: u64,
    /// Bytes of blobs read, as stored (compressed); those of layers that failed count as well.
    pub bytes: u64,
    /// Layers whose listings came from the cache.
    pub cached: u64,
}

impl Default for Listings {
    fn default() -> Self {
        Self::new(None, Observer::default())
    }
}

impl Listings {
    /// No listings yet. As many layers are read at once as there are cores, but not more than four; small ones, which are
    /// mostly waited for, beside these.
    pub fn new(cache: Option<Arc<dyn ListingCache>>, observer: Observer) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache,
            observer,
            scratch: Scratch::default(),
            limits: Limits::default(),
            known: Once::default(),
            room: Semaphore::new(cores.min(AT_ONCE)),
            room_for_small: Semaphore::new(SMALL_AT_ONCE),
            judges: Crew::new(cores.min(JUDGED_AT_ONCE)),
            counts: Arc::default(),
        }
    }

    /// With this folder for temporary files.
    #[must_use]
    pub fn with_scratch(self, scratch: Scratch) -> Self {
        Self { scratch, ..self }
    }

    /// With other bounds on what a layer may make us do.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What a layer does, with digests of all files, facts of all programs and the content of the files that
    /// [`keeps`] names.
    ///
    /// Fails with [`Error::Layer`] where the blob is damaged or its diff ID is another one, with [`Error::NotHere`]
    /// for a non-distributable layer whose blob the source does not have.
    pub async fn of(
        &self,
        source: &dyn Source,
        layer: &Descriptor,
        diff_id: Digest,
    ) -> Result<Arc<Listing>, Error> {
        self.known.get(diff_id, || self.obtain(source, layer, diff_id)).await
    }

    /// As [`Listings::of`], of an image's layers of these numbers, lowest first.
    pub(crate) async fn of_image(
        &self,
        source: &dyn Source,
        image: &Image,
        numbers: impl RangeBounds<usize>,
    ) -> Result<Vec<Arc<Listing>>, Error> {
        let layers = image.manifest_view.layers.iter().zip(&image.config_view.rootfs.diff_ids).enumerate();
        let layers = layers.filter(|(number, _)| numbers.contains(number));
        try_join_all(layers.map(|(_, (layer, diff_id))| self.of(source, layer, *diff_id))).await
    }

    /// Who looks at all files of images.
    pub(crate) fn judges(&self) -> &Crew {
        &self.judges
    }

    /// What listing cost so far.
    pub fn read(&self) -> ListingsRead {
        let Counts { layers, bytes, cached } = &*self.counts;
        ListingsRead {
            layers: layers.load(Relaxed),
            bytes: bytes.load(Relaxed),
            cached: cached.load(Relaxed),
        }
    }

    async fn obtain(
        &self,
        source: &dyn Source,
        layer: &Descriptor,
        diff_id: Digest,
    ) -> Result<Listing, Error> {
        let room = if layer.size <= SMALL { &self.room_for_small } else { &self.room };
        let _room = room.acquire().await.map_err(|_| Error::Cancelled)?;
        if let Some(listing) = self.cached(diff_id).await? {
            self.counts.cached.fetch_add(1, Relaxed);
            self.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Present });
            return Ok(listing);
        }
        if matches!(layer.media_type.role(), Role::Layer { foreign: true, .. }) && !source.has(layer).await? {
            return Err(Error::NotHere { digest: layer.digest, place: source.name() });
        }
        let content = self.counted(open_announced(source, layer, &self.observer).await?);
        let (expected, limits) = (content.expected(layer), self.limits);
        let (cache, scratch) = (self.cache.clone(), self.scratch.clone());
        let list = move |reader: &mut _| {
            let interest = Interest { scratch: &scratch, ..INTEREST };
            let (_, listing) = list_expecting(reader, &expected, diff_id, &interest, &limits)?;
            if let Some(cache) = cache {
                cache.put(diff_id, &listing.encode());
            }
            Ok(listing)
        };
        let listed = with_reader(content, list).await?;
        let listing =
            listed.map_err(|e| Error::Layer { digest: layer.digest, place: source.name(), source: e })?;
        self.counts.layers.fetch_add(1, Relaxed);
        self.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Moved });
        Ok(listing)
    }

    /// What the cache has; entries that cannot be read are none.
    async fn cached(&self, diff_id: Digest) -> Result<Option<Listing>, Error> {
        let Some(cache) = self.cache.clone() else { return Ok(None) };
        let find = move || {
            let decoded = Listing::decode(&cache.get(diff_id)?);
            decoded
                .map_err(|e| tracing::debug!("the listing of {diff_id} in the cache is not used: {e}"))
                .ok()
        };
        on_thread(find).await
    }

    fn counted(&self, content: BlobStream) -> BlobStream {
        let counts = Arc::clone(&self.counts);
        content.inspected(move |piece| {
            let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
            counts.bytes.fetch_add(bytes, Relaxed);
        })
    }
}

/// Whose content listings keep, by path from the root without a slash in front: what tells the distribution, its
/// packages, users and library directories, and the versions of Java runtimes.
///
/// Listings in caches were made with the list of their time: whoever changes it raises [`Listing::VERSION`].
pub fn keeps(path: &[u8]) -> bool {
    const FILES: [&[u8]; 11] = [
        b"etc/os-release",
        b"usr/lib/os-release",
        b"etc/alpine-release",
        b"etc/debian_version",
        b"etc/passwd",
        b"etc/group",
        b"etc/shadow",
        b"etc/ld.so.conf",
        b"var/lib/dpkg/status",
        b"lib/apk/db/installed",
        b"usr/lib/apk/db/installed",
    ];
    let parts: Vec<&[u8]> = path.splitn(6, |b| *b == b'/').collect();
    match parts.as_slice() {
        [b"etc", b"ld.so.conf.d", _] => true,
        [b"etc", file] if file.starts_with(b"ld-musl-") && file.ends_with(b".path") => true,
        // Distroless images have one file for each package, and one of checksums beside it.
        [b"var", b"lib", b"dpkg", b"status.d", file] => !file.ends_with(b".md5sums"),
        [b"usr", b"lib", b"jvm", _, b"release"]
        | [b"opt", b"java", _, b"release"]
        | [b"opt", _, b"release"] => true,
        _ => FILES.contains(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::keeps;

    #[test]
    fn what_tells_of_the_distribution_is_kept() {
        let cases = [
            ("etc/os-release", true),
            ("usr/lib/os-release", true),
            ("x/etc/os-release", false),
            ("etc/passwd-", false),
            ("etc/ld.so.conf.d/x86_64-linux-gnu.conf", true),
            ("etc/ld.so.conf.d/a/b", false),
            ("etc/ld-musl-x86_64.path", true),
            ("etc/ld-musl-x86_64.conf", false),
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status-old", false),
            ("var/lib/dpkg/status.d/libc6", true),
            ("var/lib/dpkg/status.d/libc6.md5sums", false),
            ("lib/apk/db/installed", true),
            ("usr/lib/apk/db/installed", true),
            ("usr/lib/jvm/java-17-openjdk-amd64/release", true),
            ("usr/lib/jvm/release", false),
            ("usr/lib/jvm/java-17/lib/release", false),
            ("opt/java/openjdk/release", true),
            ("opt/jre/release", true),
            ("opt/release", false),
            ("", false),
        ];
        for (path, kept) in cases {
            assert_eq!(keeps(path.as_bytes()), kept, "{path}");
        }
    }
}
