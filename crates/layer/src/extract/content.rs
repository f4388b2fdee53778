//! From entries to files.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, Read, Seek as _, SeekFrom, Write as _},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, symlinkat},
    io::Errno,
};

use super::{
    Lost, Report,
    meta::{Meta, Object, Rights, extract_error},
    names::{Name, ancestors, name, occupied, split},
    root::Root,
};
use crate::{
    EntryPath, Error, Result,
    tar::{Entry, Header, Kind},
};

/// Mode of directories until they are finished: everything can be made inside, by nobody else.
const PRIVATE: Mode = Mode::RWXU;

/// Linux has 12 bits for the major number of a device, and 20 for the minor one.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// A tree being made.
pub(super) struct Tree {
    pub(super) root: Root,
    /// Every directory that was made, with what it will be. The first is the root.
    pub(super) dirs: BTreeMap<Name, Meta>,
    /// What is not there, as it could not be made. Hard links to it are lost with it.
    lost: BTreeMap<Name, Lost>,
    pub(super) rights: Rights,
    pub(super) report: Report,
}

impl Tree {
    pub(super) fn new(root: Root, rights: Rights) -> Self {
        let dirs = BTreeMap::from([(Name::new(), Meta::implied())]);
        Self { root, dirs, lost: BTreeMap::new(), rights, report: Report::default() }
    }

