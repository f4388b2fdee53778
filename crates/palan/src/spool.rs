//! Layers on this machine, uncompressed, to be merged: each downloaded, inflated and checked once, in one pass.

use std::{collections::HashMap, fs::File, io::BufReader};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use palan_core::{Descriptor, Digest, Role};
use palan_layer::{
    Limits,
    merge::{Index, Merge, Merged},
    spool_expecting,
};

use crate::{
    Error, Event, Transfer,
    copy::Options,
    place::{Source, open_announced, with_reader},
};

/// Larger than most files of an image, small enough to be thrown away where entries are not in order.
const READ_AHEAD: usize = 64 * 1024;

/// The layers of an image, in temporary files that are gone with it.
pub(crate) struct Spool {
    files: Vec<File>,
    indexes: Vec<Index>,
    /// Numbers of files, the lowest layer's first: a layer may be there twice.
    order: Vec<u32>,
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
        let (mut order, mut reading) = (Vec::new(), Vec::new());
        for (number, layer) in layers.iter().enumerate() {
            let diff_id = diff_ids.and_then(|ids| ids.get(number)).copied();
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            order.push(*known.entry((layer.digest, diff_id)).or_insert_with(|| {
                reading.push(one(source, layer, diff_id, options));
                next
            }));
        }
        let read: Vec<_> = stream::iter(reading).buffered(options.jobs.max(1)).try_collect().await?;
        let (files, indexes) = read.into_iter().unzip();
        Ok(Self { files, indexes, order })
    }

    /// Stacks the layers. Does no I/O, but takes a while.
    pub(crate) fn merge(self, mut merge: Merge) -> Result<Stacked, palan_layer::Error> {
        self.stack(&mut merge)?;
        self.finish(merge)
    }

    /// Stacks the layers on others.
    pub(crate) fn stack(&self, merge: &mut Merge) -> Result<(), palan_layer::Error> {
        self.order.iter().try_for_each(|number| merge.push(*number, &self.indexes[*number as usize]))
    }

    /// Adds the files of layers that stay below, stacked; they get numbers of their own.
    pub(crate) fn add_below(&mut self, below: Self) -> Result<Merge, palan_layer::Error> {
        let first = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let mut merge = Merge::whole();
        for number in &below.order {
            merge.push(first + number, &below.indexes[*number as usize])?;
        }
        self.files.extend(below.files);
        Ok(merge)
    }

    /// What stacked layers became.
    pub(crate) fn finish(self, merge: Merge) -> Result<Stacked, palan_layer::Error> {
        let archives =
            self.files.into_iter().map(|file| BufReader::with_capacity(READ_AHEAD, file)).collect();
        Ok(Stacked { merged: merge.finish()?, archives })
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
    let content = open_announced(source, layer, &options.observer).await?;
    let expected = content.expected(layer);
    let scratch = options.scratch.clone();
    let read = move |reader: &mut _| {
        let file = scratch.file().map_err(Error::io("create a file in", scratch.path()))?;
        let spooled = spool_expecting(reader, &expected, diff_id, &Limits::default(), &file);
        Ok::<_, Error>(spooled.map(|(_, index)| (file, index)))
    };
    let spooled = with_reader(content, read).await??;
    let unreadable = |e| Error::Layer { digest: layer.digest, place: source.name(), source: e };
    let spooled = spooled.map_err(unreadable)?;
    options.observer.emit(&Event::BlobDone { blob: layer, how: Transfer::Moved });
    Ok(spooled)
}
