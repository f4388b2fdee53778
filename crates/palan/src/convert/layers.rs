//! Layers stored otherwise: other compression, other digests, the same content.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Algorithm, Compression, Descriptor, Digest};
use palan_layer::{HashingWriter, Level, Limits, Packing, pack_layer};

use crate::{
    Error, Event, Transfer,
    copy::Options,
    place::{Layout, Source, open_announced, with_reader},
    rewrite::Content,
};

/// A layer that is to be stored otherwise.
pub(super) struct Wanted {
    pub(super) layer: Descriptor,
    /// What the digest of its uncompressed content must be.
    pub(super) diff_id: Digest,
    pub(super) storage: Storage,
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

/// Stores layers in a temporary layout, each once, some at the same time; gives what each became, by its old digest.
///
/// Fails with [`Error::Layer`] where the uncompressed content of one has not the digest that it must have.
pub(super) async fn repack_all(
    source: &Arc<dyn Source>,
    wanted: Vec<Wanted>,
    options: &Options,
) -> Result<(HashMap<Digest, Repacked>, Content), Error> {
    let spool = Arc::new(Layout::in_temporary_folder(&options.scratch)?);
    let repacker = Repacker { source: source.as_ref(), spool: Arc::clone(&spool), options };
    let mut seen = HashSet::new();
    let each_once: Vec<&Wanted> = wanted.iter().filter(|w| seen.insert(w.layer.digest)).collect();
    let work = each_once
        .into_iter()
        .map(|w| async { Ok::<_, Error>((w.layer.digest, repacker.store(&w.layer, w.storage).await?)) });
    let repacked: HashMap<_, _> =
        stream::iter(work).buffer_unordered(options.jobs.max(1)).try_collect().await?;
    for Wanted { layer, diff_id, .. } in &wanted {
        let Some(found) = repacked.get(&layer.digest).map(|r| r.diff_id).filter(|found| found != diff_id)
        else {
            continue;
        };
        let source_error = palan_layer::Error::DiffId { expected: *diff_id, found };
        return Err(Error::Layer { digest: layer.digest, place: source.name(), source: source_error });
    }
    let digests = repacked.values().map(|repacked| repacked.digest).collect();
    Ok((repacked, Content { digests, source: spool }))
}

struct Repacker<'a> {
    source: &'a dyn Source,
    spool: Arc<Layout>,
    options: &'a Options,
}

impl Repacker<'_> {
    async fn store(&self, layer: &Descriptor, storage: Storage) -> Result<Repacked, Error> {
        let content = open_announced(self.source, layer, &self.options.observer).await?;
        let packing = packing(storage, &self.options.limits);
        let (spool, digest, place) = (Arc::clone(&self.spool), layer.digest, self.source.name());
        let work = move |reader: &mut _| {
            let unreadable = |source| Error::Layer { digest, place, source };
            spool.write_blob(|out| {
                let mut sink = HashingWriter::new(out, storage.algorithm);
                let packed = pack_layer(reader, &packing, &mut sink).map_err(unreadable)?;
                let (digest, size, _) = sink.finish();
                let (compression, diff_id) = (packed.compression, packed.diff_id);
                Ok((digest, Repacked { digest, size, compression, diff_id }))
            })
        };
        let repacked = with_reader(content, work).await??;
        self.options.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Moved });
        Ok(repacked)
    }
}

fn packing(storage: Storage, limits: &Limits) -> Packing {
    let keep = match storage.compression {
        Some(_) => Vec::new(),
        None => vec![Compression::None, Compression::Gzip, Compression::Zstd],
    };
    let compression = storage.compression.unwrap_or(Compression::None);
    // What is in an image already is taken as it is, with or without end marker.
    Packing { level: storage.level, keep, limits: *limits, ..Packing::new(compression) }
}
