//! One file of an image: found through the links inside it, read, and replaced by a layer that has nothing else.

use std::{
    collections::HashSet,
    fs,
    io::{self, Seek as _, Write as _},
    path::Path,
    sync::Arc,
};

use palan_core::{Algorithm, Compression, Digest};
use palan_layer::{
    Decoder, HashingWriter, Level, Limits, Listing,
    listing::Change as Listed,
    tar::{self, Meta, WHITEOUT, Writer},
    tree::{Node, NodeKind, Tree, normalize},
};

use super::replaced;
use crate::{
    Error, Scratch,
    append::{self, History, How, LayerContent, LayerSource, Work},
    grow::Grow,
    image::Image,
    listings::Listings,
    place::{Places, Source, with_reader},
    resolve,
    rewrite::{Plan, Subject},
};

/// A path of an image, and what is there.
#[derive(Debug)]
pub struct Found {
    /// Where the file is or will be, from the root, without a slash in front: links in the path are followed.
    path: Vec<u8>,
    old: Option<Old>,
    /// What people should know.
    notes: Vec<String>,
    listings: Vec<Arc<Listing>>,
}

#[derive(Debug)]
struct Old {
    meta: Meta,
    size: u64,
    digest: Option<Digest>,
}

impl Found {
    /// Where the file is or will be, from the root, without a slash in front.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Size of the file in bytes; `None`: there is none yet.
    pub fn size(&self) -> Option<u64> {
        self.old.as_ref().map(|old| old.size)
    }

    /// Digest of the file's content, SHA-256.
    pub fn digest(&self) -> Option<Digest> {
        self.old.as_ref()?.digest
    }
}

/// A file's new content.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Where the content is, on this machine.
    pub content: &'a Path,
    /// When a file that is new was changed last, and when the layer is said to be made: seconds since 1970.
    pub time: Option<i64>,
}

/// Looks for the file that `path` leads to in an image, through all links, as a program inside would. Each layer is read
/// once, unless the listings know it.
///
/// Fails with [`Error::Inapplicable`] where no file can be at that path.
pub async fn find(
    source: &dyn Source,
    image: &Image,
    path: &[u8],
    listings: &Listings,
) -> Result<Found, Error> {
    let listings = listings.of_image(source, image, ..).await?;
    let mut tree = Tree::new();
    for (number, listing) in listings.iter().enumerate() {
        let layer = image.manifest_view.layers.get(number).map(|layer| layer.digest);
        tree.apply_listing(number, listing).map_err(|source| Error::NoFileSystem {
            image: image.name.clone(),
            layer,
            source,
        })?;
    }
    let fault = |path: &[u8], what: &str| Error::Inapplicable {
        image: image.name.clone(),
        reason: format!("{} {what}", shown(path)),
    };
    let there =
        resolve::destination(&tree, path).ok_or_else(|| fault(path, "leads through too many links"))?;
    let name = there.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.is_empty() || path.ends_with(b"/") {
        return Err(fault(path, "is a directory"));
    }
    if name.starts_with(WHITEOUT) {
        return Err(fault(&there, "would be a whiteout"));
    }
    let parents = there.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &there[..end]);
    if let Some(parent) = parents.into_iter().find(|p| tree.get(p).is_some_and(|node| !node.is_dir())) {
        return Err(fault(parent, "is no directory"));
    }
    let (old, notes) = match tree.get(&there) {
        None => (None, Vec::new()),
        Some(node) => {
            let NodeKind::File { size, digest } = node.kind else {
                return Err(fault(&there, "is no regular file"));
            };
            let notes = other_names(&tree, &there, node);
            (Some(Old { meta: meta(node), size, digest }), notes)
        }
    };
    Ok(Found { path: there, old, notes, listings })
}

/// A path from the root, on one line.
fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).trim_start_matches('/').replace(char::is_control, "?"))
}

fn meta(node: &Node) -> Meta {
    let meta = Meta::FILE.mode(node.mode).owner(node.uid, node.gid).mtime(node.mtime);
    Meta { xattrs: node.xattrs.clone(), ..meta }
}

/// A new file takes one name; the others stay names of the old one.
fn other_names(tree: &Tree, path: &[u8], node: &Node) -> Vec<String> {
    let others = tree.iter().filter(|(other, found)| *other != path && found.is_same_file(node));
    others
        .map(|(other, _)| format!("{} is another name of the old file, and keeps its content", shown(other)))
        .collect()
}

