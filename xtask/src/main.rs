//! Work around the code: `cargo xtask docs|deps|lines|bench`.

mod bench;
mod deps;
mod docs;
mod lines;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

type Result<T = ()> = std::result::Result<T, String>;

const USAGE: &str = "\
usage: cargo xtask <task>

  docs [--check]  write docs/reference/cli.md from the program (--check: only compare)
  deps            check that dependencies between our crates point downwards only
  lines           count lines of code per crate, tests apart
  bench           measure palan beside other tools, on real images
      --runs N        runs of each (5)
      --only TEXT     only operations with this in their names
      --layout DIR    images that are there already (tags svc-1.0, jre-17, jre-21)
      --with PALAN    another palan beside the one that is built
      --write         also write the table into docs/performance.md";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["deps"] => deps::check(),
        ["lines"] => lines::print(),
        ["bench", words @ ..] => bench::run(words),
        [bench::CHILD, words @ ..] => bench::child(words),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo in the workspace and returns what it printed.
fn cargo(words: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(words).current_dir(root()).stderr(std::process::Stdio::inherit());
    let output = command.output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo {} failed", words.join(" ")));
    }
    String::from_utf8(output.stdout).map_err(|_| "cargo printed something that is not UTF-8".to_owned())
}
