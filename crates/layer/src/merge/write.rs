//! Writing what is left into one archive.

use std::io::{self, BufRead, Seek, SeekFrom, Write};

use super::{
    Merged,
    index::Place,
    key::{Key, Names},
    stack::{Inode, Node, NodeKind},
};
use crate::{
    EntryPath, Error, Result,
    codec::filled,
    tar::{Archive, END, Kind, Meta, OPAQUE, WHITEOUT, hard_linked, header_bytes, padding, renamed},
};

/// How many names [`Written`] tells at most.
const TOLD: usize = 16;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Entries in the archive.
    pub entries: u64,
    /// Size of the archive, in bytes.
    pub size: u64,
    /// Number of entries whose names or targets lead out of the root: paths with `..`, symbolic links that climb too high.
    pub escaping: u64,
    /// The first of them.
    pub escaping_names: Vec<EntryPath>,
}

/// Where a merged archive goes.
pub trait Sink: Write {
    /// Writes bytes that stand at `offset` in the *uncompressed* archive of the layer with this number.
    fn copy(&mut self, layer: u32, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// A writer that does not mind where bytes are from.
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Sink for Plain<W> {
    fn copy(&mut self, _: u32, _: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn copy(&mut self, layer: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).copy(layer, offset, bytes)
    }
}

impl Merged {
    /// Writes the archive. `archives` are the *uncompressed* archives of the layers, by the numbers given to
    /// [`Merge::push`](super::Merge::push), each with a buffer that is best kept in [`Seek::seek_relative`].
    pub fn write<S: BufRead + Seek>(&self, archives: &mut [S], out: impl Write) -> Result<Written> {
        self.write_to(archives, Names::Plain, Plain(out))
    }

    /// As [`Merged::write`], with such names, and tells where the bytes are from.
    pub fn write_to<S: BufRead + Seek>(
        &self,
        archives: &mut [S],
        names: Names,
        out: impl Sink,
    ) -> Result<Written> {
        let heads = vec![None; self.inodes.len()];
        let layers = Layers { at: vec![None; archives.len()], archives };
        let written = Written::default();
        let mut pen = Pen { merged: self, layers, names, out, heads, written };
        for (key, node) in &self.nodes {
            pen.node(key, node)?;
        }
        pen.bytes(&END)?;
        pen.out.flush()?;
        Ok(pen.written)
    }
}

struct Pen<'a, S, W> {
    merged: &'a Merged,
    layers: Layers<'a, S>,
    names: Names,
    out: W,
    /// By inode: the first of its names that was written.
    heads: Vec<Option<&'a Key>>,
    written: Written,
}

impl<'a, S: BufRead + Seek, W: Sink> Pen<'a, S, W> {
    fn node(&mut self, key: &'a Key, node: &Node) -> Result<()> {
        match &node.kind {
            NodeKind::Implied => return Ok(()),
            NodeKind::Dir(place) => self.spell(key, node, *place, None)?,
            NodeKind::Made => self.header(&key.named(self.names), Kind::Dir, &Meta::DIR)?,
            NodeKind::Whiteout => {
                let name = [WHITEOUT, key.name()].concat();
                self.header(&key.sibling(&name).named(self.names), Kind::File, &Meta::FILE)?;
            }
            NodeKind::Opaque(dir) => {
                let mut path = dir.named(self.names);
                if !dir.is_root() {
                    path.push(b'/');
                }
                self.header(&[&path, OPAQUE].concat(), Kind::File, &Meta::FILE)?;
            }
            NodeKind::Name { inode, place, target } => {
                self.name(key, node, *inode, *place, target.as_ref())?;
            }
        }
        self.written.entries += 1;
        if node.escapes {
            self.tell(key, node)?;
        }
        Ok(())
    }

    /// Notes an entry that leads out of the root, by its name as it stands.
    fn tell(&mut self, key: &Key, node: &Node) -> Result<()> {
        self.written.escaping += 1;
        if self.written.escaping_names.len() < TOLD {
            let header = match node.kind {
                NodeKind::Dir(place) | NodeKind::Name { place, .. } => self.read_header(node.layer, place)?,
                _ => Vec::new(),
            };
            let name = path_of(&header)?.unwrap_or_else(|| key.path());
            self.written.escaping_names.push(EntryPath::from(&name));
        }
        Ok(())
    }

    /// A name of a file: the first carries the content, the others are hard links.
    fn name(
        &mut self,
        key: &'a Key,
        node: &Node,
        inode: u32,
        place: Place,
        target: Option<&Key>,
    ) -> Result<()> {
        let layer = node.layer;
        let head = self.heads.get(inode as usize).copied().flatten();
        match (head, &self.merged.inodes[inode as usize], target) {
            (None, Inode::Here { layer: at, place: content }, _) => {
                self.heads[inode as usize] = Some(key);
                match (*at, *content) == (layer, place) {
                    true => self.spell(key, node, place, None),
                    false => {
                        let header = renamed(&self.read_header(*at, *content)?, &key.named(self.names))?;
                        self.bytes(&header)?;
                        self.copy_content(*at, content.offset + content.header, content.content)
                    }
                }
            }
            (_, Inode::Below(file), Some(target)) if target == file => {
                self.spell(key, node, place, Some(target))
            }
            (_, Inode::Below(file), _) => self.link(key, layer, place, file),
            (Some(_), _, Some(target)) if self.is_written_name(target, key, inode) => {
                self.spell(key, node, place, Some(target))
            }
            (Some(head), ..) => self.link(key, layer, place, head),
        }
    }

