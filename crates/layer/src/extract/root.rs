//! Directories below a directory, opened so that the kernel follows no link.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};

/// Paths are given to the kernel in pieces shorter than this; it takes no longer ones than 4096 bytes.
const PIECE: usize = 4000;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory that is extracted to.
pub(super) struct Root {
    fd: OwnedFd,
    resolver: Resolver,
    /// What was opened last, and its path.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// How a path is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resolver {
    /// In one call, which refuses links and whatever leads upwards (Linux 5.6).
    Openat2,
    /// One component after the other, none of which may be a link.
    Walk,
}

impl Root {
    /// `walk`: without `openat2`, even if the kernel has it.
    pub(super) fn new(fd: OwnedFd, walk: bool) -> Self {
        // Where it is not known, or forbidden by a filter of system calls, it is not used.
        let resolver = match !walk && resolve(fd.as_fd(), b".").is_ok() {
            true => Resolver::Openat2,
            false => Resolver::Walk,
        };
        Self { fd, resolver, last: None }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The directory at a [`Name`](super::names::Name); what was opened last is kept for the next call.
    pub(super) fn dir(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.fd.as_fd());
        }
        let is_last = self.last.as_ref().is_some_and(|(last, _)| last == path);
        if !is_last {
            let below = self.last.as_ref().and_then(|(last, fd)| {
                let rest = path.strip_prefix(last.as_slice())?.strip_prefix(b"/")?;
                Some((fd, rest))
            });
            let (from, rest) = below.unwrap_or((&self.fd, path));
            let fd = self.open(from.as_fd(), rest)?;
            self.last = Some((path.to_vec(), fd));
        }
        Ok(self.last.as_ref().map_or(self.fd.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn open(&self, from: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
        let longest = if self.resolver == Resolver::Walk { 0 } else { PIECE };
        let (mut opened, mut rest): (Option<OwnedFd>, _) = (None, path);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece(rest, longest));
            let from = opened.as_ref().map_or(from, AsFd::as_fd);
            opened = Some(match self.resolver {
                Resolver::Openat2 => resolve(from, piece)?,
                Resolver::Walk => openat(from, piece, DIRECTORY, Mode::empty())?,
            });
            rest = after.strip_prefix(b"/").unwrap_or(after);
        }
        opened.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn resolve(from: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(from, path, DIRECTORY, Mode::empty(), how)?)
}

/// Length of the first components of a path, together at most `longest` bytes, but at least one component.
fn piece(path: &[u8], longest: usize) -> usize {
    if path.len() <= longest {
        return path.len();
    }
    let within = path[..longest.min(path.len())].iter().rposition(|b| *b == b'/');
    let first = || path.iter().position(|b| *b == b'/').unwrap_or(path.len());
    within.filter(|at| *at > 0).unwrap_or_else(first)
}
