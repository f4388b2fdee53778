//! What an entry of an archive says about itself.

use tar_core::{EntryType, PaxExtensions, parse::ParsedEntry};

use super::{BLOCK, rehead::octal};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// Another name of a file that came before, in this layer or below.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device, major and minor number.
    CharDevice(u32, u32),
    /// A block device, major and minor number.
    BlockDevice(u32, u32),
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
    /// Something that no layer should have, with its type flag.
    Other(u8),
}

/// An entry's metadata, with GNU long names and PAX records applied.
#[derive(Clone, Debug, Default)]
pub struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) raw: Vec<u8>,
    pub(super) sparse: Vec<(u64, u64)>,
    has_other_attributes: bool,
    /// What the entry is.
    pub kind: Kind,
    /// Size of the content, in bytes; of a sparse file with its holes. Zero for all but files.
    pub size: u64,
    /// Bytes of content in the archive, without padding: less than `size` for sparse files.
    pub stored: u64,
    /// Permission bits with set-uid, set-gid and sticky bit.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Modification time, whole seconds since 1970 (rounded down).
    pub mtime: i64,
    /// What the modification time is above that, in nanoseconds.
    pub mtime_nanos: u32,
    /// Extended attributes, in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the entry (its first header) starts, in bytes from the start of the uncompressed archive.
    pub offset: u64,
}

/// How records begin that say something of the kind of extended attributes, in other forms.
const OTHER_ATTRIBUTES: [&[u8]; 4] =
    [b"SCHILY.acl.", b"SCHILY.fflags", b"LIBARCHIVE.xattr.", b"RHT.security.selinux"];

impl Header {
    /// The path as it stands in the archive: not normalised, perhaps not UTF-8.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Target of a symbolic or hard link, as it stands; empty for others.
    pub fn link(&self) -> &[u8] {
        &self.link
    }

    /// All header blocks of the entry, extension headers and sparse map included, byte for byte. With the content and
    /// its padding behind it, this is the entry as it was (except for sparse files, which are read with their holes).
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Where the content starts, in bytes from the start of the uncompressed archive.
    pub fn content_offset(&self) -> u64 {
        self.offset + self.raw.len() as u64
    }

    /// Whether the file has holes that are not stored.
    pub fn is_sparse(&self) -> bool {
        self.stored != self.size
    }

    /// Whether it has attributes in forms that are not read: POSIX access lists and file flags (star), SELinux labels
    /// (Red Hat), attributes of libarchive.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only extraction asks"))]
    pub(crate) fn has_other_attributes(&self) -> bool {
        self.has_other_attributes
    }

