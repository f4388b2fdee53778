//! What a registry counts, for tests and benchmarks that want to prove what was *not* sent.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::Method;

use crate::{router::Operation, sync::lock};

/// How many requests a request log keeps.
const LOG_LENGTH: usize = 100_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kinds of requests that are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RequestKind {
            $($(#[$doc])* $name,)*
        }

        impl RequestKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

kinds! {
    /// `/v2/`
    Ping,
    /// `/v2/_catalog`
    Catalog,
    /// A tag list.
    Tags,
    /// Referrers of a digest.
    Referrers,
    /// HEAD of a manifest.
    ManifestHead,
    /// GET of a manifest.
    ManifestGet,
    /// PUT of a manifest.
    ManifestPut,
    /// DELETE of a manifest or tag.
    ManifestDelete,
    /// HEAD of a blob.
    BlobHead,
    /// GET of a blob or of a part of one.
    BlobGet,
    /// DELETE of a blob.
    BlobDelete,
    /// POST that asks for a mount.
    BlobMount,
    /// POST that starts an upload, or is one.
    UploadStart,
    /// GET of an upload's state.
    UploadStatus,
    /// PATCH.
    UploadAppend,
    /// PUT that ends an upload.
    UploadFinish,
    /// DELETE of an upload.
    UploadCancel,
    /// Refused by the router: no such endpoint, method or name.
    Refused,
}

impl RequestKind {
    pub(crate) fn of(operation: &Operation, head: bool) -> Self {
        use crate::router::Start;
        match operation {
            Operation::Ping => Self::Ping,
            Operation::Catalog(_) => Self::Catalog,
            Operation::Tags(..) => Self::Tags,
            Operation::GetManifest(..) if head => Self::ManifestHead,
            Operation::GetManifest(..) => Self::ManifestGet,
            Operation::PutManifest(..) => Self::ManifestPut,
            Operation::DeleteManifest(..) => Self::ManifestDelete,
            Operation::GetBlob(..) if head => Self::BlobHead,
            Operation::GetBlob(..) => Self::BlobGet,
            Operation::DeleteBlob(..) => Self::BlobDelete,
            Operation::StartUpload(_, Start::Mount(..)) => Self::BlobMount,
            Operation::StartUpload(..) => Self::UploadStart,
            Operation::UploadStatus(..) => Self::UploadStatus,
            Operation::AppendUpload(..) => Self::UploadAppend,
            Operation::FinishUpload(..) => Self::UploadFinish,
            Operation::CancelUpload(..) => Self::UploadCancel,
            Operation::Referrers(..) => Self::Referrers,
        }
    }
}

/// Counters at one moment, since the registry was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests of all kinds, failed ones included.
    pub requests: u64,
    /// Requests answered with a status from 400 up.
    pub failed: u64,
    /// Mounts that succeeded.
    pub mounted: u64,
    /// Bytes of blobs received, whether or not they became blobs. Manifests are not counted.
    pub blob_bytes_in: u64,
    /// Bytes of blobs sent. Manifests are not counted.
    pub blob_bytes_out: u64,
    kinds: [u64; RequestKind::ALL.len()],
}

impl Stats {
    /// Requests of one kind, failed ones included.
    pub fn of(&self, kind: RequestKind) -> u64 {
        self.kinds[kind as usize]
    }

    /// What happened since `earlier`, a state of the same registry.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = u64::saturating_sub;
        Self {
            requests: less(self.requests, earlier.requests),
            failed: less(self.failed, earlier.failed),
            mounted: less(self.mounted, earlier.mounted),
            blob_bytes_in: less(self.blob_bytes_in, earlier.blob_bytes_in),
            blob_bytes_out: less(self.blob_bytes_out, earlier.blob_bytes_out),
            kinds: std::array::from_fn(|i| less(self.kinds[i], earlier.kinds[i])),
        }
    }
}

/// One request in the request log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged {
    /// The method.
    pub method: Method,
    /// Path and query as sent.
    pub target: String,
    /// The status answered.
    pub status: u16,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    failed: AtomicU64,
    mounted: AtomicU64,
    blob_bytes_in: AtomicU64,
    blob_bytes_out: AtomicU64,
    kinds: [AtomicU64; RequestKind::ALL.len()],
    log: Mutex<VecDeque<Logged>>,
}

impl Counters {
    pub(crate) fn request(&self, kind: RequestKind) {
        self.requests.fetch_add(1, Relaxed);
        self.kinds[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn mounted(&self) {
        self.mounted.fetch_add(1, Relaxed);
    }

    pub(crate) fn blob_in(&self, bytes: usize) {
        self.blob_bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn blob_out(&self, bytes: usize) {
        self.blob_bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn log(&self, entry: Logged) {
        let mut log = lock(&self.log);
        if log.len() == LOG_LENGTH {
            log.pop_front();
        }
        log.push_back(entry);
    }

    pub(crate) fn logged(&self) -> Vec<Logged> {
        lock(&self.log).iter().cloned().collect()
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            requests: self.requests.load(Relaxed),
            failed: self.failed.load(Relaxed),
            mounted: self.mounted.load(Relaxed),
            blob_bytes_in: self.blob_bytes_in.load(Relaxed),
            blob_bytes_out: self.blob_bytes_out.load(Relaxed),
            kinds: std::array::from_fn(|i| self.kinds[i].load(Relaxed)),
        }
    }
}
