//! Which language's toolchain made a program, by marks that stripping leaves.
//!
//! Source: Go's `debug/buildinfo` (the build information's header, aligned to 16 bytes, with the version inline since
//! Go 1.18); rustc's `/rustc/<commit>/` in the panic messages of the standard library, and its line in `.comment`.

use memchr::memmem;

const GO: &[u8] = b"\xff Go buildinf:";
const RUST: &[u8] = b"/rustc/";
const RUST_COMMENT: &[u8] = b"rustc version 1.";
/// Bytes from the start of a mark that are looked at.
const REACH: usize = 128;

/// Looks for marks in content that streams past.
#[derive(Default)]
pub(super) struct Scan {
    found: Option<Found>,
    /// The last bytes seen, fewer than [`REACH`].
    tail: Vec<u8>,
    seen: u64,
}

/// What was found; the greater wins.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Rust(Option<Box<str>>),
    Go(Option<Box<str>>),
}

impl Scan {
    pub(super) fn update(&mut self, piece: &[u8]) {
        // Marks that cross from one piece into the next are found in the seam between them.
        let kept = self.tail.len();
        self.tail.extend_from_slice(&piece[..piece.len().min(REACH)]);
        let seam = std::mem::take(&mut self.tail);
        if kept > 0 || piece.len() <= REACH {
            self.search(&seam, self.seen - kept as u64);
        }
        let last = if piece.len() > REACH { piece } else { &seam };
        self.tail = last[last.len().saturating_sub(REACH - 1)..].to_vec();
        if piece.len() > REACH {
            self.search(piece, self.seen);
        }
        self.seen += piece.len() as u64;
    }

    pub(super) fn finish(self) -> Option<Box<str>> {
        let (name, version) = match self.found? {
            Found::Go(version) => ("Go", version),
            Found::Rust(version) => ("Rust", version),
        };
        Some(version.map_or_else(|| name.into(), |version| format!("{name} {version}").into()))
    }

    /// `start` is where `bytes` are in the file.
    fn search(&mut self, bytes: &[u8], start: u64) {
        let aligned = |at: &usize| (start + *at as u64).is_multiple_of(16);
        let header = |at: &usize| is_header(&bytes[*at..]);
        let go = memmem::find_iter(bytes, GO)
            .filter(aligned)
            .filter(header)
            .map(|at| Found::Go(go_version(&bytes[at..])));
        self.found = self.found.take().max(go.max());
        if matches!(self.found, Some(Found::Go(_))) {
            return;
        }
        let comment = memmem::find_iter(bytes, RUST_COMMENT).map(|at| rust_version(&bytes[at..]));
        let mut paths = memmem::find_iter(bytes, RUST).filter(|at| is_commit(&bytes[at + RUST.len()..]));
        let rust = comment.max().or_else(|| paths.next().map(|_| None)).map(Found::Rust);
        self.found = self.found.take().max(rust);
    }
}

/// Whether what follows the mark is what Go's linker writes: the size of a pointer, flags and, where the version is
/// inline, nothing up to the end of the header; before Go 1.18, two pointers, which may be left to the loader. Programs
/// that look for the mark contain it as well, with whatever else the compiler put behind it.
fn is_header(mark: &[u8]) -> bool {
    let Some((&[size @ (4 | 8), flags @ 0..=3], rest)) = mark[GO.len()..].split_first_chunk() else {
        return false;
    };
    let Some(rest) = rest.get(..16) else { return false };
    if flags & 2 != 0 {
        return rest.iter().all(|b| *b == 0);
    }
    // No address uses the upper sixteen of 64 bits.
    let upper = if flags & 1 != 0 { [0, 1, 8, 9] } else { [6, 7, 14, 15] };
    size == 4 || upper.iter().all(|at| rest[*at] == 0)
}

/// The text after the header's 32 bytes, where the flags say that it is there.
fn go_version(mark: &[u8]) -> Option<Box<str>> {
    let flags = *mark.get(15)?;
    let length = usize::from(*mark.get(32)?);
    let text = mark.get(33..33 + length).filter(|_| flags & 2 != 0 && length < 128)?;
    let version = text.strip_prefix(b"go").filter(|v| v.first().is_some_and(u8::is_ascii_digit))?;
    plain(version)
}

fn rust_version(mark: &[u8]) -> Option<Box<str>> {
    let version = &mark[RUST_COMMENT.len() - 2..];
    let end = version.iter().position(|b| !matches!(b, b'0'..=b'9' | b'.' | b'a'..=b'z' | b'-'))?;
    plain(&version[..end])
}

fn plain(version: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(version).ok()?;
    text.chars().all(|c| c.is_ascii_graphic() || c == ' ').then(|| text.into())
}

fn is_commit(bytes: &[u8]) -> bool {
    bytes.len() > 40 && bytes[..40].iter().all(u8::is_ascii_hexdigit) && bytes[40] == b'/'
}