    /// Whether a hard link may go on naming its target: a name of the same file that comes before it.
    fn is_written_name(&self, target: &Key, key: &Key, inode: u32) -> bool {
        let node = self.merged.nodes.get(target).map(|node| &node.kind);
        target < key && matches!(node, Some(NodeKind::Name { inode: other, .. }) if *other == inode)
    }

    fn link(&mut self, key: &Key, layer: u32, place: Place, target: &Key) -> Result<()> {
        let names = self.names;
        let header = hard_linked(&self.read_header(layer, place)?, &key.named(names), &target.named(names))?;
        self.bytes(&header)
    }

    fn header(&mut self, path: &[u8], kind: Kind, meta: &Meta) -> Result<()> {
        self.bytes(&header_bytes(path, kind, b"", meta, 0)?)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.written.size += bytes.len() as u64;
        Ok(self.out.write_all(bytes)?)
    }

    /// An entry as it is, but for names that are spelled otherwise. `target`: what it names, where it is a hard link.
    fn spell(&mut self, key: &Key, node: &Node, place: Place, target: Option<&Key>) -> Result<()> {
        if node.spelling.fits(self.names) {
            return self.copy(node.layer, place);
        }
        let old = self.read_header(node.layer, place)?;
        let path = match node.spelling.path.fits(self.names) {
            true => path_of(&old)?.unwrap_or_else(|| key.path()),
            false => key.spelled(self.names, matches!(node.kind, NodeKind::Dir(_))),
        };
        let new = match target.filter(|_| !node.spelling.target.fits(self.names)) {
            Some(target) => hard_linked(&old, &path, &target.named(self.names)),
            None => renamed(&old, &path),
        };
        match new {
            Ok(new) => {
                self.bytes(&new)?;
                self.copy_content(node.layer, place.offset + place.header, place.content)
            }
            // Headers that only a reader makes sense of stay what they are.
            Err(Error::Unwritable { .. }) => self.copy(node.layer, place),
            Err(error) => Err(error),
        }
    }

    /// An entry as it is.
    fn copy(&mut self, layer: u32, place: Place) -> Result<()> {
        self.copy_content(layer, place.offset, place.header + place.content)
    }

    /// Bytes up to the end of an entry, and its padding, which some archives leave out at their end.
    fn copy_content(&mut self, layer: u32, offset: u64, length: u64) -> Result<()> {
        let copied = self.copy_bytes(layer, offset, length)?;
        if copied < length {
            return Err(cut_off(offset + copied));
        }
        let padding = padding(length);
        let copied = self.copy_bytes(layer, offset + length, padding.len() as u64)?;
        self.bytes(&padding[usize::try_from(copied).unwrap_or(padding.len())..])
    }

    /// Copies as many bytes as there are, at most `length`.
    fn copy_bytes(&mut self, layer: u32, offset: u64, length: u64) -> Result<u64> {
        let mut done = 0;
        while done < length {
            let bytes = self.layers.read(layer, offset + done, length - done)?;
            let n = bytes.len();
            if n == 0 {
                break;
            }
            self.out.copy(layer, offset + done, bytes)?;
            self.layers.consume(layer, n);
            self.written.size += n as u64;
            done += n as u64;
        }
        Ok(done)
    }

    fn read_header(&mut self, layer: u32, place: Place) -> Result<Vec<u8>> {
        let (mut at, end) = (place.offset, place.offset + place.header);
        let mut header = Vec::new();
        while at < end {
            let bytes = self.layers.read(layer, at, end - at)?;
            let n = bytes.len();
            if n == 0 {
                return Err(cut_off(at));
            }
            header.extend_from_slice(bytes);
            self.layers.consume(layer, n);
            at += n as u64;
        }
        Ok(header)
    }
}

/// The archives, and where they are read next, where that is known.
struct Layers<'a, S> {
    archives: &'a mut [S],
    at: Vec<Option<u64>>,
}

impl<S: BufRead + Seek> Layers<'_, S> {
    /// Some bytes, at most `length`, to be [consumed](Layers::consume); none at the end of the archive.
    fn read(&mut self, layer: u32, offset: u64, length: u64) -> Result<&[u8]> {
        let (archive, at) = (&mut self.archives[layer as usize], &mut self.at[layer as usize]);
        match *at {
            Some(at) if at == offset => {}
            Some(at) => archive.seek_relative(offset.cast_signed() - at.cast_signed())?,
            None => drop(archive.seek(SeekFrom::Start(offset))?),
        }
        *at = Some(offset);
        let bytes = filled(archive)?;
        Ok(&bytes[..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, layer: u32, n: usize) {
        self.archives[layer as usize].consume(n);
        if let Some(at) = &mut self.at[layer as usize] {
            *at += n as u64;
        }
    }
}

/// It is not the archive that was indexed.
fn cut_off(offset: u64) -> Error {
    Error::TarCutOff { offset, after: None }
}

/// The path of the entry that these header blocks begin, as it stands.
fn path_of(header: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(Archive::new(header).next_entry()?.map(|entry| entry.path().to_vec()))
}
