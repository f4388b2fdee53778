//! A directory that was there before, to be given back as it was.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, fremovexattr, fsetxattr, fstat,
    unlinkat,
};

/// The kernel has no larger attributes, in bytes.
const LARGEST: usize = 64 * 1024;

/// How a directory was before things were moved to it.
pub(super) struct Given {
    dir: OwnedFd,
    was: Stat,
    attributes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    names: Vec<OsString>,
}

impl Given {
    /// `attributes` are those that may be set, `names` what is moved there.
    pub(super) fn new<'a>(
        dir: BorrowedFd<'_>,
        attributes: impl Iterator<Item = &'a [u8]>,
        names: Vec<OsString>,
    ) -> io::Result<Self> {
        let dir = dir.try_clone_to_owned()?;
        let was = fstat(&dir)?;
        let attributes = attributes.map(|name| (name.to_vec(), attribute(dir.as_fd(), name))).collect();
        Ok(Self { dir, was, attributes, names })
    }

    /// Owner, mode and attributes as they were, as far as that is possible.
    pub(super) fn restore(&self) {
        let (uid, gid) = (Uid::from_raw(self.was.st_uid), Gid::from_raw(self.was.st_gid));
        let _ = fchown(&self.dir, Some(uid), Some(gid));
        let _ = fchmod(&self.dir, Mode::from_raw_mode(self.was.st_mode));
        // Attributes of one's own can only be set where one may write.
        for (name, value) in &self.attributes {
            let _ = match value {
                Some(value) => fsetxattr(&self.dir, name, value, XattrFlags::empty()),
                None => fremovexattr(&self.dir, name),
            };
        }
    }

    /// Takes away what was moved there, except directories.
    pub(super) fn clear(&self) {
        for name in &self.names {
            let _ = unlinkat(&self.dir, name, AtFlags::empty());
        }
    }
}

fn attribute(dir: BorrowedFd<'_>, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; LARGEST];
    let length = fgetxattr(dir, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}
