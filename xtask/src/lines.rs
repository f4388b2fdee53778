//! Lines per crate: code, comments and documentation, tests.

use std::{
    fs,
    ops::AddAssign,
    path::{Path, PathBuf},
};

use crate::{Result, root};

#[derive(Default, Debug, PartialEq, Eq, Clone, Copy)]
struct Count {
    code: usize,
    comments: usize,
    tests: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.code += other.code;
        self.comments += other.comments;
        self.tests += other.tests;
    }
}

pub fn print() -> Result {
    let crates = root().join("crates");
    let mut folders = entries(&crates)?;
    folders.push(root().join("xtask"));
    println!("{:<10} {:>7} {:>9} {:>7}", "crate", "code", "comments", "tests");
    let mut total = Count::default();
    for folder in folders.iter().filter(|f| f.join("Cargo.toml").exists()) {
        let mut count = Count::default();
        walk(folder, &mut |path, text| count += count_file(path, text))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        line(&name, count);
        total += count;
    }
    line("total", total);
    Ok(())
}

fn line(name: &str, count: Count) {
    println!("{name:<10} {:>7} {:>9} {:>7}", count.code, count.comments, count.tests);
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let error = |e| format!("cannot read {}: {e}", folder.display());
    let read = fs::read_dir(folder).map_err(error)?;
    let mut out: Vec<PathBuf> =
        read.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(error)?;
    out.sort();
    Ok(out)
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &str)) -> Result {
    for path in entries(folder)? {
        if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
            walk(&path, visit)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text =
                fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            visit(&path, &text);
        }
    }
    Ok(())
}

/// Blank lines count nowhere. Everything in `tests/`, in a `tests.rs`, and below `#[cfg(test)]` counts as test.
fn count_file(path: &Path, text: &str) -> Count {
    let mut count = Count::default();
    let in_tests = path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs");
    let mut tests = in_tests;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        tests |= line == "#[cfg(test)]";
        match line {
            _ if tests => count.tests += 1,
            l if l.starts_with("//") => count.comments += 1,
            _ => count.code += 1,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_apart() {
        let text = "//! doc\n\nfn f() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(count_file(Path::new("src/lib.rs"), text), Count { code: 1, comments: 1, tests: 3 });
        assert_eq!(count_file(Path::new("a/tests/x.rs"), text), Count { tests: 5, ..Count::default() });
    }
}
