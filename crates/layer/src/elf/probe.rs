//! Facts of a file's content that streams past.

use std::{
    fs::File,
    io::{self, Write as _},
};

use super::{
    language::Scan,
    parse::{self, Fault, Image},
};
use crate::{Scratch, listing::Facts};

/// How much of a program is kept in memory.
const MEMORY: usize = 8 << 20;
/// How much of a program is kept at all; there are no facts of a larger one that is dynamically linked.
const DISK: u64 = 4 << 30;
/// How much of a first line counts, as in Linux.
const LINE: usize = 256;

/// Takes the content of one file piece by piece; looks no further when its first bytes are those of no program.
///
/// What dynamic linking needs can be anywhere in a file and is found by going back and forth, so programs are kept
/// until their end: small ones in memory, large ones in a temporary file without a name, static ones not at all.
pub(crate) struct Probe<'a> {
    state: State,
    scratch: &'a Scratch,
}

enum State {
    /// Fewer bytes have come than tell what it is.
    Start(Vec<u8>),
    /// No program.
    Nothing,
    Script(Vec<u8>),
    Elf {
        kept: Kept,
        scan: Scan,
    },
}

enum Kept {
    Memory(Vec<u8>),
    /// Only the beginning, of a static program.
    Beginning(Vec<u8>),
    Spilled {
        file: File,
        size: u64,
    },
}

impl<'a> Probe<'a> {
    pub(crate) fn new(scratch: &'a Scratch) -> Self {
        Self { state: State::Start(Vec::new()), scratch }
    }

    /// Takes the next piece. Fails where a temporary file cannot be written.
    pub(crate) fn update(&mut self, piece: &[u8]) -> io::Result<()> {
        if let State::Start(first) = &mut self.state {
            first.extend_from_slice(&piece[..piece.len().min(4)]);
            let known = first.len() - piece.len().min(4);
            self.state = match first.as_slice() {
                [0x7f, b'E', b'L', b'F', ..] => elf(&first[..known]),
                [b'#', b'!', ..] => State::Script(first[..known].to_vec()),
                _ if first.len() < 4 => return Ok(()),
                _ => State::Nothing,
            };
        }
        match &mut self.state {
            State::Start(_) | State::Nothing => Ok(()),
            State::Script(line) => {
                line.extend_from_slice(&piece[..piece.len().min(LINE - line.len())]);
                Ok(())
            }
            State::Elf { kept, scan } => {
                scan.update(piece);
                if !kept.add(piece, self.scratch)? {
                    self.state = State::Nothing;
                }
                Ok(())
            }
        }
    }

    /// What was learned. Malformed programs have no facts.
    pub(crate) fn finish(self) -> io::Result<Option<Facts>> {
        match self.state {
            State::Start(_) | State::Nothing => Ok(None),
            State::Script(line) => Ok(script(&line)),
            State::Elf { kept, scan } => match parse::parse(&kept.image()) {
                Ok(mut elf) => {
                    elf.language = scan.finish();
                    Ok(Some(Facts::Elf(Box::new(elf))))
                }
                Err(Fault::Malformed) => Ok(None),
                Err(Fault::Io(e)) => Err(e),
            },
        }
    }
}

fn elf(known: &[u8]) -> State {
    let mut scan = Scan::default();
    scan.update(known);
    State::Elf { kept: Kept::Memory(known.to_vec()), scan }
}

impl Kept {
    /// False where there is too much.
    fn add(&mut self, piece: &[u8], scratch: &Scratch) -> io::Result<bool> {
        match self {
            Self::Beginning(_) => {}
            Self::Memory(bytes) if bytes.len() + piece.len() <= MEMORY => bytes.extend_from_slice(piece),
            Self::Memory(bytes) => {
                if parse::is_dynamic(bytes) == Some(false) {
                    *self = Self::Beginning(std::mem::take(bytes));
                    return Ok(true);
                }
                let mut file = scratch.file()?;
                file.write_all(bytes)?;
                *self = Self::Spilled { size: bytes.len() as u64, file };
                return self.add(piece, scratch);
            }
            Self::Spilled { file, size } => {
                *size += piece.len() as u64;
                if *size > DISK {
                    return Ok(false);
                }
                file.write_all(piece)?;
            }
        }
        Ok(true)
    }

    fn image(&self) -> Image<'_> {
        match self {
            Self::Memory(bytes) | Self::Beginning(bytes) => Image::Memory(bytes),
            Self::Spilled { file, size } => Image::Spilled { file, size: *size },
        }
    }
}

/// The interpreter of a script, and all that follows it in the line, which Linux passes as one argument.
fn script(line: &[u8]) -> Option<Facts> {
    let line = line.split(|b| *b == b'\n' || *b == 0).next()?.strip_prefix(b"#!")?.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (interpreter, argument) = (&line[..end], line[end..].trim_ascii());
    (!interpreter.is_empty()).then(|| Facts::Script {
        interpreter: interpreter.into(),
        argument: (!argument.is_empty()).then(|| argument.into()),
    })
}
