//! Layers on this machine, uncompressed, to be merged: each downloaded, inflated and checked once, in one pass.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Role};
use palan_layer::{
    Spooled,
    codec::{self, Original},
    merge::{Index, Merge, Merged},
    spool_expecting,
};

use crate::{
    Error, Event, Transfer,
    cancel::on_thread,
    copy::Options,
    place::{Source, Temporary, open_announced, with_reader},
};

/// Larger than most files of an image, small enough to be thrown away where entries are not in order.
const READ_AHEAD: usize = 64 * 1024;

/// The layers of an image, in temporary files that are gone with it.
pub(crate) struct Spool {
    /// Whose layers they are, for messages.
    image: String,
    layers: Vec<Layer>,
    /// Numbers of these, the lowest layer's first: a layer may be there twice.
    order: Vec<u32>,
}

impl Spool {
    /// Reads layers, several at the same time. `diff_ids`: of as many layers, where they are known. `keeps_blobs`: they are
    /// for [`pack_merged`](palan_layer::pack_merged). The bound on a layer's size is one on all of them together, too.
    pub(crate) async fn read(
        source: &dyn Source,
        image: &str,
        layers: &[Descriptor],
        diff_ids: Option<&[Digest]>,
        keeps_blobs: bool,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut known = HashMap::new();
        let held = Arc::new(AtomicU64::new(0));
        let (mut order, mut reading) = (Vec::new(), Vec::new());
        for (number, layer) in layers.iter().enumerate() {
            let diff_id = diff_ids.and_then(|ids| ids.get(number)).copied();
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            order.push(*known.entry((layer.digest, diff_id)).or_insert_with(|| {
                reading.push(one(source, layer, diff_id, keeps_blobs, &held, options));
                next
            }));
        }
        let layers = stream::iter(reading).buffered(options.jobs.max(1)).try_collect().await?;
        Ok(Self { image: image.to_owned(), layers, order })
    }

    /// Stacks the layers. Does no I/O, but takes a while.
    pub(crate) fn merge(self, mut merge: Merge) -> Result<Stacked, Error> {
        self.stack(&mut merge)?;
        self.finish(merge)
    }

    /// Stacks the layers on others.
    pub(crate) fn stack(&self, merge: &mut Merge) -> Result<(), Error> {
        self.push(merge, 0)
    }

    fn push(&self, merge: &mut Merge, first: u32) -> Result<(), Error> {
        for number in &self.order {
            let pushed = merge.push(first + number, &self.layers[*number as usize].index);
            pushed.map_err(|source| self.unfit(*number, source))?;
        }
        Ok(())
    }

    /// Adds the files of layers that stay below, stacked; they get numbers of their own.
    pub(crate) fn add_below(&mut self, below: Self) -> Result<Merge, Error> {
        let mut merge = Merge::whole();
        below.push(&mut merge, u32::try_from(self.layers.len()).unwrap_or(u32::MAX))?;
        self.layers.extend(below.layers);
        Ok(merge)
    }

    fn unfit(&self, layer: u32, source: palan_layer::Error) -> Error {
        let layer = self.layers.get(layer as usize).map(|layer| layer.digest);
        Error::NoFileSystem { image: self.image.clone(), layer, source }
    }

    /// What stacked layers became.
    pub(crate) fn finish(self, merge: Merge) -> Result<Stacked, Error> {
        let merged = merge.finish().map_err(|misfit| self.unfit(misfit.layer, misfit.source))?;
        let files = self
            .layers
            .into_iter()
            .map(|Layer { archive, original, .. }| (BufReader::with_capacity(READ_AHEAD, archive), original));
        let (archives, originals): (_, Vec<_>) = files.unzip();
        Ok(Stacked { merged, archives, originals: originals.into() })
    }
}

/// Layers stacked, ready to be written.
pub(crate) struct Stacked {
    pub(crate) merged: Merged,
    pub(crate) archives: Vec<BufReader<File>>,
    pub(crate) originals: Arc<[Option<Original>]>,
}

impl Stacked {
    /// Deletes the files, on a thread of its own: that takes a while for large ones, and nothing depends on it.
    pub(crate) fn release(self) {
        drop(on_thread(move || drop(self)));
    }
}

/// A layer that was read.
struct Layer {
    /// As stored.
    digest: Digest,
    archive: File,
    /// Its blob, if that is worth keeping parts of.
    original: Option<Original>,
    index: Index,
}

/// The file of one layer, and how much all of them hold.
struct Bounded<'a> {
    file: Temporary<'a, &'a File>,
    held: &'a AtomicU64,
    limit: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let held = self.held.fetch_add(written as u64, Relaxed) + written as u64;
        if held > self.limit {
            let what = "uncompressed bytes, together with the image's other layers";
            return Err(palan_layer::Error::Limit { what, limit: self.limit, spot: None }.into());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

async fn one(
    source: &dyn Source,
    layer: &Descriptor,
    diff_id: Option<Digest>,
    keeps_blob: bool,
    held: &Arc<AtomicU64>,
    options: &Options,
) -> Result<Layer, Error> {
    if matches!(layer.media_type.role(), Role::Layer { foreign: true, .. }) && !source.has(layer).await? {
        return Err(Error::NotHere { digest: layer.digest, place: source.name() });
    }
    let content = open_announced(source, layer, &options.observer).await?;
    let (expected, limits) = (content.expected(layer), options.limits);
    let (scratch, digest, held) = (options.scratch.clone(), layer.digest, Arc::clone(held));
    let read = move |reader: &mut _| {
        let file = || scratch.file().map_err(Error::io("create a file in", scratch.path()));
        let (archive, blob) = (file()?, keeps_blob.then(file).transpose()?);
        let spooled = || {
            let temporary = |file| Temporary { file, folder: scratch.path() };
            let mut kept = blob.as_ref().map(temporary);
            let kept = kept.as_mut().map(|blob| blob as &mut dyn Write);
            let bounded = Bounded { file: temporary(&archive), held: &held, limit: limits.raw_size };
            let Spooled { scan, index, blocks } =
                spool_expecting(reader, &expected, diff_id, &limits, bounded, kept)?;
            let original = match (blob, blocks) {
                (Some(blob), Some(blocks)) => Original::new(blob, blocks, &archive)?,
                _ => None,
            };
            Ok((scan.compression, Layer { digest, archive, original, index }))
        };
        Ok::<_, Error>(spooled())
    };
    let spooled = with_reader(content, read).await??;
    let unreadable = |e| Error::Layer { digest: layer.digest, place: source.name(), source: e };
    let (compression, read) = spooled.map_err(unreadable).map_err(Error::or_of_machine)?;
    // Its content is known by its diff ID; what it is called does not change that.
    if let Err(wrong) = codec::check(&layer.media_type, compression) {
        let text = format!("layer {} of {}: {wrong}; it was read all the same", layer.digest, source.name());
        options.observer.emit(&Event::Note { text });
    }
    options.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Moved });
    Ok(read)
}
