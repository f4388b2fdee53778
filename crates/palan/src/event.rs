//! What operations tell while they run. Nothing in this crate prints: a caller passes an [`Observer`].

use std::{fmt, sync::Arc};

use palan_core::{Descriptor, Digest};

/// One thing that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The content of a blob begins to move.
    BlobStarted {
        /// The blob.
        blob: &'a Descriptor,
    },
    /// More bytes of a blob have been read from its source.
    BlobProgress {
        /// The blob.
        digest: Digest,
        /// Bytes since the last such event, as stored (compressed).
        bytes: u64,
    },
    /// A blob is at its target.
    BlobDone {
        /// The blob.
        blob: &'a Descriptor,
        /// How it came there.
        how: Transfer,
    },
    /// A manifest or index is at its target.
    DocumentDone {
        /// The document.
        document: &'a Descriptor,
        /// How it came there: [`Transfer::Moved`] or [`Transfer::Present`].
        how: Transfer,
    },
    /// Something the user should know, in one sentence.
    Note {
        /// The sentence.
        text: String,
    },
}

/// How content came to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    /// Its bytes passed through this process.
    Moved,
    /// The target took it over by itself: registry mount, hard link.
    Adopted,
    /// It was there already.
    Present,
    /// Non-distributable: only its descriptor was carried.
    Skipped,
}

/// Receives events. Cheap to clone; called from several threads.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Callback>>);

type Callback = dyn Fn(&Event<'_>) + Send + Sync;

impl Observer {
    /// Calls `f` for every event.
    pub fn new(f: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(f)))
    }

    /// Tells.
    pub fn emit(&self, event: &Event<'_>) {
        if let Some(f) = &self.0 {
            f(event);
        }
    }

    /// Tells a [`Event::Note`].
    pub fn note(&self, text: impl Into<String>) {
        self.emit(&Event::Note { text: text.into() });
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer(set)" } else { "Observer(none)" })
    }
}
