//! Names in an archive, and what is at them.

use std::{fmt, os::fd::BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::EntryPath;

/// A path below the directory: without empty, `.` and `..` components, without slashes at either end. The directory
/// itself is empty.
pub(super) type Name = Vec<u8>;

/// The path that an entry names, literally; or why there is none.
pub(super) fn name(path: &[u8]) -> Result<Name, &'static str> {
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        if part == b".." {
            return Err("it has '..' on its way, and nothing is extracted to where that leads");
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    if out.contains(&0) { Err("it has a NUL byte") } else { Ok(out) }
}

/// The directory that a path is in, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// A path and everything that it is in, outermost first, without the directory itself.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    ends.chain((!path.is_empty()).then_some(path.len())).map(|end| &path[..end])
}

/// Why there is no room for `name` in a directory.
pub(super) fn occupied(dir: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> String {
    let shown = EntryPath::from(path);
    let Ok(there) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return format!("{shown} is there already");
    };
    match other_spelling(dir, name, there.st_ino) {
        Some(other) => {
            let (parent, _) = split(path);
            let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
            let other = EntryPath::from(&[parent, slash, &other].concat());
            format!("{shown} and {other} are the same name on this file system")
        }
        None => format!("{shown} is there already, as {}", Kind(FileType::from_raw_mode(there.st_mode))),
    }
}

/// Under which name something is, where that is not `name` itself.
pub(super) fn other_spelling(dir: BorrowedFd<'_>, name: &[u8], ino: u64) -> Option<Vec<u8>> {
    let mut other = None;
    for entry in Dir::read_from(dir).ok()? {
        let entry = entry.ok()?;
        match entry.file_name().to_bytes() {
            found if found == name => return None,
            found if entry.ino() == ino => other = Some(found.to_vec()),
            _ => {}
        }
    }
    other
}

struct Kind(FileType);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            FileType::Symlink => "a symbolic link, and nothing is extracted through those",
            FileType::Directory => "a directory",
            FileType::RegularFile => "a file",
            _ => "a device or pipe",
        })
    }
}
