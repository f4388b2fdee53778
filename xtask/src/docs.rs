//! The reference of the command line.

use std::{fs, path::PathBuf};

use crate::{Result, cargo, root};

fn path() -> PathBuf {
    root().join("docs").join("reference").join("cli.md")
}

fn fresh() -> Result<String> {
    cargo(&["run", "--quiet", "--package", "palan-cli", "--bin", "palan", "--", "docs"])
}

pub fn write() -> Result {
    let path = path();
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    fs::write(&path, fresh()?).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

pub fn check() -> Result {
    let path = path();
    let kept = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if kept != fresh()? {
        return Err(format!("{} is stale: run `cargo xtask docs`", path.display()));
    }
    eprintln!("{} is up to date", path.display());
    Ok(())
}
