//! What merging needs to know of one layer.

use std::{collections::HashMap, io::Read};

use super::{
    key::{Key, Names},
    through::{Circle, Put, Through},
};
use crate::{
    Limits, Result,
    tar::{Archive, Ending, Entry as TarEntry, Header, Kind, OPAQUE, WHITEOUT},
};

/// Where the entries of a layer stand in its uncompressed archive, and what they do.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Paths of lower layers that whiteouts hide.
    pub(super) hidden: Vec<Key>,
    /// Directories whose content in lower layers is hidden.
    pub(super) opaque: Vec<Key>,
    pub(super) entries: Vec<Entry>,
    /// aufs's own files: not in the image, but hard links may lead to them.
    pub(super) bookkeeping: HashMap<Box<[u8]>, Place>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) what: What,
    pub(super) place: Place,
    pub(super) spelling: Spelling,
    /// Whether its name or target leads out of the root.
    pub(super) escapes: bool,
}

/// In which kinds of archive an entry's names are spelled as all are. What has a `..` is not touched: readers disagree
/// about what it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spelling {
    pub(super) path: Fits,
    /// The target of a hard link.
    pub(super) target: Fits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fits {
    plain: bool,
    dotted: bool,
}

impl Default for Fits {
    /// Everywhere.
    fn default() -> Self {
        Self { plain: true, dotted: true }
    }
}

impl Fits {
    pub(super) fn fits(self, names: Names) -> bool {
        match names {
            Names::Plain => self.plain,
            Names::Dotted => self.dotted,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Dir,
    /// Anything that is neither a directory nor a hard link.
    Content,
    /// Another name of a file.
    Link(Key),
}

/// Where an entry stands in an uncompressed archive, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// Length of all its header blocks.
    pub(super) header: u64,
    /// Length of its stored content, without padding.
    pub(super) content: u64,
}

impl Index {
    /// Reads an *uncompressed* archive to its end. Fails where it is damaged, and for whiteouts that hide no name.
    pub fn read(raw: impl Read, limits: &Limits) -> Result<Self> {
        Ok(Self::read_to_end(raw, limits)?.0)
    }

    pub(crate) fn read_to_end(raw: impl Read, limits: &Limits) -> Result<(Self, u64, Ending)> {
        let (mut index, mut through) = (Self::default(), Through::default());
        let mut archive = Archive::with_limits(raw, limits);
        while let Some(entry) = archive.next_entry()? {
            index.add(&entry, &mut through)?;
        }
        let entries = archive.entries();
        Ok((index, entries, archive.finish()?))
    }

    fn add<R: Read>(&mut self, entry: &TarEntry<'_, R>, through: &mut Through) -> Result<()> {
        let header = entry.header();
        let key = match role(entry, through)? {
            Role::Bookkeeping(key) => {
                if entry.kind == Kind::File {
                    self.bookkeeping.insert(key.bytes().into(), Place::of(header));
                }
                return Ok(());
            }
            Role::Opaque(key) => {
                self.opaque.push(key);
                return Ok(());
            }
            Role::Hidden(key) => {
                self.hidden.push(key);
                return Ok(());
            }
            Role::Entry(key) => key,
        };
        let what = match header.kind {
            Kind::Dir => What::Dir,
            Kind::HardLink => What::Link(followed(entry, header.link(), through)?),
            _ => What::Content,
        };
        let put = match &what {
            What::Dir => Put::Dir,
            What::Content if header.kind == Kind::Symlink => Put::Symlink(header.link()),
            What::Content => Put::Other,
            What::Link(target) => Put::Name(target),
        };
        through.put(&key, put);
        let (spelling, escapes) = (Spelling::of(header, &key, &what), escapes(header, &key, &what));
        self.entries.push(Entry { key, what, place: Place::of(header), spelling, escapes });
        Ok(())
    }
}

/// What an entry is there for.
enum Role {
    /// Nothing: aufs's own.
    Bookkeeping(Key),
    /// To hide what lower layers have in this directory.
    Opaque(Key),
    /// To hide what lower layers have here.
    Hidden(Key),
    Entry(Key),
}

fn role<R: Read>(entry: &TarEntry<'_, R>, through: &Through) -> Result<Role> {
    let key = followed(entry, entry.path(), through)?;
    if is_bookkeeping(&key) {
        return Ok(Role::Bookkeeping(key));
    }
    if key.name() == OPAQUE {
        return Ok(Role::Opaque(key.parent().unwrap_or_default()));
    }
    match key.name().strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err(entry.error("a whiteout that hides no name")),
        Some(hidden) => Ok(Role::Hidden(key.sibling(hidden))),
        None if key.is_root() && entry.kind != Kind::Dir => Err(entry.error("the root must be a directory")),
        None => Ok(Role::Entry(key)),
    }
}

/// What a path of an entry names, its own or that of its target.
pub(crate) fn followed<R: Read>(entry: &TarEntry<'_, R>, path: &[u8], through: &Through) -> Result<Key> {
    let followed = through.follow(Key::of(path));
    followed.map_err(|Circle| entry.error("its path leads through symbolic links in a circle"))
}

/// Whether a layer may have such an entry.
pub(crate) fn check<R: Read>(entry: &TarEntry<'_, R>) -> Result<()> {
    role(entry, &Through::default()).map(drop)
}

impl Spelling {
    fn of(header: &Header, key: &Key, what: &What) -> Self {
        let fits = |key: &Key, spelled: &[u8], is_dir| {
            let fits = |names| key.leads_upwards() || key.spelled(names, is_dir) == spelled;
            Fits { plain: fits(Names::Plain), dotted: fits(Names::Dotted) }
        };
        let target = match what {
            What::Link(target) => fits(target, header.link(), false),
            _ => Fits::default(),
        };
        Self { path: fits(key, header.path(), matches!(what, What::Dir)), target }
    }

    pub(super) fn fits(self, names: Names) -> bool {
        self.path.fits(names) && self.target.fits(names)
    }
}

impl Place {
    fn of(header: &Header) -> Self {
        Self { offset: header.offset, header: header.raw().len() as u64, content: header.stored }
    }
}

/// Whether this is aufs's own: a doubly prefixed name that is no opaque whiteout, or anything below such a name.
fn is_bookkeeping(key: &Key) -> bool {
    let own = |part: &[u8]| part.strip_prefix(WHITEOUT).is_some_and(|rest| rest.starts_with(WHITEOUT));
    let mut parents = key.parts().take(key.parts().count().saturating_sub(1));
    (own(key.name()) && key.name() != OPAQUE) || parents.any(own)
}

/// Whether a tool that takes names and targets literally would leave the root, once they are spelled as they are written.
fn escapes(header: &Header, key: &Key, what: &What) -> bool {
    let target = match what {
        What::Link(target) => target.leads_upwards(),
        What::Content if header.kind == Kind::Symlink && !header.link().starts_with(b"/") => {
            climbs(key.parts().count().saturating_sub(1), header.link())
        }
        _ => false,
    };
    key.leads_upwards() || target
}

/// Whether a relative path leaves the root from a directory of this depth.
fn climbs(mut depth: usize, path: &[u8]) -> bool {
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}