    /// Makes what one entry stands for.
    pub(super) fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        let path = name(entry.path()).map_err(|reason| entry.error(reason))?;
        if path.is_empty() && entry.kind != Kind::Dir {
            return Err(entry.error("the directory itself can be nothing but a directory"));
        }
        let made = match entry.kind {
            Kind::Dir => self.dir(path, entry.header()).map(|()| true),
            Kind::File => self.file(&path, entry).map(|()| true),
            Kind::HardLink => self.hard_link(&path, entry.header()),
            Kind::Symlink => self.symlink(&path, entry.header()).map(|()| true),
            Kind::CharDevice(major, minor) => {
                self.device(&path, entry.header(), FileType::CharacterDevice, (major, minor))
            }
            Kind::BlockDevice(major, minor) => {
                self.device(&path, entry.header(), FileType::BlockDevice, (major, minor))
            }
            Kind::Fifo => self.node(&path, entry.header(), FileType::Fifo, 0),
            Kind::Other(_) => Ok(self.lose(Lost::Kind, &path)),
        };
        self.report.entries += u64::from(made?);
        Ok(())
    }

    /// Says that an entry is not there; and says so, with `false`.
    fn lose(&mut self, what: Lost, path: &[u8]) -> bool {
        self.report.lose(what, path);
        self.lost.insert(path.to_vec(), what);
        false
    }

    fn dir(&mut self, path: Name, header: &Header) -> Result<()> {
        self.make_dirs(&path, header)?;
        self.dirs.insert(path, Meta::of(header));
        Ok(())
    }

    /// Makes those directories of a path that are not there yet.
    fn make_dirs(&mut self, path: &[u8], header: &Header) -> Result<()> {
        if self.dirs.contains_key(path) {
            return Ok(());
        }
        for path in ancestors(path) {
            if !self.dirs.contains_key(path) {
                self.create(path, header, |dir, name| mkdirat(dir, name, PRIVATE))?;
                self.dirs.insert(path.to_vec(), Meta::implied());
            }
        }
        Ok(())
    }

    /// Makes a new name in a directory that is there. Nothing is replaced.
    fn create<T>(
        &mut self,
        path: &[u8],
        header: &Header,
        make: impl FnOnce(std::os::fd::BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T> {
        let (parent, name) = split(path);
        let dir = self.root.dir(parent).map_err(|e| extract_error("enter the directory of", path, e))?;
        make(dir, name).map_err(|e| match e {
            Errno::EXIST => error(header, occupied(dir, path, name)),
            e => extract_error("create", path, e),
        })
    }

    /// As [`Tree::create`], with its parents, and with the metadata of the entry.
    fn create_named(
        &mut self,
        path: &[u8],
        header: &Header,
        is_link: bool,
        make: impl FnOnce(std::os::fd::BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<()> {
        let (parent, name) = split(path);
        self.make_dirs(parent, header)?;
        self.create(path, header, make)?;
        let dir = self.root.dir(parent).map_err(|e| extract_error("enter the directory of", path, e))?;
        let object = Object::Named { dir, name, is_link };
        Meta::of(header).apply(&object, path, &self.rights, &mut self.report)
    }

    fn file<R: Read>(&mut self, path: &[u8], entry: &mut Entry<'_, R>) -> Result<()> {
        let header = entry.header();
        self.make_dirs(split(path).0, header)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            self.create(path, header, |dir, name| openat(dir, name, flags, Mode::RUSR | Mode::WUSR))?;
        let mut file = File::from(file);
        copy(path, entry, &mut file)?;
        self.report.size += entry.size;
        let object = Object::Open(std::os::fd::AsFd::as_fd(&file));
        Meta::of(entry.header()).apply(&object, path, &self.rights, &mut self.report)
    }

    fn symlink(&mut self, path: &[u8], header: &Header) -> Result<()> {
        self.create_named(path, header, true, |dir, name| symlinkat(header.link(), dir, name))
    }

    /// Another name of what is in the tree already, with its metadata; false where that was lost.
    fn hard_link(&mut self, path: &[u8], header: &Header) -> Result<bool> {
        let target = name(header.link()).map_err(|reason| error(header, format!("its target: {reason}")))?;
        let shown = EntryPath::from(header.link());
        if self.dirs.contains_key(&target) {
            return Err(error(header, format!("its hard link target {shown} is a directory")));
        }
        let is_linked = self.dirs.contains_key(split(&target).0) && self.link(path, header, &target)?;
        match self.lost.get(&target) {
            _ if is_linked => Ok(true),
            Some(what) => Ok(self.lose(*what, path)),
            None => Err(error(header, format!("its hard link target {shown} does not exist"))),
        }
    }

    /// Makes a hard link; false where its target does not exist, in a directory that does.
    fn link(&mut self, path: &[u8], header: &Header, target: &[u8]) -> Result<bool> {
        self.make_dirs(split(path).0, header)?;
        let (parent, target) = split(target);
        let from = self.root.dir(parent).and_then(|dir| dir.try_clone_to_owned());
        let from = from.map_err(|e| extract_error("enter the directory of", header.link(), e))?;
        self.create(path, header, |dir, name| match linkat(&from, target, dir, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(false),
            linked => linked.map(|()| true),
        })
    }

    fn device(&mut self, path: &[u8], header: &Header, kind: FileType, number: (u32, u32)) -> Result<bool> {
        // The kernel would cut them, and another device would answer.
        match number {
            (0..=MAX_MAJOR, 0..=MAX_MINOR) => self.node(path, header, kind, makedev(number.0, number.1)),
            _ => Ok(self.lose(Lost::DeviceNumber, path)),
        }
    }

    /// A device or pipe; false where this user may not create one.
    fn node(&mut self, path: &[u8], header: &Header, kind: FileType, device: u64) -> Result<bool> {
        let mut is_forbidden = false;
        let made = self.create_named(path, header, false, |dir, name| {
            let made = mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device);
            is_forbidden = made == Err(Errno::PERM) && kind != FileType::Fifo;
            made
        });
        match made {
            Err(_) if is_forbidden => Ok(self.lose(Lost::Device, path)),
            made => made.map(|()| true),
        }
    }
}

/// Writes the content of a file. Holes stay holes.
fn copy<R: Read>(path: &[u8], entry: &mut Entry<'_, R>, file: &mut File) -> Result<()> {
    let failed = |e| extract_error("write", path, e);
    let mut end = 0;
    loop {
        let hole = entry.skip_hole()?;
        end += hole;
        if hole > 0 {
            file.seek(SeekFrom::Current(hole.cast_signed())).map_err(failed)?;
        }
        let piece = entry.fill_buf()?;
        let length = piece.len();
        if length == 0 && hole == 0 {
            break;
        }
        file.write_all(piece).map_err(failed)?;
        end += length as u64;
        entry.consume(length);
    }
    match entry.is_sparse() {
        true => file.set_len(end).map_err(failed),
        false => Ok(()),
    }
}

fn error(header: &Header, reason: String) -> Error {
    Error::Entry { path: EntryPath::from(header.path()), offset: header.offset, reason }
}
