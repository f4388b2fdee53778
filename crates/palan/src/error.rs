//! What can go wrong, as facts. Messages are one sentence; what lies beneath is the error's source.

use std::path::PathBuf;

use palan_core::{Digest, DocumentError, Mismatch, Platform};

/// What is done with temporary files.
pub(crate) const UNWRITTEN: &str = "write a temporary file in";

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tag or digest that the place does not have.
    #[error("{name} was not found in {place}")]
    NotFound {
        /// The tag or digest.
        name: String,
        /// The place asked.
        place: String,
    },
    /// The registry client failed.
    #[error(transparent)]
    Client(#[from] palan_client::Error),
    /// A registry failed so before in the same run, and was not asked again.
    #[error(transparent)]
    Before(std::sync::Arc<Error>),
    /// A fleet's journal cannot be used.
    #[error(transparent)]
    Journal(#[from] crate::fleet::JournalError),
    /// A layer could not be read.
    #[error("layer {digest} of {place} cannot be read")]
    Layer {
        /// Digest of the layer as stored.
        digest: Digest,
        /// Where it was read.
        place: String,
        /// Why.
        source: palan_layer::Error,
    },
    /// A non-distributable layer whose blob is elsewhere.
    #[error("layer {digest} is not distributable and its content is not in {place}")]
    NotHere {
        /// Digest of the layer as stored.
        digest: Digest,
        /// Where it was looked for.
        place: String,
    },
    /// A layer to append is not usable.
    #[error("the layer {name} cannot be appended")]
    Append {
        /// The file.
        name: String,
        /// Why.
        source: palan_layer::Error,
    },
    /// What a caller gave to write to failed.
    #[error("the output cannot be written")]
    Output(#[source] std::io::Error),
    /// A layer is compressed in a way that the image's family of media types has no name for.
    #[error("{layer} cannot be stored: there is no media type for {compression} layers in {family} images")]
    NoMediaType {
        /// The layer.
        layer: String,
        /// How it is, or would be, compressed.
        compression: palan_core::Compression,
        /// The image's family.
        family: palan_core::Family,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Content is not what its descriptor promises.
    #[error("{name} in {place} is damaged")]
    Damaged {
        /// The digest asked for.
        name: String,
        /// Where.
        place: String,
        /// How it differs.
        source: Mismatch,
    },
    /// A document is not acceptable.
    #[error("{name} in {place} is not usable")]
    Document {
        /// The tag, digest or file.
        name: String,
        /// Where.
        place: String,
        /// Why.
        source: DocumentError,
    },
    /// An edit of a document failed.
    #[error("a document cannot be edited")]
    Edit(#[from] DocumentError),
    /// A place holds several images and none was chosen.
    #[error("{place} holds {count} images, choose one: {choices}", count = choices.len(), choices = choices.join(", "))]
    ChooseOne {
        /// The place.
        place: String,
        /// Tags or digests to choose from.
        choices: Vec<String>,
    },
    /// An archive or layout is malformed.
    #[error("{place}: {reason}")]
    Malformed {
        /// The place.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// An image is inconsistent in itself.
    #[error("{image} is not a valid image: {reason}")]
    InvalidImage {
        /// The image.
        image: String,
        /// What is wrong.
        reason: String,
    },
    /// An index has no image for a platform.
    #[error("{image} has no image for {wanted} (it has {found})", found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoPlatform {
        /// The index.
        image: String,
        /// The platform asked for.
        wanted: String,
        /// The platforms it has.
        found: Vec<Platform>,
    },
    /// A single image is for another platform than the one asked for.
    #[error("{image} is an image for {found}, not for {wanted}")]
    WrongPlatform {
        /// The image.
        image: String,
        /// The platform asked for.
        wanted: String,
        /// The platform it has.
        found: Platform,
    },
    /// An operation on one image was pointed at something else.
    #[error("{image} is {found}, {wanted} is needed")]
    WrongKind {
        /// The document.
        image: String,
        /// What it is.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// A change that is impossible for an image.
    #[error("{image} cannot be changed so: {reason}")]
    Inapplicable {
        /// The image.
        image: String,
        /// Why.
        reason: String,
    },
    /// The image was not built on the base given.
    #[error(transparent)]
    NotBasedOn(#[from] Box<crate::rebase::NotBasedOn>),
    /// No base was given and none could be found.
    #[error("the {which} base of {image} is not known: {reason}")]
    BaseUnknown {
        /// The image.
        image: String,
        /// `old` or `new`.
        which: &'static str,
        /// Where was looked.
        reason: String,
    },
    /// Nobody was to prevail where an image and its new base both changed a value of the config.
    #[error("{image} ({platform}) and its new base disagree: {conflicts}", conflicts = conflicts.join("; "))]
    ConfigConflict {
        /// The image.
        image: String,
        /// For which platform.
        platform: Platform,
        /// Every value, one sentence each.
        conflicts: Vec<String>,
    },
    /// The result of a rebase or a pick is worth too little.
    #[error("the result for {image} is refused: it would be {verdict}")]
    Refused {
        /// The image.
        image: String,
        /// What it would be.
        verdict: String,
    },
    /// Layers do not make a file system together.
    #[error("the layers of {image} or of its bases do not fit together{}", at_layer(layer.as_ref()))]
    NoFileSystem {
        /// The image.
        image: String,
        /// Digest of the layer with the entry in question, as stored, where it is known.
        layer: Option<Digest>,
        /// Why.
        source: palan_layer::Error,
    },
    /// The files of an image cannot be put into a directory.
    #[error("{image} cannot be extracted to {dir}", dir = dir.display())]
    Extract {
        /// The image.
        image: String,
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: palan_layer::Error,
    },
    /// The layers that were named cannot be told.
    #[error(transparent)]
    Unresolved(#[from] crate::select::Unresolved),
    /// The manifest's family cannot hold a layer.
    #[error("{image} is a {family} image and cannot hold the layer {layer} of type {media_type}")]
    Family {
        /// The image.
        image: String,
        /// Its family.
        family: palan_core::Family,
        /// The layer.
        layer: Digest,
        /// The layer's media type.
        media_type: String,
    },
    /// A family of media types has no way to say what an image says.
    #[error("{image} cannot be {family}: {}", what.join("; "))]
    Inexpressible {
        /// The image or index.
        image: String,
        /// The family.
        family: palan_core::Family,
        /// What it has no way to say, one sentence each.
        what: Vec<String>,
    },
    /// An index was to be left without images.
    #[error("nothing would be left of {image}")]
    NothingLeft {
        /// The index.
        image: String,
    },
    /// Others are writing to a place that is to be had alone.
    #[error("{place} is being written to by somebody else")]
    Busy {
        /// The place.
        place: String,
    },
    /// Content was to be written under the digest of other content.
    #[error("cannot write {digest} as {location}")]
    OtherDigest {
        /// Where it was to go.
        location: String,
        /// Digest of the content.
        digest: Digest,
    },
    /// A tag points to something else than when it was read.
    #[error("{reference} was moved by somebody else meanwhile: expected {expected}, found {found}")]
    Moved {
        /// The tag.
        reference: String,
        /// What it pointed to.
        expected: Digest,
        /// What it points to now.
        found: String,
    },
    /// A tag exists that was not to be replaced.
    #[error("{reference} exists ({found})")]
    Exists {
        /// The tag.
        reference: String,
        /// What it stands for.
        found: String,
    },
    /// An index lists an attestation that the place does not have, as some mirrors do.
    #[error("{place} lists the attestation {digest} and does not have it")]
    NoAttestation {
        /// Its digest.
        digest: Digest,
        /// The place.
        place: String,
    },
    /// A place does not take a document, and the reason is most likely a media type that it does not know.
    #[error("{place} refuses {document}, whose config is of type {media_type}")]
    MediaTypeRefused {
        /// The document's digest.
        document: Digest,
        /// The media type.
        media_type: palan_core::MediaType,
        /// The place.
        place: String,
        /// Its answer.
        source: Box<palan_client::Error>,
    },
    /// A registry that cannot delete tags.
    #[error("{place} cannot delete the tag {tag} alone")]
    NoTagDelete {
        /// The tag.
        tag: String,
        /// The repository.
        place: String,
        /// Its answer.
        source: Box<palan_client::Error>,
    },
    /// Something that palan cannot do yet.
    #[error("not supported yet: {0}")]
    Unsupported(String),
    /// A task of this process was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether something was simply not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::NoAttestation { .. } => true,
            Self::Client(e) => e.is_not_found(),
            Self::Before(e) => e.is_not_found(),
            _ => false,
        }
    }

    /// The error with its causes, in one line.
    pub(crate) fn in_full(&self) -> String {
        let mut out = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !out.ends_with(&text) {
                out = format!("{out}: {text}");
            }
            next = cause.source();
        }
        out
    }

    /// What went wrong with a layer, or with this machine: the layer's temporary file could not be written.
    pub(crate) fn or_of_machine(self) -> Self {
        use palan_layer::Error::Temporary;
        match self {
            Self::Layer { source: Temporary { folder, source }, .. }
            | Self::Append { source: Temporary { folder, source }, .. }
            | Self::NoFileSystem { source: Temporary { folder, source }, .. } => {
                Self::io(UNWRITTEN, folder)(source)
            }
            error => error,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn at_layer(layer: Option<&Digest>) -> String {
    layer.map_or_else(String::new, |digest| format!(": layer {digest}"))
}
