//! Reading files as what they are in a place: blobs in pieces, and documents.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use palan_core::{Descriptor, Document, Kind, MAX_DOCUMENT_SIZE, MediaType};

use super::{BlobStream, verified};
use crate::Error;

/// How much of a file is read at once.
const PIECE: usize = 256 * 1024;

/// All of a file that is a document; fails where it is too large for one.
pub(super) fn read_bounded(path: &Path) -> Result<Bytes, Error> {
    let size = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > MAX_DOCUMENT_SIZE {
        let source = palan_core::DocumentError::TooLarge { size };
        return Err(Error::Document {
            name: path.display().to_string(),
            place: "the file system".into(),
            source,
        });
    }
    Ok(fs::read(path).map_err(Error::io("read", path))?.into())
}

/// The content of a file, or a part of one, in pieces.
pub(crate) fn read_file(path: PathBuf, start: u64, length: u64) -> Result<BlobStream, Error> {
    let mut file = File::open(&path).map_err(Error::io("read", &path))?;
    file.seek(SeekFrom::Start(start)).map_err(Error::io("read", &path))?;
    let state = Some((file, length));
    Ok(BlobStream::new(stream::unfold(state, move |state| {
        let path = path.clone();
        async move {
            let (mut file, left) = state.filter(|(_, left)| *left > 0)?;
            let mut piece = BytesMut::zeroed(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            match file.read(&mut piece) {
                Ok(0) => None,
                Ok(n) => {
                    piece.truncate(n);
                    Some((Ok(piece.freeze()), Some((file, left - n as u64))))
                }
                Err(e) => Some((Err(Error::io("read", path)(e)), None)),
            }
        }
    })))
}

/// Whether a file holds what a descriptor promises. What cannot be read does not.
pub(super) async fn is_content_of(file: &Path, blob: &Descriptor) -> bool {
    let Ok(content) = read_file(file.to_owned(), 0, u64::MAX) else { return false };
    let mut content = verified(String::new(), blob, content);
    while let Some(piece) = content.next().await {
        if piece.is_err() {
            return false;
        }
        // So that Ctrl-C is noticed.
        tokio::task::yield_now().await;
    }
    true
}

/// A document that is named by `entry`, or by a digest alone (then without a media type). What is neither in an index
/// nor an image's manifest or index by its own account is only a blob.
pub(super) fn parse_document(bytes: Bytes, entry: &Descriptor, place: &str) -> Result<Document, Error> {
    let name = entry.digest.to_string();
    let declared = Some(entry.media_type.clone()).filter(MediaType::is_document);
    let listed = !entry.media_type.as_str().is_empty();
    match Document::parse_with(bytes, declared, entry.digest.algorithm()) {
        Ok(document) if listed || document.kind() != Kind::Other => Ok(document),
        Ok(_) => Err(Error::NotFound { name, place: place.to_owned() }),
        Err(source) => Err(Error::Document { name, place: place.to_owned(), source }),
    }
}
