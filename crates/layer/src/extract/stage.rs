//! Where a tree is made, and how it gets to its place.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Mode, OFlags, RenameFlags, fchmod, fstat, openat, renameat, renameat_with, stat,
        statat, unlinkat,
    },
    io::Errno,
};

use super::{
    Lost, Options, Report,
    content::Tree,
    given::Given,
    meta::{Meta, Object, Rights, extract_error},
    names::split,
    root::Root,
    temporary::{self, clear, handle, is_at, is_same, names, set_mode},
};
use crate::{Error, Limits, Result, tar::Archive};

/// A directory on its way. Dropped before it is finished, it is gone with everything inside.
pub struct Stage {
    tree: Tree,
    limits: Limits,
    spot: Spot,
    /// Where everything is made, in the directory of the spot.
    temporary: OsString,
    /// How the directory was that everything was moved to already.
    given: Option<Given>,
    is_done: bool,
}

/// Where the directory will be, opened once: whoever may change what is on the way changes nothing any more.
struct Spot {
    dir: PathBuf,
    place: Place,
    /// What the temporary directory is in.
    within: OwnedFd,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    /// The directory does not exist: a temporary one beside it gets its name, which is this.
    New(OsString),
    /// It exists and is empty, and stays the same (somebody may stand in it, or something be mounted on it): what is in a
    /// temporary one inside goes up.
    Empty,
}

impl Spot {
    fn find(dir: &Path) -> Result<Self> {
        let absent = match open(dir, OFlags::RDONLY) {
            Ok(within) if names(within.as_fd()).map_err(|e| unusable("use", dir)(e.into()))?.is_empty() => {
                return Ok(Self { dir: dir.to_owned(), place: Place::Empty, within });
            }
            Ok(_) => return Err(Error::NotEmpty(dir.to_owned())),
            Err(Errno::NOENT) => unusable("use", dir)(Errno::NOENT.into()),
            Err(e) => return Err(unusable("use", dir)(e.into())),
        };
        // Whoever may not read a directory may be allowed to make something in it.
        let within = open(parent(dir), OFlags::PATH);
        let place = within.and_then(|within| Ok((within, dir.file_name().ok_or(Errno::NOENT)?.to_owned())));
        let (within, name) = place.map_err(|e| unusable("create", dir)(e.into()))?;
        match statat(&within, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Self { dir: dir.to_owned(), place: Place::New(name), within }),
            _ => Err(absent),
        }
    }

    /// Whether the path still leads there.
    fn is_there(&self) -> bool {
        matches!((fstat(&self.within), stat(&self.dir)), (Ok(opened), Ok(found)) if is_same(&opened, &found))
    }

    fn replaced(&self) -> Error {
        let reason = "something else has taken its place meanwhile";
        unusable("finish", &self.dir)(io::Error::other(reason))
    }

    fn occupied(&self, error: Errno) -> Error {
        match error {
            Errno::EXIST | Errno::NOTEMPTY => Error::NotEmpty(self.dir.clone()),
            error => unusable("finish", &self.dir)(error.into()),
        }
    }
}

impl Stage {
    /// Begins. Fails where there is no directory to extract to: `dir` is not empty, or no directory, or that which it is
    /// in does not exist.
    pub fn create(dir: &Path, options: &Options) -> Result<Self> {
        let spot = Spot::find(dir)?;
        let temporary = temporary::make(spot.within.as_fd()).map_err(unusable("create", dir))?;
        Self::enter(spot, temporary, options)
    }

    fn enter(spot: Spot, temporary: OsString, options: &Options) -> Result<Self> {
        let entered = temporary::enter(spot.within.as_fd(), &temporary, options.owners).map_err(|e| {
            let _ = unlinkat(&spot.within, &temporary, AtFlags::REMOVEDIR);
            unusable("create", &spot.dir)(e)
        });
        #[cfg(test)]
        let walk = options.walk;
        #[cfg(not(test))]
        let walk = false;
        Ok(Self {
            tree: Tree::new(Root::new(entered?, walk), Rights::new(options.owners)),
            limits: options.limits.with_end_marker_required(true),
            spot,
            temporary,
            given: None,
            is_done: false,
        })
    }

    /// The temporary directory, which is there until it is published.
    pub fn path(&self) -> PathBuf {
        let within = match self.spot.place {
            Place::New(_) => parent(&self.spot.dir),
            Place::Empty => &self.spot.dir,
        };
        within.join(&self.temporary)
    }

    /// Extracts, finishes and publishes; see [`extract`](super::extract()).
    pub fn extract(mut self, tar: impl Read) -> Result<Report> {
        let mut archive = Archive::with_limits(tar, &self.limits);
        while let Some(mut entry) = archive.next_entry()? {
            self.tree.add(&mut entry)?;
        }
        archive.finish()?;
        self.finish_inside()?;
        match self.spot.place.clone() {
            Place::New(name) => {
                self.finish_root()?;
                self.name(&name)?;
            }
            Place::Empty => {
                self.move_up()?;
                self.finish_given()?;
            }
        }
        self.is_done = true;
        Ok(std::mem::take(&mut self.tree.report))
    }

