//! Owner, mode, attributes and time of what was extracted.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::{self, Errno},
    process::{getegid, geteuid},
};

use super::{Lost, Owners, Report};
use crate::{EntryPath, Error, Result, tar::Header};

/// What an entry says about itself, to be kept until its turn.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) mode: u32,
    owner: (u64, u64),
    time: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    has_other_attributes: bool,
    is_implied: bool,
}

/// What metadata is for.
pub(super) enum Object<'a> {
    Open(BorrowedFd<'a>),
    /// A link or device, which cannot be opened, by the directory that it is in.
    Named {
        dir: BorrowedFd<'a>,
        name: &'a [u8],
        is_link: bool,
    },
}

/// What may be set here.
pub(super) struct Rights {
    owners: Owners,
    me: (u64, u64),
}

const SET_ID: u32 = 0o6000;

impl Rights {
    pub(super) fn new(owners: Owners) -> Self {
        Self { owners, me: (geteuid().as_raw().into(), getegid().as_raw().into()) }
    }

    /// Whether an attribute may be set, and means the same here as where it is from.
    fn allow(&self, attribute: &[u8]) -> bool {
        match self.owners {
            Owners::Own => attribute.starts_with(b"user.") && !attribute.starts_with(b"user.overlay."),
            Owners::Archive => {
                let foreign: [&[u8]; 6] = [
                    b"security.selinux",
                    b"security.ima",
                    b"security.evm",
                    b"system.nfs4_acl",
                    b"trusted.overlay.",
                    b"user.overlay.",
                ];
                !foreign.iter().any(|foreign| attribute.starts_with(foreign))
            }
        }
    }
}

impl Meta {
    pub(super) fn of(header: &Header) -> Self {
        Self {
            mode: header.mode,
            owner: (header.uid, header.gid),
            time: (header.mtime, header.mtime_nanos),
            xattrs: header.xattrs.clone(),
            has_other_attributes: header.has_other_attributes(),
            is_implied: false,
        }
    }

    /// Of a directory that only follows from what is inside.
    pub(super) fn implied() -> Self {
        Self {
            mode: 0o755,
            owner: (0, 0),
            time: (0, 0),
            xattrs: Vec::new(),
            has_other_attributes: false,
            is_implied: true,
        }
    }

    /// Names of attributes.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &[u8]> {
        self.xattrs.iter().map(|(name, _)| name.as_slice())
    }

    pub(super) fn is_implied(&self) -> bool {
        self.is_implied
    }

    /// Sets everything. Attributes come before the mode, which may forbid to set them.
    pub(super) fn apply(
        &self,
        object: &Object<'_>,
        path: &[u8],
        rights: &Rights,
        report: &mut Report,
    ) -> Result<()> {
        let failed = |action| move |e: Errno| extract_error(action, path, e);
        match rights.owners {
            Owners::Archive => object.chown(self.owner()).map_err(failed("set the owner of"))?,
            Owners::Own if self.owner != rights.me && !self.is_implied => report.lose(Lost::Owner, path),
            Owners::Own => {}
        }
        self.set_attributes(object, path, rights, report);
        let mut mode = self.mode;
        if rights.owners == Owners::Own && mode & SET_ID != 0 {
            mode &= !SET_ID;
            report.lose(Lost::SetId, path);
        }
        let can = |action: &'static str, set: io::Result<()>| match set {
            Err(e) if rights.owners == Owners::Own && object.cannot(e) => Ok(false),
            set => set.map(|()| true).map_err(failed(action)),
        };
        let has_mode = can("set the mode of", object.chmod(mode))?;
        let has_time = can("set the time of", object.set_time(self.time))?;
        // Some file systems say nothing, and do as near as they can.
        let stat = object.stat().map_err(failed("look at"))?;
        if !has_mode || !object.is_link() && stat.st_mode & 0o7777 != mode {
            report.lose(Lost::Mode, path);
        }
        if !has_time || !self.is_of_time(&stat) {
            report.lose(Lost::Time, path);
        }
        Ok(())
    }

    fn set_attributes(&self, object: &Object<'_>, path: &[u8], rights: &Rights, report: &mut Report) {
        let (mut capabilities, mut attributes) = (false, self.has_other_attributes);
        for (name, value) in &self.xattrs {
            if !rights.allow(name) || object.set_xattr(name, value).is_err() {
                let is_capability = name == b"security.capability";
                *(if is_capability { &mut capabilities } else { &mut attributes }) = true;
            }
        }
        for (is_lost, what) in [(capabilities, Lost::Capabilities), (attributes, Lost::Attributes)] {
            if is_lost {
                report.lose(what, path);
            }
        }
    }

    fn is_of_time(&self, stat: &Stat) -> bool {
        (i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec))
            == (self.time.0.into(), self.time.1.into())
    }

    /// The owner, as far as the kernel knows such numbers: the largest one means "leave it".
    fn owner(&self) -> Option<(Uid, Gid)> {
        let known = |id| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        Some((Uid::from_raw(known(self.owner.0)?), Gid::from_raw(known(self.owner.1)?)))
    }
}

impl Object<'_> {
    fn is_link(&self) -> bool {
        matches!(self, Self::Named { is_link: true, .. })
    }

    fn stat(&self) -> io::Result<Stat> {
        match self {
            Self::Open(fd) => fs::fstat(fd),
            Self::Named { dir, name, .. } => fs::statat(dir, *name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Whether an error means that the file system does not have such a thing: what is one's own may be changed.
    fn cannot(&self, error: Errno) -> bool {
        let is_own = || self.stat().is_ok_and(|stat| stat.st_uid == geteuid().as_raw());
        matches!(error, Errno::NOSYS | Errno::OPNOTSUPP) || error == Errno::PERM && is_own()
    }

    fn chown(&self, owner: Option<(Uid, Gid)>) -> io::Result<()> {
        let (uid, gid) = owner.map(|(uid, gid)| (Some(uid), Some(gid))).ok_or(Errno::OVERFLOW)?;
        match self {
            Self::Open(fd) => fs::fchown(fd, uid, gid),
            Self::Named { dir, name, .. } => fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn chmod(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fs::fchmod(fd, mode),
            Self::Named { is_link: true, .. } => Ok(()),
            Self::Named { dir, name, .. } => fs::chmodat(dir, *name, mode, AtFlags::empty()),
        }
    }

    fn set_xattr(&self, attribute: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(fd) => fs::fsetxattr(fd, attribute, value, XattrFlags::empty()),
            Self::Named { dir, name, .. } => {
                // Few kernels can do this relative to a directory.
                let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
                fs::lsetxattr(path, attribute, value, XattrFlags::empty())
            }
        }
    }

    fn set_time(&self, (seconds, nanos): (i64, u32)) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
        };
        match self {
            Self::Open(fd) => fs::futimens(fd, &times),
            Self::Named { dir, name, .. } => fs::utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }
}

pub(super) fn extract_error(action: &'static str, path: &[u8], source: impl Into<std::io::Error>) -> Error {
    let path = EntryPath::from(if path.is_empty() { b"./" } else { path });
    Error::Extract { action, path, source: source.into() }
}
