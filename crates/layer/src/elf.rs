//! What a program or library says it needs and provides.
//!
//! Source: the System V ABI ("Object Files", "Program Loading and Dynamic Linking") and the GNU symbol versioning
//! extension.

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
    /// What it was made by, where that shows: `Go` (with its version), `Rust`.
    pub language: Option<Box<str>>,
}

/// What kind of ELF file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElfKind {
    /// A program with no interpreter: what it is made of is inside.
    #[default]
    Static,
    /// A program that a dynamic loader starts.
    Program,
    /// A shared library or plug-in.
    Library,
    /// Relocatable objects, core dumps: nothing that is run.
    Other,
}
