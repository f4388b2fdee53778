//! Other programs of this machine that tests compare with: found, or said aloud and counted where they are missing.

use std::{
    io::Write as _,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Says what is not tested, and counts it: the number of this process is in front.
pub fn skip(reason: &str) {
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Not by a macro, whose output nobody sees where the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED ({number}): {reason}");
}

/// Where a program is; system programs are not on every user's path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether all of these programs are here; one that is not is said and counted.
pub fn are_installed(programs: &[&str]) -> bool {
    match programs.iter().find(|program| find(program).is_none()) {
        Some(missing) => {
            skip(&format!("{missing} is not installed"));
            false
        }
        None => true,
    }
}
