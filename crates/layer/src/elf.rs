//! What a program or library says it needs and provides.
//!
//! Source: the System V ABI ("Object Files", "Program Loading and Dynamic Linking") and the GNU symbol versioning
//! extension.

mod language;
mod parse;
mod probe;

pub(crate) use probe::Probe;

/// The dynamic linking facts of an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elf {
    /// 32 or 64.
    pub bits: u8,
    /// Whether multi-byte values are stored with the lowest byte first.
    pub little_endian: bool,
    /// `e_machine`, the number of the architecture.
    pub machine: u16,
    /// What kind of file it is.
    pub kind: ElfKind,
    /// Path of the program interpreter (the dynamic loader), from `PT_INTERP`.
    pub interpreter: Option<Box<str>>,
    /// `DT_SONAME`.
    pub soname: Option<Box<str>>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<Box<str>>,
    /// `DT_RPATH`, split at colons; ignored by loaders where there is a `runpath`.
    pub rpath: Vec<Box<str>>,
    /// `DT_RUNPATH`, split at colons.
    pub runpath: Vec<Box<str>>,
    /// Symbol versions needed, by the library that is to provide them: (library, version, whether it is weak).
    pub versions_needed: Vec<(Box<str>, Box<str>, bool)>,
    /// Symbol versions provided.
    pub versions_provided: Vec<Box<str>>,
    /// What it was made by, where that shows: `Go 1.22.1`, `Go`, `Rust 1.80.0`, `Rust`.
    pub language: Option<Box<str>>,
}

impl Elf {
    /// Reads the facts of a whole ELF file that is in memory. Needs no section headers: stripped files have none.
    ///
    /// `None` for what is no ELF file, and for one that contradicts itself.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut elf = parse::parse(&parse::Image::Memory(bytes)).ok()?;
        let mut scan = language::Scan::default();
        scan.update(bytes);
        elf.language = scan.finish();
        Some(elf)
    }
}

/// What kind of ELF file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfKind {
    /// A program with no interpreter and no libraries: what it is made of is inside.
    #[default]
    Static,
    /// A program that a dynamic loader starts.
    Program,
    /// A shared library or plug-in.
    Library,
    /// Relocatable objects, kernel modules, core dumps, debug information: nothing that is run.
    Other,
}

#[cfg(test)]
mod tests;
