//! Which files of a folder are sources.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Kind;

/// Folders that hold other people's sources, or none.
const SKIPPED: &[&str] = &["node_modules", "target", "vendor"];
/// Deeper folders are not entered.
const MAX_DEPTH: usize = 64;

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is: the path given, and what was found below it.
    pub path: PathBuf,
    /// How to read it.
    pub kind: Kind,
}

/// A file stands for itself, by its name YAML or else a Dockerfile. A folder stands for the sources below it, sorted;
/// hidden folders, `node_modules`, `target` and `vendor` are passed over, and symbolic links are not followed.
///
/// The error names the path that could not be read.
pub fn walk(path: &Path) -> Result<Vec<Found>, (PathBuf, io::Error)> {
    let is_dir = fs::metadata(path).map_err(|e| (path.to_owned(), e))?.is_dir();
    if !is_dir {
        let kind = Kind::of(path).unwrap_or(Kind::Dockerfile);
        return Ok(vec![Found { path: path.to_owned(), kind }]);
    }
    let mut out = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let below = read(&folder, &mut out).map_err(|e| (folder.clone(), e))?;
        if depth < MAX_DEPTH {
            folders.extend(below.into_iter().map(|below| (below, depth + 1)));
        }
    }
    out.sort_by(|a: &Found, b| a.path.cmp(&b.path));
    Ok(out)
}

/// Adds the sources of one folder and returns the folders in it.
fn read(folder: &Path, out: &mut Vec<Found>) -> io::Result<Vec<PathBuf>> {
    let mut below = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
            below.push(path);
        } else if kind.is_file()
            && let Some(kind) = Kind::of(&path)
        {
            out.push(Found { path, kind });
        }
    }
    Ok(below)
}
