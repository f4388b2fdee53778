//! Files of caches: they appear whole, and it is no harm when they vanish.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Writes a file from these parts, readable for its owner only, and makes its folder. Not synced: what a crash damages is
/// found out when it is read.
pub(crate) fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let begin = || tempfile::Builder::new().prefix(".palan-").tempfile_in(folder);
    let mut file = match begin() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            begin()?
        }
        file => file?,
    };
    for part in parts {
        file.write_all(part)?;
    }
    file.persist(path)?;
    Ok(())
}
