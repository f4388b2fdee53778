//! Export: the files of an image, as a container sees them, in one tar archive.
//!
//! How layers are merged, and what is kept of their entries: [`palan_layer::merge`].

use std::io::{self, Write};

use palan_core::{Descriptor, Digest, Document, Role, view};
use palan_layer::{
    behind,
    merge::{Merge, Written},
};

use crate::{
    Error, Event, Transfer,
    cancel::{Cancel, Cancelled, cancel, on_thread},
    copy::Options,
    image::{self, Image},
    place::{Source, open_announced, with_reader},
    spool::Spool,
};

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exported {
    /// An archive of the files of this many layers.
    Files {
        /// Number of layers.
        layers: usize,
        /// What is in the archive.
        written: Written,
    },
    /// An artifact's only layer, which is no archive of files, as it is stored.
    Blob {
        /// The layer.
        blob: Box<Descriptor>,
    },
}

/// Writes the files of the image (or artifact) of a manifest to `out`, as an uncompressed tar archive. The same layers
/// give the same bytes.
///
/// Each layer is read once, several at the same time, into temporary files; digests and diff IDs are checked before the
/// first byte is written. An artifact whose only layer is not of a layer's media type gives that layer's bytes; those are
/// checked while they are written. After an error `out` is incomplete; [`Error::Output`] says that the error is its own.
pub async fn export(
    source: &dyn Source,
    manifest: &Document,
    out: impl Write + Send + 'static,
    options: &Options,
) -> Result<Exported, Error> {
    let view: view::Manifest = image::parsed(source, manifest)?;
    match view.layers.as_slice() {
        [blob] if is_blob(&view) => raw(source, blob, out, options).await,
        layers if view.is_image() => {
            let image = Image::load(source, manifest.clone()).await?;
            files(source, &image.name, layers, Some(&image.config_view.rootfs.diff_ids), out, options).await
        }
        layers if layers.iter().all(is_layer) => {
            let name = format!("{}@{}", source.name(), manifest.digest());
            files(source, &name, layers, None, out, options).await
        }
        layers => Err(Error::WrongKind {
            image: format!("{}@{}", source.name(), manifest.digest()),
            found: format!("an artifact of {} blobs", layers.len()),
            wanted: "a container image, or an artifact of one blob,",
        }),
    }
}

/// Whether this is an artifact whose only layer is no archive of files.
pub(crate) fn is_blob(view: &view::Manifest) -> bool {
    matches!(view.layers.as_slice(), [blob] if !is_layer(blob))
}

fn is_layer(layer: &Descriptor) -> bool {
    matches!(layer.media_type.role(), Role::Layer { .. })
}

async fn files(
    source: &dyn Source,
    image: &str,
    layers: &[Descriptor],
    diff_ids: Option<&[Digest]>,
    out: impl Write + Send + 'static,
    options: &Options,
) -> Result<Exported, Error> {
    let spool = Spool::read(source, image, layers, diff_ids, false, options).await?;
    let (mut out, _cancel) = Output::new(out);
    let image = image.to_owned();
    let work = move || {
        let mut stacked = spool.merge(Merge::whole())?;
        let written = behind(&mut out, |out| stacked.merged.write(&mut stacked.archives, out));
        stacked.release();
        out.check(written)?.map_err(|source| Error::NoFileSystem { image, layer: None, source })
    };
    let written = on_thread(work).await??;
    Ok(Exported::Files { layers: layers.len(), written })
}

async fn raw(
    source: &dyn Source,
    blob: &Descriptor,
    out: impl Write + Send + 'static,
    options: &Options,
) -> Result<Exported, Error> {
    let content = open_announced(source, blob, &options.observer).await?;
    let (mut out, _cancel) = Output::new(out);
    let copy = move |reader: &mut _| {
        let copied = io::copy(reader, &mut out).and_then(|_| out.flush());
        out.check(copied)
    };
    let unreadable =
        |e| Error::Layer { digest: blob.digest, place: source.name(), source: palan_layer::Error::from(e) };
    with_reader(content, copy).await??.map_err(unreadable)?;
    options.observer.emit(&Event::BlobDone { blob, how: Transfer::Moved });
    Ok(Exported::Blob { blob: Box::new(blob.clone()) })
}

/// A writer whose errors can be told from those of reading, and that stops when nobody waits for it any more.
struct Output<W> {
    inner: W,
    failed: Option<io::Error>,
    cancelled: Cancelled,
}

impl<W: Write> Output<W> {
    fn new(inner: W) -> (Self, Cancel) {
        let (cancel, cancelled) = cancel();
        (Self { inner, failed: None, cancelled }, cancel)
    }

    /// The result of what was written here, unless it was writing that failed.
    fn check<T>(self, result: T) -> Result<T, Error> {
        self.failed.map_or(Ok(result), |source| Err(Error::Output(source)))
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancelled.check()?;
        let result = self.inner.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.note(result)
    }
}