/// Writes the content of a file that was found into `out`.
///
/// Fails with [`Error::Layer`] where the layer that has it is damaged.
pub async fn read(source: &dyn Source, image: &Image, found: &Found, mut out: fs::File) -> Result<(), Error> {
    let Some(digest) = found.digest() else { return Ok(()) };
    for (layer, listing) in image.manifest_view.layers.iter().zip(&found.listings) {
        let names = names(listing, digest);
        if names.is_empty() {
            continue;
        }
        let content = source.open(layer, 0).await?;
        let done = with_reader(content, move |reader| {
            extract(reader, &names, digest, &mut out).map(|is_done| (is_done, out))
        });
        let failed = |source| Error::Layer { digest: layer.digest, place: image.name.clone(), source };
        let (is_done, file) = done.await?.map_err(failed)?;
        if is_done {
            return Ok(());
        }
        out = file;
    }
    Err(Error::NotFound { name: format!("the content {digest}"), place: image.name.clone() })
}

/// The paths of a layer that have this content.
fn names(listing: &Listing, digest: Digest) -> HashSet<Vec<u8>> {
    let has = |change: &Listed| match change {
        Listed::Put(inode) => matches!(inode.kind, NodeKind::File { digest: Some(d), .. } if d == digest),
        Listed::Link { .. } => false,
    };
    listing.changes.iter().filter(|(_, change)| has(change)).map(|(path, _)| path.to_vec()).collect()
}

/// Copies the first entry of a layer that has one of these names and this content; whether there was one.
fn extract(
    blob: impl io::Read,
    names: &HashSet<Vec<u8>>,
    digest: Digest,
    out: &mut fs::File,
) -> palan_layer::Result<bool> {
    let limits = Limits::default();
    let mut archive = tar::Archive::with_limits(Decoder::with_limits(blob, &limits)?, &limits);
    while let Some(mut entry) = archive.next_entry()? {
        let is_named = normalize(entry.path()).is_some_and(|path| names.contains(path.as_ref()));
        if entry.kind != tar::Kind::File || !is_named {
            continue;
        }
        out.rewind()?;
        out.set_len(0)?;
        let mut hashed = HashingWriter::new(&mut *out, Algorithm::Sha256);
        io::copy(&mut entry, &mut hashed)?;
        if hashed.finish().0 == digest {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replaces or adds a file of one image, which is given by the digest of its manifest, by one more layer. Mode, owner,
/// extended attributes and modification time are those of the file that is replaced; a new file has mode 0644 and belongs to root.
/// Content that is there already changes nothing.
pub async fn file(
    places: &Places,
    subject: &Subject,
    image: &Image,
    found: &Found,
    file: File<'_>,
) -> Result<Plan, Error> {
    let mut content = fs::File::open(file.content).map_err(Error::io("read", file.content))?;
    let old = found.old.as_ref();
    let meta = old.map_or_else(|| Meta::FILE.mtime(file.time.unwrap_or_default()), |old| old.meta.clone());
    let mut hashed = HashingWriter::new(io::sink(), Algorithm::Sha256);
    let size = io::copy(&mut content, &mut hashed).map_err(Error::io("read", file.content))?;
    let is_new = Some(hashed.finish().0) != found.digest();
    content.rewind().map_err(Error::io("read", file.content))?;
    let name = shown(&found.path);
    let layers = match is_new {
        true => {
            vec![LayerSource {
                name: name.clone(),
                content: archive(&found.path, &meta, size, content, places.scratch())?,
            }]
        }
        false => Vec::new(),
    };
    let how = How {
        compression: Compression::Gzip,
        level: Level::DEFAULT,
        recompress: false,
        limits: Limits::default(),
    };
    let stack = append::pack_all(layers, image.manifest.family(), how, places.scratch(), None).await?;
    let created = file.time.filter(|_| is_new).and_then(|time| jiff::Timestamp::from_second(time).ok());
    let history = History {
        created_by: Some(format!("palan edit fs {name}")),
        created: created.map(|time| time.to_string()),
        comment: None,
    };
    let work = Work { stack: &stack, history, hints: None };
    let mut plan = replaced(places, subject, image.manifest.digest(), &Grow(&work)).await?;
    if is_new {
        plan.rewritten.notes.extend(found.notes.iter().cloned());
    }
    Ok(plan.with(stack.into_content()))
}

/// An archive of one file, spooled.
fn archive(
    path: &[u8],
    meta: &Meta,
    size: u64,
    content: fs::File,
    scratch: &Scratch,
) -> Result<LayerContent, Error> {
    let unwritten = || Error::io("write in", scratch.path());
    let mut spool = scratch.file().map_err(unwritten())?;
    let failed = |source| Error::Append { name: shown(path), source };
    let mut tar = Writer::new(io::BufWriter::new(&mut spool));
    tar.file(path, meta, size, content).map_err(failed)?;
    tar.finish().map_err(failed)?.flush().map_err(unwritten())?;
    spool.rewind().map_err(unwritten())?;
    Ok(LayerContent::Stream(Box::new(spool)))
}
