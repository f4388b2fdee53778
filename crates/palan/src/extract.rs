//! Extract: the files of an image, as a container sees them, in a directory.
//!
//! This is [`export`](mod@crate::export) into [`palan_layer::extract`]: what is refused, restored and told is said there.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use palan_core::{Document, view};
use palan_layer::{
    extract::{Options as How, Report, SUPPORTED, Stage},
    merge::Written,
};

use crate::{
    Error,
    cancel::{Cancelled, cancel, on_thread},
    copy::Options,
    export::{Exported, export, is_blob},
    image,
    place::Source,
};

/// What was extracted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extracted {
    /// Number of layers.
    pub layers: usize,
    /// The archive that would have been exported.
    pub written: Written,
    /// What became of its entries.
    pub report: Report,
}

/// Puts the files of the image of a manifest into `dir`, which does not exist yet or is empty.
///
/// Each layer is read once, several at the same time, into temporary files. After an error, or when it is dropped, there is
/// no directory that was not there before, and an empty one is empty. Fails on systems other than Linux.
pub async fn extract(
    source: &dyn Source,
    manifest: &Document,
    dir: &Path,
    how: &How,
    options: &Options,
) -> Result<Extracted, Error> {
    if !SUPPORTED {
        return Err(Error::Unsupported("extraction to a directory, on this system".to_owned()));
    }
    let view: view::Manifest = image::parsed(source, manifest)?;
    let image = format!("{}@{}", source.name(), manifest.digest());
    if is_blob(&view) {
        let found = "an artifact of one blob".to_owned();
        return Err(Error::WrongKind { image, found, wanted: "a container image" });
    }
    let failed = |source: palan_layer::Error| {
        let source = source.of_merged();
        Error::Extract { image: image.clone(), dir: dir.to_owned(), source }
    };
    let stage = Stage::create(dir, how).map_err(failed)?;
    options.scratch.note(&stage.path()).map_err(|e| failed(e.into()))?;
    let (_cancel, cancelled) = cancel();
    let (writer, reader) = pipe(cancelled);
    // Ends when the writer is dropped, and takes along what it made.
    let extracting = on_thread(move || stage.extract(reader));
    let exported = export(source, manifest, writer, options).await;
    let report = extracting.await?;
    match (exported, report) {
        // The writer fails when nobody reads any more.
        (Err(Error::Output(_)), Err(e)) => Err(failed(e)),
        (Err(e), _) => Err(e),
        (Ok(_), Err(e)) => Err(failed(e)),
        (Ok(Exported::Files { layers, written }), Ok(report)) => Ok(Extracted { layers, written, report }),
        (Ok(Exported::Blob { .. }), Ok(_)) => Err(Error::Cancelled),
    }
}

/// Pieces this large are taken from memory that is there already.
const PIECE: usize = 64 * 1024;

/// From a thread that writes to one that reads, a few pieces ahead. The reader sees an end when the writer is gone; whether
/// it was the right one, the archive tells.
fn pipe(cancelled: Cancelled) -> (Sender, Pieces) {
    let (sender, receiver) = sync_channel(8);
    (Sender(sender), Pieces { receiver, piece: Vec::new(), at: 0, cancelled })
}

struct Sender(SyncSender<Vec<u8>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        self.0.send(piece.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Pieces {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    cancelled: Cancelled,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.cancelled.check()?;
        while self.at == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let n = out.len().min(self.piece.len() - self.at);
        out[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
