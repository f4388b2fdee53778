//! Places: where images are. A registry's repository, an OCI layout, an archive, memory.
//!
//! Two traits describe them. A [`Source`] is read: names are resolved to documents, blobs are opened as streams.
//! A [`Target`] is a source that is written: content is verified before it becomes visible. Every place passes the
//! same conformance suite, and every operation takes any place.

mod ahead;
mod archive;
mod archive_writer;
mod content;
mod docker_save;
mod fresh;
mod index_json;
mod layout;
mod layout_gc;
mod legacy;
mod location;
mod memo;
mod memory;
mod new_file;
mod once_failed;
mod overlay;
mod places;
mod registry;
mod roots;
mod stream;
mod tar_index;
mod temporary;

use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use palan_core::{Descriptor, Digest, Document, Repository, Selector};

pub(crate) use ahead::Ahead;
pub use ahead::Growing;
pub use archive::{Archive, Format};
pub use archive_writer::ArchiveWriter;
pub(crate) use content::read_file;
pub(crate) use index_json::only;
pub use layout::Layout;
pub use layout_gc::Garbage;
pub use legacy::LegacyWriter;
pub use location::{Location, LocationError};
pub(crate) use memo::Memo;
pub use memory::Memory;
pub use new_file::NewFile;
pub(crate) use new_file::{publish, temporary_in};
pub use overlay::Overlay;
pub use places::{Opened, Places};
pub use registry::Registry;
pub use stream::BlobStream;
pub(crate) use stream::{checked, open_announced, read_all, verified, with_reader};
pub(crate) use temporary::Temporary;

use crate::Error;

/// Where a blob or document comes from, as far as it helps a target to take it over without moving bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A repository of a registry: mountable from other repositories of the same registry.
    Repository(Repository),
    /// What was read of such a repository may have come from a mirror: mountable if it is there, but it need not be.
    Mirrored(Repository),
    /// A file of its own: linkable.
    File(PathBuf),
    /// A file of a cache, written once and by nobody else: linkable after a look at its content.
    Cached(PathBuf),
    /// Made by this process just now: no target has it yet, asking would be a wasted request.
    New,
    /// Nothing that a target could use.
    Opaque,
}

/// A place that images are read from.
#[async_trait]
pub trait Source: Send + Sync {
    /// The place's name for messages: `ghcr.io/org/app`, `oci:out`.
    fn name(&self) -> String;

    /// What a tag or digest stands for now. Fails with [`Error::NotFound`].
    async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error>;

    /// A manifest or index, checked against its digest. Fails with [`Error::NotFound`].
    async fn document(&self, selector: &Selector) -> Result<Document, Error>;

    /// The content of a blob from byte `offset` on. The stream fails where the content is not what the descriptor
    /// promises; with an offset, only the size can be checked.
    async fn open(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error>;

    /// Whether the blob is there. By name and, where the place knows it without asking, by size; the content is
    /// hashed only when it is read.
    async fn has(&self, blob: &Descriptor) -> Result<bool, Error>;

    /// All tags, in the place's own order.
    async fn tags(&self) -> Result<Vec<String>, Error>;

    /// Which of these tags there are. One question for each, where the place knows no better way; what it answers may then
    /// be a minute old.
    async fn tags_among(&self, tags: &[String]) -> Result<Vec<String>, Error> {
        ask_each(self, tags).await
    }

    /// The manifests whose `subject` is `digest`, all or of one artifact type.
    async fn referrers(&self, digest: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error>;

    /// Where the content with this digest comes from.
    fn origin(&self, digest: Digest) -> Origin;

    /// Whether the place made this manifest itself, of parts that it holds without one (an archive of `docker save`): it
    /// has no digest that anybody knows.
    fn is_made(&self, _manifest: Digest) -> bool {
        false
    }
}

/// Asks about one tag after the other, all at the same time.
async fn ask_each<S: Source + ?Sized>(source: &S, tags: &[String]) -> Result<Vec<String>, Error> {
    let found = try_join_all(tags.iter().map(|tag| async move {
        match source.resolve(&Selector::Tag(tag.clone())).await {
            Ok(_) => Ok(Some(tag.clone())),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }));
    Ok(found.await?.into_iter().flatten().collect())
}

/// In what role a document is put into a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutAs {
    /// Something above it will name it.
    Child,
    /// It stands for itself, without a tag.
    Root,
    /// It stands for itself, under this tag.
    Tag(String),
    /// It stands for itself, under this tag, which does not exist; fails with [`Error::Exists`] when it does.
    Absent(String),
    /// It replaces what a tag stands for; fails with [`Error::Moved`] when that is not `expected` any more.
    Replace {
        /// The tag.
        tag: String,
        /// What the tag must still stand for.
        expected: Digest,
    },
}

impl PutAs {
    /// The role that a selector asks for: a tag, or a root of that digest.
    pub fn from_selector(selector: &Selector) -> Self {
        match selector {
            Selector::Tag(tag) => Self::Tag(tag.clone()),
            Selector::Digest(_) => Self::Root,
        }
    }

    /// The role in which content with this digest goes to a location: a location by digest takes that content only.
    pub fn at(location: &Location, digest: Digest) -> Result<Self, Error> {
        match location.selector() {
            None => Ok(Self::Root),
            Some(Selector::Tag(tag)) => Ok(Self::Tag(tag)),
            Some(Selector::Digest(wanted)) if wanted == digest => Ok(Self::Root),
            Some(Selector::Digest(_)) => Err(Error::OtherDigest { location: location.to_string(), digest }),
        }
    }

    /// The tag that will stand for the document.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Child | Self::Root => None,
            Self::Tag(tag) | Self::Absent(tag) | Self::Replace { tag, .. } => Some(tag),
        }
    }
}

/// A place that images are written to.
#[async_trait]
pub trait Target: Source {
    /// Whether this document is there and, by the place's own guarantee, everything it names. Only registries
    /// guarantee that; everything else answers `false` and is looked at piece by piece.
    async fn has_graph(&self, _document: &Descriptor) -> Result<bool, Error> {
        Ok(false)
    }

    /// Refuses, before anything is moved, a document that this place could not hold.
    fn accepts(&self, _root: &Document) -> Result<(), Error> {
        Ok(())
    }

    /// Whether content from this origin is already here because this is where it comes from.
    fn is_home_of(&self, _origin: &Origin) -> bool {
        false
    }

    /// Whether this blob is known to be here, without asking: it was put or adopted a short while ago.
    fn knows(&self, _blob: Digest) -> bool {
        false
    }

    /// Takes a blob over from `from` without moving bytes through this process. `false`: it cannot, move them.
    async fn adopt(&self, _blob: &Descriptor, _from: &dyn Source) -> Result<bool, Error> {
        Ok(false)
    }

    /// Reads a blob from `from` and stores it; visible only when digest and size are right.
    async fn put_blob(&self, blob: &Descriptor, from: &dyn Source) -> Result<(), Error>;

    /// Stores a blob while it is made, where something is gained by that; what is not stored so is put when it is whole.
    async fn put_growing(&self, _blob: &Growing) -> Result<(), Error> {
        Ok(())
    }

    /// Stores a document. Everything it names has been stored before, except its `subject`.
    async fn put_document(&self, document: &Document, role: &PutAs) -> Result<(), Error>;

    /// Makes everything written visible where that needs a last step (archives). Without it, an archive leaves no file.
    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}