    /// Refuses header blocks that the parser takes for something else than other readers do.
    pub(super) fn check_blocks(&self) -> Result<(), String> {
        let mut rest = self.raw.as_slice();
        while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
            if block.iter().all(|b| *b == 0) {
                return Err("a single zero block among its headers".into());
            }
            let (flag, size) = (block[156], &block[124..136]);
            if !size_is_plain(size) {
                return Err("its size is not a number that all readers understand".into());
            }
            let is_extension = matches!(flag, b'x' | b'L' | b'K');
            let is_marked = matches!(&block[257..265], b"ustar\x0000" | b"ustar  \0");
            if (is_extension || flag == b'S') && !is_marked {
                return Err(format!(
                    "a header of type {:?} without the mark of its format",
                    char::from(flag)
                ));
            }
            let Some(size) = octal(size).filter(|size| is_extension && *size <= after.len()) else { break };
            // Go's reader prefers GNU's names, the parser those of PAX.
            let is_other = |name: &[u8]| before_nul(&after[..size]) != name;
            let is_link = matches!(self.kind, Kind::HardLink | Kind::Symlink);
            if (flag == b'L' && is_other(&self.path)) || (flag == b'K' && is_link && is_other(&self.link)) {
                return Err("GNU's header and the PAX header give it different names".into());
            }
            rest = after.get(size.next_multiple_of(BLOCK)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes over what the parser found. Buffers are used again from entry to entry.
    pub(super) fn fill(&mut self, entry: &ParsedEntry<'_>, raw: &[u8], offset: u64) -> Result<(), String> {
        replace(&mut self.path, before_nul(&entry.path));
        replace(&mut self.link, before_nul(entry.link_target.as_deref().unwrap_or_default()));
        replace(&mut self.raw, raw);
        self.sparse.clear();
        self.xattrs.clear();
        self.has_other_attributes = false;
        self.kind = kind(entry);
        self.mode = entry.mode & 0o7777;
        self.uid = entry.uid;
        self.gid = entry.gid;
        // A negative base-256 number arrives as its two's complement.
        (self.mtime, self.mtime_nanos) = (entry.mtime.cast_signed(), 0);
        self.offset = offset;
        self.stored = if self.kind.has_content() { entry.size } else { 0 };
        self.size = self.stored;
        if let Some(pax) = entry.pax {
            self.apply_pax(pax)?;
        }
        if !matches!(self.kind, Kind::HardLink | Kind::Symlink) {
            self.link.clear();
        }
        if self.path.is_empty() { Err("it has no name".into()) } else { Ok(()) }
    }

    /// Checks the records more strictly than the parser, which is told to skip what it cannot read because it takes
    /// times before 1970 for errors.
    fn apply_pax(&mut self, pax: &[u8]) -> Result<(), String> {
        let mut length = 0;
        for record in PaxExtensions::new(pax) {
            let record = record.map_err(|e| e.to_string())?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            length += record_length(key, value);
            match key {
                b"mtime" => {
                    (self.mtime, self.mtime_nanos) = time(value).ok_or_else(|| bad_record(key, value))?;
                }
                b"size" | b"uid" | b"gid" if digits(value).is_none() => return Err(bad_record(key, value)),
                b"path" | b"linkpath" | b"uname" | b"gname" if value.contains(&0) => {
                    return Err(bad_record(key, value));
                }
                _ => {}
            }
            if key.starts_with(b"GNU.sparse.") && !sparse_record_is_sane(key, value) {
                return Err(bad_record(key, value));
            }
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                self.xattrs.push((name.to_vec(), value.to_vec()));
            }
            let is_other = OTHER_ATTRIBUTES.iter().any(|other| key.starts_with(other));
            self.has_other_attributes |= is_other && !value.is_empty();
        }
        if length != pax.len() {
            return Err("malformed PAX records".into());
        }
        Ok(())
    }
}

impl Kind {
    /// Whether content follows the header. As in Go's reader, the size of links, folders and devices counts as zero
    /// whatever the header says.
    fn has_content(self) -> bool {
        matches!(self, Self::File | Self::Other(_))
    }
}

fn kind(entry: &ParsedEntry<'_>) -> Kind {
    let device = || (entry.dev_major.unwrap_or_default(), entry.dev_minor.unwrap_or_default());
    let flag = entry.header.as_bytes()[156];
    match entry.entry_type {
        // Before ustar, directories were files whose name ends in a slash.
        EntryType::Regular if entry.path.ends_with(b"/") && (flag == 0 || entry.size == 0) => Kind::Dir,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharDevice(device().0, device().1),
        EntryType::Block => Kind::BlockDevice(device().0, device().1),
        EntryType::Directory => Kind::Dir,
        EntryType::Fifo => Kind::Fifo,
        _ => Kind::Other(flag),
    }
}

/// Whether Go's reader, GNU's and the parser read the same number: no digits behind leading NULs, nothing beyond 64 bits.
fn size_is_plain(field: &[u8]) -> bool {
    if field[0] & 0x80 != 0 {
        return field[0] == 0x80 && field[1..4].iter().all(|b| *b == 0) && field[4] < 0x80;
    }
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let is_blank = |part: &[u8]| part.iter().all(|b| matches!(b, 0 | b' '));
    !is_blank(&field[..end]) || is_blank(&field[end..])
}

fn before_nul(name: &[u8]) -> &[u8] {
    &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())]
}

fn replace(buffer: &mut Vec<u8>, with: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(with);
}

fn bad_record(key: &[u8], value: &[u8]) -> String {
    let value = &value[..value.len().min(64)];
    format!("PAX record {} has value {:?}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
}

fn digits(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A PAX time: whole seconds, rounded down, and nanoseconds above that, rounded down.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = match whole {
        "" | "-" | "-0" => 0,
        whole => whole.parse().ok()?,
    };
    let (kept, rest) = fraction.split_at(fraction.len().min(9));
    let nanos = kept.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    let has_rest = rest.bytes().any(|b| b != b'0');
    match whole.starts_with('-') && (nanos > 0 || has_rest) {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos - u32::from(has_rest))),
        false => Some((seconds, nanos)),
    }
}

fn sparse_record_is_sane(key: &[u8], value: &[u8]) -> bool {
    match &key[b"GNU.sparse.".len()..] {
        b"name" => !value.is_empty() && !value.contains(&0),
        b"map" => value.iter().all(|b| b.is_ascii_digit() || *b == b','),
        _ => digits(value).is_some(),
    }
}

/// Length of a PAX record: `"%d %s=%s\n"`, where the number counts itself.
pub(super) fn record_length(key: &[u8], value: &[u8]) -> usize {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + decimal_width(length) {
        length = rest + decimal_width(length);
    }
    length
}

fn decimal_width(n: usize) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}
