//! Layers on their way in: read once, packed, hashed both ways and spooled.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
    sync::Arc,
};

use palan_core::{Compression, Family, MediaType, Platform};
use palan_layer::{Level, Limits, Packing, codec, pack_layer, tar::End};

use tokio::sync::OnceCell;

use crate::{
    Error, Scratch,
    cancel::{Cancelled, blocking},
    place::{Ahead, Layout, Source},
    rewrite::Content,
};

/// A layer to append.
pub struct LayerSource {
    /// What to call it in history and errors.
    pub name: String,
    /// Its content.
    pub content: LayerContent,
}

/// Where a layer's content comes from.
pub enum LayerContent {
    /// A file: a tar, plain or compressed.
    File(PathBuf),
    /// A stream that can be read once: a tar, plain or compressed.
    Stream(Box<dyn Read + Send>),
    /// A directory or file to pack, [`palan_layer::tar::pack_path`].
    #[cfg(unix)]
    Tree {
        /// The directory or file.
        path: PathBuf,
        /// How, and under which path of the image.
        options: palan_layer::tar::DirOptions,
    },
}

/// A layer, packed.
#[derive(Clone)]
pub(super) struct Packed {
    pub(super) name: String,
    pub(super) packed: palan_layer::Packed,
}

/// How layers are packed, as in [`Request`](super::Request).
#[derive(Clone, Copy)]
pub(crate) struct How {
    pub(crate) compression: Compression,
    pub(crate) level: Level,
    pub(crate) recompress: bool,
    pub(crate) limits: Limits,
}

/// Packed layers and the temporary folder that they are in.
pub(crate) struct Stack {
    layers: Vec<Packed>,
    /// The layers as Windows needs them, made when the first image for Windows is met.
    windows: OnceCell<Vec<Packed>>,
    how: How,
    spool: Arc<Layout>,
}

impl Stack {
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers in the form that a platform needs.
    pub(super) async fn on(&self, platform: &Platform) -> Result<&[Packed], Error> {
        if platform.normalized().os != "windows" {
            return Ok(&self.layers);
        }
        let make = || async {
            let mut out = Vec::new();
            for layer in &self.layers {
                out.push(super::windows::repack(Arc::clone(&self.spool), layer.clone(), self.how).await?);
            }
            Ok::<_, Error>(out)
        };
        Ok(self.windows.get_or_try_init(make).await?)
    }

    /// Where the layers are.
    pub(crate) fn spool(&self) -> Arc<dyn Source> {
        self.spool.clone()
    }

    /// Waits until the layers are sent that could be sent while they were packed.
    pub(crate) async fn sent(&self) {
        self.spool.sent().await;
    }

    /// What there is to say about the layers.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.layers.iter().filter_map(|layer| unusual_end(&layer.name, &layer.packed)).collect()
    }

    /// All that was packed, for a plan to keep.
    pub(crate) fn into_content(self) -> Content {
        let all = self.layers.iter().chain(self.windows.get().into_iter().flatten());
        let digests = all.map(|layer| layer.packed.digest).collect();
        Content { digests, source: self.spool }
    }
}

/// Packs layers for the images of a family, into a temporary folder.
pub(crate) async fn pack_all(
    layers: Vec<LayerSource>,
    family: Family,
    how: How,
    scratch: &Scratch,
    ahead: Option<Ahead>,
) -> Result<Stack, Error> {
    let spool = Arc::new(Layout::in_temporary_folder(scratch)?.sending(ahead));
    let mut packed = Vec::new();
    for layer in layers {
        packed.push(pack(Arc::clone(&spool), layer, family, how).await?);
    }
    Ok(Stack { layers: packed, windows: OnceCell::new(), how, spool })
}

impl How {
    pub(super) fn packing(self, family: Family, layer: &str) -> Result<Packing, Error> {
        let mut packing = Packing::for_family(family, self.compression)
            .ok_or_else(|| no_media_type(layer, self.compression, family))?;
        packing.level = self.level;
        Ok(packing)
    }
}

