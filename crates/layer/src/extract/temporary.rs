//! A new directory in one that others may change meanwhile.
//!
//! Names there lead to whatever somebody put there a moment ago. So a name is opened once, what it led to is looked at,
//! and everything else is done with descriptors.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use rustix::{
    fs::{
        AtFlags, Dir, Mode, OFlags, Stat, chmod, fchmod, fremovexattr, fstat, mkdirat, openat, statat,
        unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use super::Owners;

/// Begins the names of directories that are not finished.
const PREFIX: &str = ".palan-";

/// How many names are tried.
const TRIES: usize = 64;

const OTHERS: u32 = 0o077;
const OWN: u32 = 0o700;

/// Makes a directory for oneself, and gives its name.
pub(super) fn make(within: BorrowedFd<'_>) -> io::Result<OsString> {
    for _ in 0..TRIES {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        let name = OsString::from(format!("{PREFIX}{random}"));
        match mkdirat(within, &name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => return Ok(made.map(|()| name)?),
        }
    }
    Err(Errno::EXIST.into())
}

/// Opens what [`make`] made, and nothing else: one's own, empty, and closed to others.
///
/// Access that is inherited from the directory above is taken away, or everything inside would inherit it. Where modes
/// mean nothing to the file system, others may enter; that is refused where files get other owners.
pub(super) fn enter(within: BorrowedFd<'_>, name: &OsStr, owners: Owners) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(within, name, flags, Mode::empty())?;
    let found = fstat(&dir)?;
    if found.st_uid != geteuid().as_raw() || !names(dir.as_fd())?.is_empty() {
        return Err(io::Error::other("somebody else replaced what was made in it"));
    }
    for acl in ["system.posix_acl_default", "system.posix_acl_access"] {
        // Most file systems have none.
        let _ = fremovexattr(&dir, acl);
    }
    if found.st_mode & OTHERS != 0 && (owners == Owners::Archive || has_modes(&dir)?) {
        return Err(io::Error::other("others may enter what was made in it for nobody else"));
    }
    if found.st_mode & OWN != OWN {
        fchmod(&dir, Mode::from_raw_mode(found.st_mode & !OTHERS | OWN))?;
    }
    Ok(dir)
}

/// Whether a directory can be closed to others. One that was made so, and then can be, was opened by somebody.
fn has_modes(dir: &OwnedFd) -> io::Result<bool> {
    let _ = fchmod(dir, Mode::RWXU);
    Ok(fstat(dir)?.st_mode & OTHERS == 0)
}

/// Whether a name leads to what a descriptor is of.
pub(super) fn is_at(dir: BorrowedFd<'_>, within: BorrowedFd<'_>, name: &OsStr) -> bool {
    let found = statat(within, name, AtFlags::SYMLINK_NOFOLLOW);
    matches!((fstat(dir), found), (Ok(dir), Ok(found)) if is_same(&dir, &found))
}

pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// A directory that may be so closed that not even its owner can open it to read. Never through a link.
pub(super) fn handle(within: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(within, name, flags, Mode::empty())
}

/// Sets the mode of what a [`handle`] is of: few kernels can do this with the descriptor itself.
pub(super) fn set_mode(handle: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), mode)
}

/// What is in a directory.
pub(super) fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Takes away what is directly in a directory, as far as that is possible: all but directories with something inside.
pub(super) fn clear(dir: BorrowedFd<'_>) {
    for name in names(dir).unwrap_or_default() {
        if unlinkat(dir, &name, AtFlags::empty()).is_err() {
            let _ = unlinkat(dir, &name, AtFlags::REMOVEDIR);
        }
    }
}