    /// Gives directories what their entries say, those inside first.
    fn finish_inside(&mut self) -> Result<()> {
        let Tree { root, dirs, rights, report, .. } = &mut self.tree;
        for (path, meta) in dirs.iter().rev().filter(|(path, _)| !path.is_empty()) {
            let dir = root.dir(path).map_err(|e| extract_error("open", path, e))?;
            meta.apply(&Object::Open(dir), path, rights, report)?;
        }
        Ok(())
    }

    fn finish_root(&mut self) -> Result<()> {
        let Tree { root, dirs, rights, report, .. } = &mut self.tree;
        dirs.get(&b""[..]).map_or(Ok(()), |meta| meta.apply(&Object::Open(root.fd()), b"", rights, report))
    }

    /// As [`Stage::finish_root`], for a directory that may be somebody else's, and that stays as it is if nothing is said.
    fn finish_given(&mut self) -> Result<()> {
        if self.tree.dirs.get(&b""[..]).is_none_or(Meta::is_implied) {
            return Ok(());
        }
        match self.finish_root() {
            Err(Error::Extract { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                self.tree.report.lose(Lost::Directory, b"");
                Ok(())
            }
            finished => finished,
        }
    }

    /// Gives the temporary directory its name.
    fn name(&self, name: &OsStr) -> Result<()> {
        let (dir, within) = (self.tree.root.fd(), self.spot.within.as_fd());
        if !is_at(dir, within, &self.temporary) {
            return Err(self.spot.replaced());
        }
        rename(within, &self.temporary, within, name).map_err(|e| self.spot.occupied(e))
    }

    /// Moves everything from the temporary directory to the one that it is in; or nothing.
    fn move_up(&mut self) -> Result<()> {
        if !self.spot.is_there() {
            return Err(self.spot.replaced());
        }
        let to = self.spot.within.try_clone().map_err(unusable("finish", &self.spot.dir))?;
        let names = names(self.tree.root.fd()).map_err(|e| self.spot.occupied(e))?;
        let attributes = self.tree.dirs.get(&b""[..]).into_iter().flat_map(Meta::attributes);
        let given = Given::new(to.as_fd(), attributes, names.clone());
        let given = given.map_err(unusable("finish", &self.spot.dir))?;
        for (number, name) in names.iter().enumerate() {
            if let Err(e) = lift(self.tree.root.fd(), name, to.as_fd()) {
                for name in &names[..=number] {
                    // There is nothing to be done where that fails.
                    let _ = lift(to.as_fd(), name, self.tree.root.fd());
                }
                return Err(self.spot.occupied(e));
            }
        }
        self.remove_temporary();
        self.tree.root = Root::new(to, false);
        self.given = Some(given);
        Ok(())
    }

    /// Takes everything away that was made, as far as that is possible. Directories may be so deep that they cannot all be
    /// open at once, and so closed that they must be opened first.
    fn remove(&mut self) {
        let Tree { root, dirs, .. } = &mut self.tree;
        match &self.given {
            Some(given) => given.restore(),
            None => _ = fchmod(root.fd(), Mode::RWXU),
        }
        for (path, _) in dirs.iter().filter(|(path, meta)| !path.is_empty() && meta.mode & 0o700 != 0o700) {
            let (parent, name) = split(path);
            let handle = root.dir(parent).map(|dir| handle(dir, OsStr::from_bytes(name)));
            let _ = handle.map(|handle| handle.and_then(|handle| set_mode(&handle, Mode::RWXU)));
        }
        for path in dirs.keys().rev().filter(|path| !path.is_empty()) {
            let _ = root.dir(path).map(clear);
            let (parent, name) = split(path);
            let _ = root.dir(parent).map(|dir| unlinkat(dir, name, AtFlags::REMOVEDIR));
        }
        match &self.given {
            Some(given) => given.clear(),
            None => {
                clear(root.fd());
                self.remove_temporary();
            }
        }
    }

    fn remove_temporary(&self) {
        let within = self.spot.within.as_fd();
        if is_at(self.tree.root.fd(), within, &self.temporary) {
            let _ = unlinkat(within, &self.temporary, AtFlags::REMOVEDIR);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_done {
            // An error led here, and is the one to be told.
            self.remove();
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
            let moved = handle(from, name)?;
            let mode = Mode::from_raw_mode(fstat(&moved)?.st_mode);
            set_mode(&moved, Mode::RWXU)?;
            let renamed = rename(from, name, to, name);
            set_mode(&moved, mode).and(renamed)
        }
        renamed => renamed,
    }
}

/// A directory that the user named: links on the way are the user's.
fn open(path: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, path, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn unusable(action: &'static str, dir: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = dir.to_owned();
    move |source| Error::Directory { action, path, source }
}
