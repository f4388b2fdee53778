//! What was extracted, and what was not.

use std::collections::BTreeMap;

use crate::EntryPath;

/// How many names a [`Loss`] tells at most.
#[cfg(target_os = "linux")]
const TOLD: usize = 16;

/// Something of an entry that is not in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lost {
    /// Its owner: the file belongs to whoever extracted.
    Owner,
    /// Set-user-ID and set-group-ID bits, which would be another user's now.
    SetId,
    /// Its mode: the file system has another one, or none.
    Mode,
    /// Its modification time: it is out of the range of the file system, or finer than that has them.
    Time,
    /// Capabilities of a program.
    Capabilities,
    /// Other extended attributes: the file system does not have them, only root may set them, or they mean something only
    /// on the machine where they are from (labels of security modules, marks of overlay file systems). Access lists, file
    /// flags and attributes that are not written as star does are always lost.
    Attributes,
    /// The entry itself: a device, which this user may not create; or a hard link to one.
    Device,
    /// The entry itself: a device (or a hard link to one) with a number that Linux has no room for, which is 12 bits of
    /// major and 20 of minor number.
    DeviceNumber,
    /// The entry itself: it is of a kind that no file system has, or a hard link to such an entry.
    Kind,
    /// Mode or time of the directory itself that was extracted to: it was there before and belongs to somebody else.
    Directory,
}

/// What was lost of how many entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// What.
    pub what: Lost,
    /// Number of entries.
    pub count: u64,
    /// The first of them.
    pub names: Vec<EntryPath>,
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries that are there now.
    pub entries: u64,
    /// Size of all files, in bytes, holes included.
    pub size: u64,
    losses: BTreeMap<Lost, (u64, Vec<EntryPath>)>,
}

impl Report {
    /// What could not be restored, by kind.
    pub fn losses(&self) -> Vec<Loss> {
        let loss = |(what, (count, names)): (&Lost, &(u64, Vec<EntryPath>))| Loss {
            what: *what,
            count: *count,
            names: names.clone(),
        };
        self.losses.iter().map(loss).collect()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn lose(&mut self, what: Lost, path: &[u8]) {
        let (count, names) = self.losses.entry(what).or_default();
        *count += 1;
        if names.len() < TOLD {
            names.push(EntryPath::from(if path.is_empty() { b"./" } else { path }));
        }
    }
}
