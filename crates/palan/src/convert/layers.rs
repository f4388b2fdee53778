//! Layers stored otherwise: other compression, other digests, the same content.

use std::{
    io::BufWriter,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::StreamExt as _;
use palan_core::{Algorithm, Compression, Descriptor, Digest};
use palan_layer::{HashingWriter, Level, Limits, Packing, pack_layer};
use tokio::sync::Semaphore;

use crate::{
    Error, Event, Observer, Transfer,
    copy::Options,
    once::Once,
    place::{BlobStream, Layout, Source, with_reader},
};

/// Stores layers in a temporary layout, each once, some at the same time.
pub(super) struct Repacker {
    source: Arc<dyn Source>,
    spool: Arc<Layout>,
    permits: Semaphore,
    observer: Observer,
    done: Once<Digest, Repacked>,
    digests: Mutex<Vec<Digest>>,
}

/// A layer as it is stored now.
pub(super) struct Repacked {
    pub(super) digest: Digest,
    /// In bytes, as stored.
    pub(super) size: u64,
    pub(super) compression: Compression,
    diff_id: Digest,
}

/// How a layer is to be stored.
#[derive(Clone, Copy)]
pub(super) struct Storage {
    /// `None`: as it is.
    pub(super) compression: Option<Compression>,
    pub(super) level: Level,
    pub(super) algorithm: Algorithm,
}

impl Repacker {
    pub(super) fn new(source: Arc<dyn Source>, spool: Arc<Layout>, options: &Options) -> Self {
        Self {
            source,
            spool,
            permits: Semaphore::new(options.jobs.max(1)),
            observer: options.observer.clone(),
            done: Once::default(),
            digests: Mutex::default(),
        }
    }

    /// Reads a layer once and stores it. Its uncompressed content must have the digest `diff_id`.
    pub(super) async fn repack(
        &self,
        layer: &Descriptor,
        diff_id: Digest,
        storage: Storage,
    ) -> Result<Arc<Repacked>, Error> {
        let repacked = self.done.get(layer.digest, || self.store(layer, storage)).await?;
        if repacked.diff_id != diff_id {
            let source = palan_layer::Error::DiffId { expected: diff_id, found: repacked.diff_id };
            return Err(Error::Layer { digest: layer.digest, place: self.source.name(), source });
        }
        Ok(repacked)
    }

    async fn store(&self, layer: &Descriptor, storage: Storage) -> Result<Repacked, Error> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::Cancelled)?;
        self.observer.emit(&Event::BlobStarted { blob: layer });
        let content = self.watched(self.source.open(layer, 0).await?, layer.digest);
        let (spool, digest, place) = (Arc::clone(&self.spool), layer.digest, self.source.name());
        let work = move |reader: &mut _| {
            let unreadable = |source| Error::Layer { digest, place, source };
            let mut file =
                tempfile::NamedTempFile::new_in(spool.path()).map_err(Error::io("write in", spool.path()))?;
            let mut sink = HashingWriter::new(BufWriter::new(&mut file), storage.algorithm);
            let packed = pack_layer(reader, &packing(storage), &mut sink).map_err(unreadable)?;
            let (digest, size, writer) = sink.finish();
            drop(writer);
            spool.take(file, digest)?;
            let (compression, diff_id) = (packed.compression, packed.diff_id);
            Ok::<_, Error>(Repacked { digest, size, compression, diff_id })
        };
        let repacked = with_reader(content, work).await??;
        self.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Moved });
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).push(repacked.digest);
        Ok(repacked)
    }

    fn watched(&self, content: BlobStream, digest: Digest) -> BlobStream {
        let observer = self.observer.clone();
        Box::pin(content.inspect(move |piece| {
            if let Ok(piece) = piece {
                observer.emit(&Event::BlobProgress { digest, bytes: piece.len() as u64 });
            }
        }))
    }

    /// What was stored so far.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn packing(storage: Storage) -> Packing {
    let keep = match storage.compression {
        Some(_) => Vec::new(),
        None => vec![Compression::None, Compression::Gzip, Compression::Zstd],
    };
    let compression = storage.compression.unwrap_or(Compression::None);
    // What is in an image already is taken as it is, with or without end marker.
    Packing { level: storage.level, keep, limits: Limits::default(), ..Packing::new(compression) }
}
