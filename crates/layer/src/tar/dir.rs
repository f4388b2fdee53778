//! Packing a directory of the machine into an archive.

use std::{
    collections::HashMap,
    fs,
    io::{BufReader, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{Kind, Meta, Writer};
use crate::{EntryPath, Error, Result};

/// Who owns the entries of a packed directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This user and group.
    Fixed(u64, u64),
    /// Whoever owns the files.
    Keep,
}

/// Which times the entries of a packed directory have, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtime {
    /// All the same.
    Fixed(i64),
    /// The files' own, but none later than this (as `SOURCE_DATE_EPOCH` asks for).
    Clamp(i64),
    /// The files' own.
    Keep,
}

/// Which permission bits the entries of a packed directory have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The files' own.
    #[default]
    Keep,
    /// 0755 for directories and for files that their owner may execute, 0644 for other files: whatever the umask of
    /// the machine was.
    Normal,
}

/// How a directory is packed. By default the same files give the same bytes, on any machine: owned by root, 1970.
#[derive(Clone, Debug)]
pub struct DirOptions {
    /// Owner of all entries.
    pub owner: Owner,
    /// Time of all entries.
    pub mtime: Mtime,
    /// Permission bits of all entries but links.
    pub mode: Mode,
    /// Where the directory's content goes in the archive: `""` for the root, `"app"` for `/app`.
    pub prefix: Vec<u8>,
}

impl Default for DirOptions {
    fn default() -> Self {
        Self { owner: Owner::Fixed(0, 0), mtime: Mtime::Fixed(0), mode: Mode::Keep, prefix: Vec::new() }
    }
}

/// Writes everything below `dir`, parents first, sorted by name, without the directory itself. Hard links within it
/// stay hard links, symbolic links are not followed. Of extended attributes, those that mean the same on every machine
/// are kept: `security.capability` and `user.*` (on Linux). Sockets are refused.
pub fn pack_dir<W: Write>(dir: &Path, options: &DirOptions, tar: &mut Writer<W>) -> Result<()> {
    let mut links = HashMap::new();
    let mut pending = children(dir, &options.prefix)?;
    while let Some((source, path)) = pending.pop() {
        let metadata = fs::symlink_metadata(&source).map_err(|e| unreadable(&source, e))?;
        if metadata.is_dir() {
            tar.dir(&path, &options.meta(&source, &metadata)?)?;
            pending.extend(children(&source, &path)?);
        } else {
            options.pack(&source, path, &metadata, &mut links, tar)?;
        }
    }
    Ok(())
}

/// As [`pack_dir`]; what is no directory becomes the one entry of the archive, and the prefix is its whole path. A
/// symbolic link that is named is followed.
pub fn pack_path<W: Write>(path: &Path, options: &DirOptions, tar: &mut Writer<W>) -> Result<()> {
    let metadata = fs::metadata(path).map_err(|e| unreadable(path, e))?;
    if metadata.is_dir() {
        return pack_dir(path, options, tar);
    }
    let real = fs::canonicalize(path).map_err(|e| unreadable(path, e))?;
    options.pack(&real, options.prefix.clone(), &metadata, &mut HashMap::new(), tar)
}

/// Device and inode of files seen that have several names.
type Links = HashMap<(u64, u64), Vec<u8>>;

impl DirOptions {
    fn meta(&self, source: &Path, metadata: &fs::Metadata) -> Result<Meta> {
        let (uid, gid) = match self.owner {
            Owner::Fixed(uid, gid) => (uid, gid),
            Owner::Keep => (metadata.uid().into(), metadata.gid().into()),
        };
        let mtime = match self.mtime {
            Mtime::Fixed(mtime) => mtime,
            Mtime::Clamp(latest) => metadata.mtime().min(latest),
            Mtime::Keep => metadata.mtime(),
        };
        let own = metadata.mode() & 0o7777;
        let mode = match self.mode {
            Mode::Keep => own,
            Mode::Normal if metadata.is_dir() || own & 0o100 != 0 => 0o755,
            Mode::Normal => 0o644,
        };
        let xattrs = xattrs(source).map_err(|e| unreadable(source, e))?;
        Ok(Meta { xattrs, ..Meta::FILE.mode(mode).owner(uid, gid).mtime(mtime) })
    }

    fn pack<W: Write>(
        &self,
        source: &Path,
        path: Vec<u8>,
        metadata: &fs::Metadata,
        links: &mut Links,
        tar: &mut Writer<W>,
    ) -> Result<()> {
        let meta = self.meta(source, metadata)?;
        if metadata.nlink() > 1 {
            if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
                return tar.hard_link(path, first, &meta);
            }
            links.insert((metadata.dev(), metadata.ino()), path.clone());
        }
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(source).map_err(|e| unreadable(source, e))?;
            // Linux gives links no mode of their own; other systems do.
            return tar.symlink(path, target.as_os_str().as_bytes(), &meta.mode(0o777));
        }
        if kind.is_file() {
            let file = fs::File::open(source).map_err(|e| unreadable(source, e))?;
            return tar.file(path, &meta, metadata.len(), BufReader::new(file));
        }
        let (major, minor) = device_numbers(metadata.rdev());
        let special = if kind.is_char_device() {
            Kind::CharDevice(major, minor)
        } else if kind.is_block_device() {
            Kind::BlockDevice(major, minor)
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            let reason = "sockets cannot be stored in a tar archive".into();
            return Err(Error::Unwritable { path: EntryPath::from(&path), reason });
        };
        tar.special(path, special, &meta)
    }
}

/// What is in a directory, last name first: to be taken from the end.
fn children(dir: &Path, path: &[u8]) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| unreadable(dir, e))? {
        let entry = entry.map_err(|e| unreadable(dir, e))?;
        let slash: &[u8] = if path.is_empty() || path.ends_with(b"/") { b"" } else { b"/" };
        found.push((entry.path(), [path, slash, entry.file_name().as_bytes()].concat()));
    }
    found.sort_unstable_by(|a, b| b.1.cmp(&a.1));
    Ok(found)
}

/// The extended attributes that an image should have, sorted. Labels of security modules and access lists speak of the
/// machine.
#[cfg(target_os = "linux")]
fn xattrs(path: &Path) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use rustix::{
        fs::{lgetxattr, llistxattr},
        io::Errno,
    };
    // A first call without room asks how much there is: nothing, mostly.
    let room = match llistxattr(path, &mut [0u8; 0][..]) {
        Ok(0) | Err(Errno::NOTSUP | Errno::PERM) => return Ok(Vec::new()),
        Ok(room) => room,
        Err(e) => return Err(e.into()),
    };
    let mut names = vec![0; room];
    let length = llistxattr(path, &mut names[..])?;
    names.truncate(length);
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0) {
        if name != b"security.capability" && !name.starts_with(b"user.") {
            continue;
        }
        let room = lgetxattr(path, name, &mut [0u8; 0][..])?;
        let mut value = vec![0; room];
        let length = if room > 0 { lgetxattr(path, name, &mut value[..])? } else { 0 };
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

#[cfg(not(target_os = "linux"))]
fn xattrs(_: &Path) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    Ok(Vec::new())
}

/// Linux's encoding of device numbers.
fn device_numbers(rdev: u64) -> (u32, u32) {
    let part = |shift: u32, mask: u64| u32::try_from((rdev >> shift) & mask).unwrap_or(0);
    (part(8, 0xfff) | (part(32, 0xffff_f000)), part(0, 0xff) | part(12, 0xfff_ff00))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}