fn no_media_type(layer: &str, compression: Compression, family: Family) -> Error {
    Error::NoMediaType { layer: layer.to_owned(), compression, family }
}

/// Packs a layer into the spool.
async fn pack(spool: Arc<Layout>, layer: LayerSource, family: Family, how: How) -> Result<Packed, Error> {
    let packing = how.packing(family, &layer.name)?;
    let LayerSource { name, content } = layer;
    let work = move |cancelled: &Cancelled| {
        let packed = into_spool(&spool, cancelled, |out| match content {
            LayerContent::File(path) => {
                let input = File::open(&path).map_err(Error::io("read", &path))?;
                pack_stream(&name, input, &packing, family, how, out)
            }
            LayerContent::Stream(input) => pack_stream(&name, input, &packing, family, how, out),
            #[cfg(unix)]
            LayerContent::Tree { path, options } => pack_made(&name, &packing, out, |out| {
                let mut tar = palan_layer::tar::Writer::new(out);
                palan_layer::tar::pack_path(&path, &options, &mut tar)?;
                tar.finish()?.flush().map_err(palan_layer::Error::from)
            }),
        })?;
        Ok(Packed { name, packed })
    };
    blocking(work).await
}

/// Puts what `pack` writes into the spool, as the blob that it is.
pub(super) fn into_spool(
    spool: &Layout,
    cancelled: &Cancelled,
    pack: impl FnOnce(&mut (dyn Write + Send)) -> Result<palan_layer::Packed, Error>,
) -> Result<palan_layer::Packed, Error> {
    spool.write_blob(|out| {
        let packed = pack(&mut cancelled.writer(out))?;
        Ok((packed.digest, packed))
    })
}

fn pack_stream(
    name: &str,
    input: impl Read,
    packing: &Packing,
    family: Family,
    how: How,
    out: &mut (dyn Write + Send),
) -> Result<palan_layer::Packed, Error> {
    let unusable = |source| Error::Append { name: name.to_owned(), source };
    let (found, input) = codec::sniff(input).map_err(unusable)?;
    if !how.recompress && MediaType::layer(family, found).is_none() {
        return Err(no_media_type(name, found, family));
    }
    // Go's and GNU's readers do without an end marker, and so do archives that are empty altogether.
    let lenient = Packing { limits: how.limits, ..packing.clone() };
    let packed = pack_layer(input, &lenient, out).map_err(unusable)?;
    let is_cut = packed.ending.end == End::Missing && packed.raw_size % 512 != 0;
    if is_cut && found == Compression::None {
        return Err(unusable(palan_layer::Error::TarCutOff { offset: packed.raw_size, after: None }));
    }
    Ok(packed)
}

/// What is said about an archive that has no end marker: it cannot be told from one that was cut between two entries.
fn unusual_end(name: &str, packed: &palan_layer::Packed) -> Option<String> {
    match packed.ending.end {
        End::Marker => None,
        _ if packed.raw_size == 0 => Some(format!("the layer {name} is empty")),
        End::HalfMarker | End::Missing => Some(format!(
            "the layer {name} has no end marker after its last entry: it is taken as it is, and may have been cut off there"
        )),
    }
}

/// Packs an archive that is made at the same time, by `make` on a thread of its own.
pub(super) fn pack_made(
    name: &str,
    packing: &Packing,
    out: &mut (dyn Write + Send),
    make: impl FnOnce(io::BufWriter<io::PipeWriter>) -> palan_layer::Result<()> + Send,
) -> Result<palan_layer::Packed, Error> {
    let unusable = |source| Error::Append { name: name.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(|e| unusable(e.into()))?;
    std::thread::scope(|scope| {
        let maker = scope.spawn(move || make(io::BufWriter::with_capacity(128 * 1024, writer)));
        let packed = pack_layer(reader, packing, out);
        match maker.join() {
            // Who packs has gone away, and says why.
            Ok(Err(palan_layer::Error::Io(e))) if e.kind() == io::ErrorKind::BrokenPipe => {}
            Ok(made) => made.map_err(unusable)?,
            Err(_) => return Err(Error::Cancelled),
        }
        packed.map_err(unusable)
    })
}
