//! Layers on this machine, uncompressed, to be merged: each downloaded, inflated and checked once, in one pass.

use std::{collections::HashMap, fs::File, io::BufReader};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Role};
use palan_layer::{
    codec,
    merge::{Index, Merge, Merged},
    spool_expecting,
};

use crate::{
    Error, Event, Transfer,
    copy::Options,
    place::{BlobStream, Source, with_reader},
};

/// Larger than most files of an image, small enough to be thrown away where entries are not in order.
const READ_AHEAD: usize = 64 * 1024;

/// The layers of an image, in temporary files that are gone with it.
pub(crate) struct Spool {
    files: Vec<File>,
    indexes: Vec<Index>,
    /// Numbers of files, the lowest layer's first: a layer may be there twice.
    order: Vec<u32>,
    /// By the same numbers: the layers' digests, as stored.
    digests: Vec<Digest>,
}

impl Spool {
    /// Reads layers, several at the same time. `diff_ids`: of as many layers, where they are known.
    pub(crate) async fn read(
        source: &dyn Source,
        layers: &[Descriptor],
        diff_ids: Option<&[Digest]>,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut known = HashMap::new();
        let (mut order, mut reading, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for (number, layer) in layers.iter().enumerate() {
            let diff_id = diff_ids.and_then(|ids| ids.get(number)).copied();
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            order.push(*known.entry((layer.digest, diff_id)).or_insert_with(|| {
                reading.push(one(source, layer, diff_id, options));
                digests.push(layer.digest);
                next
            }));
        }
        let read: Vec<_> = stream::iter(reading).buffered(options.jobs.max(1)).try_collect().await?;
        let (files, indexes) = read.into_iter().unzip();
        Ok(Self { files, indexes, order, digests })
    }

    /// Stacks the layers. Does no I/O, but takes a while. Fails with [`Error::NoFileSystem`], which names `image`.
    pub(crate) fn merge(self, mut merge: Merge, image: &str) -> Result<Stacked, Error> {
        let digest = |number: u32| self.digests.get(number as usize).copied();
        let unfit =
            |layer, source| Error::NoFileSystem { image: image.to_owned(), layer: digest(layer), source };
        for number in &self.order {
            let index = &self.indexes[*number as usize];
            merge.push(*number, index).map_err(|source| unfit(*number, source))?;
        }
        let merged = merge.finish().map_err(|misfit| unfit(misfit.layer, misfit.source))?;
        let archives =
            self.files.into_iter().map(|file| BufReader::with_capacity(READ_AHEAD, file)).collect();
        Ok(Stacked { merged, archives })
    }
}

/// Layers stacked, ready to be written.
pub(crate) struct Stacked {
    pub(crate) merged: Merged,
    pub(crate) archives: Vec<BufReader<File>>,
}

async fn one(
    source: &dyn Source,
    layer: &Descriptor,
    diff_id: Option<Digest>,
    options: &Options,
) -> Result<(File, Index), Error> {
    if matches!(layer.media_type.role(), Role::Layer { foreign: true, .. }) && !source.has(layer).await? {
        return Err(Error::NotHere { digest: layer.digest, place: source.name() });
    }
    options.observer.emit(&Event::BlobStarted { blob: layer });
    let content = watched(source.open(layer, 0).await?, layer.digest, options);
    let (expected, limits) = (layer.clone(), options.limits);
    let read = move |reader: &mut _| {
        let file = tempfile::tempfile().map_err(Error::io("create a file in", std::env::temp_dir()))?;
        let spooled = spool_expecting(reader, &expected, diff_id, &limits, &file);
        Ok::<_, Error>(spooled.map(|(scan, index)| (scan.compression, file, index)))
    };
    let spooled = with_reader(content, read).await??;
    let unreadable = |e| Error::Layer { digest: layer.digest, place: source.name(), source: e };
    let (compression, file, index) = spooled.map_err(unreadable)?;
    // Its content is known by its diff ID; what it is called does not change that.
    if let Err(wrong) = codec::check(&layer.media_type, compression) {
        let text = format!("layer {} of {}: {wrong}; it was read all the same", layer.digest, source.name());
        options.observer.emit(&Event::Note { text });
    }
    options.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Moved });
    Ok((file, index))
}

/// Tells how far a blob is read.
pub(crate) fn watched(content: BlobStream, digest: Digest, options: &Options) -> BlobStream {
    let observer = options.observer.clone();
    Box::pin(content.inspect(move |piece| {
        if let Ok(piece) = piece {
            observer.emit(&Event::BlobProgress { digest, bytes: piece.len() as u64 });
        }
    }))
}
