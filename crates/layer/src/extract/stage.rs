//! Where a tree is made, and how it gets to its place.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, chmodat, fchmod, openat, renameat, renameat_with,
        statat, unlinkat,
    },
    io::Errno,
};

use super::{
    Lost, Options, Report,
    content::Tree,
    meta::{Object, Rights, extract_error},
    names::split,
    root::Root,
};
use crate::{Error, Limits, Result, tar::Archive};

/// Begins the names of directories that are not finished.
const TEMPORARY: &str = ".palan-";

/// A directory on its way. Dropped before it is finished, it is gone with everything inside.
pub struct Stage {
    tree: Tree,
    limits: Limits,
    /// Where everything is made.
    temporary: PathBuf,
    dir: PathBuf,
    place: Place,
    is_done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The directory does not exist: a temporary one beside it gets its name.
    New,
    /// It exists and is empty, and stays the same (somebody may stand in it, or something be mounted on it): what is in a
    /// temporary one inside goes up.
    Empty,
}

impl Stage {
    /// Begins. Fails where there is no directory to extract to: `dir` is not empty, or no directory, or that which it is
    /// in does not exist.
    pub fn create(dir: &Path, options: &Options) -> Result<Self> {
        let (place, within) = match fs::read_dir(dir) {
            Ok(mut found) => match found.next() {
                None => (Place::Empty, dir),
                Some(_) => return Err(Error::NotEmpty(dir.to_owned())),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound && dir.symlink_metadata().is_err() => {
                (Place::New, parent(dir))
            }
            Err(e) => return Err(unusable("use", dir)(e)),
        };
        let new = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(within);
        let new = new.map_err(|e| unusable("create", dir)(plain(e)))?;
        let fd = open(new.path()).map_err(unusable("create", dir))?;
        #[cfg(test)]
        let walk = options.walk;
        #[cfg(not(test))]
        let walk = false;
        Ok(Self {
            tree: Tree::new(Root::new(fd, walk), Rights::new(options.owners)),
            limits: options.limits.with_end_marker_required(true),
            temporary: new.keep(),
            dir: dir.to_owned(),
            place,
            is_done: false,
        })
    }

    /// The temporary directory, which is there until it is published.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Extracts, finishes and publishes; see [`extract`](super::extract()).
    pub fn extract(mut self, tar: impl Read) -> Result<Report> {
        let mut archive = Archive::with_limits(tar, &self.limits);
        while let Some(mut entry) = archive.next_entry()? {
            self.tree.add(&mut entry)?;
        }
        archive.finish()?;
        self.finish(|path| !path.is_empty())?;
        match self.place {
            Place::New => {
                self.finish(<[u8]>::is_empty)?;
                rename(CWD, self.temporary.as_os_str(), CWD, self.dir.as_os_str())
                    .map_err(|e| self.occupied(e))?;
            }
            Place::Empty => {
                self.move_up()?;
                // From here on there is nothing that could be taken away again.
                self.is_done = true;
                self.finish(<[u8]>::is_empty)?;
            }
        }
        self.is_done = true;
        Ok(std::mem::take(&mut self.tree.report))
    }

    /// Gives directories what their entries say, those inside first.
    fn finish(&mut self, which: impl Fn(&[u8]) -> bool) -> Result<()> {
        let Tree { root, dirs, rights, report } = &mut self.tree;
        for (path, meta) in dirs.iter().rev().filter(|(path, _)| which(path)) {
            let is_given = path.is_empty() && self.place == Place::Empty;
            if is_given && meta.is_implied() {
                continue;
            }
            let dir = root.dir(path).map_err(|e| extract_error("open", path, e))?;
            match meta.apply(&Object::Open(dir), path, rights, report) {
                Err(Error::Extract { source, .. })
                    if is_given && source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    report.lose(Lost::Directory, path);
                }
                applied => applied?,
            }
        }
        Ok(())
    }

    /// Moves everything from the temporary directory to the one that it is in; or nothing.
    fn move_up(&mut self) -> Result<()> {
        let to = open(&self.dir).map_err(unusable("finish", &self.dir))?;
        let names = names(self.tree.root.fd()).map_err(|e| self.occupied(e))?;
        for (number, name) in names.iter().enumerate() {
            if let Err(e) = lift(self.tree.root.fd(), name, to.as_fd()) {
                for name in &names[..number] {
                    // There is nothing to be done where that fails.
                    let _ = lift(to.as_fd(), name, self.tree.root.fd());
                }
                return Err(self.occupied(e));
            }
        }
        let _ = fs::remove_dir(&self.temporary);
        self.tree.root = Root::new(to, false);
        Ok(())
    }

    fn occupied(&self, error: Errno) -> Error {
        match error {
            Errno::EXIST | Errno::NOTEMPTY => Error::NotEmpty(self.dir.clone()),
            error => unusable("finish", &self.dir)(error.into()),
        }
    }

    /// Takes everything away that was made. Directories may be so deep that they cannot all be open at once, and so closed
    /// that they must be opened first.
    fn remove(&mut self) -> io::Result<()> {
        let Tree { root, dirs, .. } = &mut self.tree;
        fchmod(root.fd(), Mode::RWXU)?;
        for (path, _) in dirs.iter().filter(|(path, meta)| !path.is_empty() && meta.mode & 0o700 != 0o700) {
            let (parent, name) = split(path);
            chmodat(root.dir(parent)?, name, Mode::RWXU, AtFlags::empty())?;
        }
        for path in dirs.keys().rev() {
            let dir = root.dir(path)?;
            for name in names(dir)? {
                unlinkat(dir, name.as_bytes(), AtFlags::empty())?;
            }
            if !path.is_empty() {
                let (parent, name) = split(path);
                unlinkat(root.dir(parent)?, name, AtFlags::REMOVEDIR)?;
            }
        }
        fs::remove_dir(&self.temporary)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_done {
            // An error led here, and is the one to be told.
            let _ = self.remove();
        }
    }
}

/// Renames, and replaces nothing where the file system can promise that. (A directory only ever replaces an empty one.)
fn rename(from: BorrowedFd<'_>, old: &OsStr, to: BorrowedFd<'_>, new: &OsStr) -> Result<(), Errno> {
    match renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => renameat(from, old, to, new),
        renamed => renamed,
    }
}

/// Moves something to another directory. That is a change of a directory that is moved, which its mode may forbid.
fn lift(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>) -> Result<(), Errno> {
    match rename(from, name, to, name) {
        Err(Errno::ACCESS) => {
            let mode = Mode::from_raw_mode(statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
            let is_dir = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
            let moved = openat(from, name, OFlags::RDONLY | is_dir, Mode::empty())?;
            let renamed = rename(from, name, to, name);
            fchmod(moved, mode)?;
            renamed
        }
        renamed => renamed,
    }
}

/// What is in a directory.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
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

/// A directory that the user named: links on the way are the user's.
fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The error of the system, where that can be told, without the name of a file that nobody has seen.
fn plain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => Errno::NOENT.into(),
        io::ErrorKind::PermissionDenied => Errno::ACCESS.into(),
        io::ErrorKind::ReadOnlyFilesystem => Errno::ROFS.into(),
        io::ErrorKind::StorageFull => Errno::NOSPC.into(),
        _ => error,
    }
}

fn unusable(action: &'static str, dir: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = dir.to_owned();
    move |source| Error::Directory { action, path, source }
}
