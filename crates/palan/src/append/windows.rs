//! Layers for Windows: files are below `Files`, the registry below `Hives`.
//!
//! Source: the layers of Microsoft's images and hcsshim's `pkg/ociwclayer`. Owners are a security descriptor there; the
//! one written here makes programs runnable for everybody (owner and group are the built-in group of users).

use std::{
    borrow::Cow,
    fs::File,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use palan_layer::{
    Decoder, Packing, Result,
    tar::{Archive, Entry, Kind, Meta, Writer},
    tree::normalize,
};

use super::layers::{How, Packed, into_spool, pack_made};
use crate::{
    Error,
    cancel::{Cancelled, blocking},
    place::Layout,
};

/// PAX record of a security descriptor, in its self-relative binary form, base64.
const DESCRIPTOR: (&[u8], &[u8]) =
    (b"MSWINDOWS.rawsd", b"AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAhAgAAAQIAAAAAAAUgAAAAIQIAAA==");

/// The layer in the form that Windows needs; one that has it already stays as it is.
pub(super) async fn repack(spool: Arc<Layout>, layer: Packed, how: How) -> Result<Packed, Error> {
    let work = move |cancelled: &Cancelled| {
        let path = spool.blob_path(layer.packed.digest);
        let name = layer.name.clone();
        let unusable = |source| Error::Append { name: name.clone(), source };
        if is_in_form(&path).map_err(unusable)? {
            return Ok(layer);
        }
        let packing = Packing { level: how.level, ..Packing::new(layer.packed.compression) };
        let packed = into_spool(&spool, cancelled, |out| {
            pack_made(&name, &packing, out, |out| rewrite(open(&path)?, Writer::new(out)))
        })?;
        Ok(Packed { name: layer.name, packed })
    };
    blocking(work).await
}

fn open(path: &Path) -> Result<Archive<Decoder<File>>> {
    Ok(Archive::new(Decoder::new(File::open(path)?)?))
}

/// Whether everything is below `Files` and `Hives`.
fn is_in_form(path: &Path) -> Result<bool> {
    let mut archive = open(path)?;
    while let Some(entry) = archive.next_entry()? {
        if !matches!(clean(entry.path())?.split(|b| *b == b'/').next(), Some(b"Files" | b"Hives")) {
            return Ok(false);
        }
    }
    Ok(archive.entries() > 0)
}

fn clean(path: &[u8]) -> Result<Cow<'_, [u8]>> {
    normalize(path).ok_or_else(|| palan_layer::Error::Unwritable {
        path: path.into(),
        reason: "it has a part \"..\"".to_owned(),
    })
}

fn below_files(path: &[u8]) -> Result<Vec<u8>> {
    Ok([b"Files/", clean(path)?.as_ref()].concat())
}

fn rewrite<R: Read, W: Write>(mut from: Archive<R>, mut to: Writer<W>) -> Result<()> {
    for folder in ["Files", "Hives"] {
        to.dir(folder, &described(Meta::DIR.mode(0o555)))?;
    }
    while let Some(mut entry) = from.next_entry()? {
        if !clean(entry.path())?.is_empty() {
            rewrite_entry(&mut entry, &mut to)?;
        }
    }
    Ok(to.finish()?.flush()?)
}

fn rewrite_entry<R: Read, W: Write>(entry: &mut Entry<'_, R>, to: &mut Writer<W>) -> Result<()> {
    let path = below_files(entry.path())?;
    let meta = Meta { xattrs: entry.xattrs.clone(), ..Meta::FILE.mode(entry.mode) };
    let meta = described(meta.owner(entry.uid, entry.gid).mtime(entry.mtime));
    match entry.kind {
        Kind::File => {
            let size = entry.size;
            to.file(path, &meta, size, entry)
        }
        Kind::Dir => to.dir(path, &meta),
        Kind::Symlink => to.symlink(path, entry.link(), &meta),
        Kind::HardLink => to.hard_link(path, below_files(entry.link())?, &meta),
        kind => to.special(path, kind, &meta),
    }
}

fn described(meta: Meta) -> Meta {
    let (key, value) = DESCRIPTOR;
    Meta { records: vec![(key.to_vec(), value.to_vec())], ..meta }
}
