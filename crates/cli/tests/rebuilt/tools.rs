//! Programs of this machine: found, run, and said aloud when they are missing.

use std::process::{Command, Output};

pub(crate) use palan_testkit::peer::{find, skip};

pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// What a program that must succeed says on stdout, without the last line break.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}\n{stdout}{stderr}");
    stdout.trim_end_matches('\n').to_owned()
}

/// Whether a program can do this here.
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
