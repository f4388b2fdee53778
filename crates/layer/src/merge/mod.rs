//! Layers merged into one archive.
//!
//! Every layer is read once: its uncompressed archive goes to a place that can be read again (a temporary file), and
//! an [`Index`] remembers where in it each entry stands. A [`Merge`] stacks the indexes, by the same rules as
//! [`Tree`](crate::tree::Tree), and decides which entries are left; [`Merged::write`] copies those, byte for byte, into
//! one archive. Memory grows with the number of entries, never with their content.
//!
//! Names and the targets of hard links are spelled in one of the two ways of GNU tar ([`Names`]), whichever way the layers
//! do: without `/` before or empty parts, directories with a slash at the end, the root as `./`. What is spelled so keeps its
//! header blocks.
//!
//! Only what else must change does: a file whose first name is gone moves to the next one, and hard links whose target was
//! renamed, replaced, or comes later, name another. The order is that of the paths, directory by directory, so that
//! parents come before what is inside, hard links after their file, and no directory is left and entered again (GNU tar
//! would set its time too early).
//!
//! Names that lead out of the root (with `..`) are data like any other; they are told ([`Written::escaping`]), not refused.

mod ahead;
mod index;
mod key;
mod stack;
mod write;

pub use index::Index;
pub(crate) use index::check;
pub use key::Names;
pub use stack::{Merge, Merged, Misfit};
pub use write::{Sink, Written};

#[cfg(test)]
mod tests;
