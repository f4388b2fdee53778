//! Random access to the members of an uncompressed tar file.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use tar_core::{
    EntryType,
    builder::EntryBuilder,
    parse::{Limits, ParseEvent, Parser},
};

use crate::Error;

/// Where a member's content is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) length: u64,
}

impl Span {
    /// The content; callers have bounded the length.
    pub(super) fn read(self, path: &Path) -> Result<Vec<u8>, Error> {
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        file.seek(SeekFrom::Start(self.start)).map_err(Error::io("read", path))?;
        let mut out = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
        file.read_exact(&mut out).map_err(Error::io("read", path))?;
        Ok(out)
    }
}

enum Member {
    File(Span),
    /// The name of another member.
    Link(String),
}

/// The members of a tar file, by name.
pub(super) struct TarIndex {
    path: PathBuf,
    members: HashMap<String, Member>,
}

impl TarIndex {
    /// Reads all headers. A truncated or malformed archive is an error that names the place.
    pub(super) fn read(path: &Path, place: &str) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { place: place.to_owned(), reason };
        let io = || Error::io("read", path);
        let mut file = File::open(path).map_err(io())?;
        let length = file.metadata().map_err(io())?.len();
        let mut members = HashMap::new();
        let mut parser = Parser::new(Limits::default());
        let (mut offset, mut wanted) = (0u64, 1024usize);
        let mut window = Vec::new();
        loop {
            file.seek(SeekFrom::Start(offset)).map_err(io())?;
            window.clear();
            (&mut file).take(wanted as u64).read_to_end(&mut window).map_err(io())?;
            let event = parser.parse(&window).map_err(|e| match offset {
                0 => malformed("is no tar archive".into()),
                _ => malformed(format!("not a valid tar at byte {offset}: {e}")),
            })?;
            let (consumed, size, member) = match event {
                ParseEvent::NeedData { .. } if window.len() < wanted => {
                    // The end of the file: a tar without its two zero blocks is tolerated, as every reader does.
                    let ends = offset == length || (window.len() == 512 && window.iter().all(|b| *b == 0));
                    if ends && offset > 0 {
                        break;
                    }
                    return Err(malformed(format!(
                        "is truncated: the tar ends at byte {length} inside a header"
                    )));
                }
                ParseEvent::NeedData { min_bytes } => {
                    wanted = min_bytes.max(wanted + 512);
                    continue;
                }
                ParseEvent::End { .. } => break,
                ParseEvent::GlobalExtensions { consumed, .. } => (consumed as u64, 0, None),
                ParseEvent::SparseEntry { .. } => return Err(malformed("holds a sparse file".into())),
                ParseEvent::Entry { consumed, entry } => {
                    let start = offset + consumed as u64;
                    let name = clean(&entry.path_lossy());
                    let target = entry.link_target_lossy();
                    let member = match entry.entry_type {
                        EntryType::Symlink => target.map(|t| Member::Link(beside(&name, &t))),
                        EntryType::Link => target.map(|t| Member::Link(clean(&t))),
                        t if t.is_file() => Some(Member::File(Span { start, length: entry.size })),
                        _ => None,
                    };
                    (consumed as u64, entry.padded_size(), member.map(|m| (name, entry.size, m)))
                }
            };
            if let Some((name, content, member)) = member {
                if offset + consumed + content > length {
                    return Err(malformed(format!("is truncated inside {name}")));
                }
                members.insert(name, member);
            }
            offset += consumed + size;
            wanted = 1024;
        }
        Ok(Self { path: path.to_owned(), members })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A member's content; links are followed (old `docker save` links equal layers to each other).
    pub(super) fn get(&self, name: &str) -> Option<Span> {
        let mut name = name.to_owned();
        for _ in 0..8 {
            match self.members.get(&name)? {
                Member::File(span) => return Some(*span),
                Member::Link(target) => target.clone_into(&mut name),
            }
        }
        None
    }

    /// A small member's content.
    pub(super) fn content(&self, name: &str, place: &str) -> Result<Vec<u8>, Error> {
        let malformed = |reason| Error::Malformed { place: place.to_owned(), reason };
        let span = self.get(name).ok_or_else(|| malformed(format!("{name} is missing")))?;
        if span.length > palan_core::MAX_DOCUMENT_SIZE {
            return Err(malformed(format!("{name} has {} bytes, 4 MiB are allowed", span.length)));
        }
        span.read(&self.path)
    }

    /// The names of all members and links.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }
}

fn clean(name: &str) -> String {
    name.trim_start_matches("./").to_owned()
}

/// What a symbolic link with this target points to, seen from the folder of the link.
fn beside(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The header blocks of a regular file: reproducible, owner 0, time 0, mode 0644.
pub(super) fn member_header(name: &str, size: u64) -> Vec<u8> {
    let mut entry = EntryBuilder::new_ustar();
    entry.path(name).entry_type(EntryType::Regular);
    // Zeroes and a u64 size always fit: what ustar cannot hold goes to an extended header.
    for result in [entry.mode(0o644).map(drop), entry.size(size).map(drop)] {
        debug_assert!(result.is_ok());
    }
    for result in [entry.uid(0).map(drop), entry.gid(0).map(drop), entry.mtime(0).map(drop)] {
        debug_assert!(result.is_ok());
    }
    entry.finish_bytes()
}
