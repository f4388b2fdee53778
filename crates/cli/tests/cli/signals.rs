//! Signals that find the command in a system call which does not end.

#![cfg(unix)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::{TestContext, family, serve::Running};

/// More than a pipe holds: when all of it is written, most of it has been read.
const INPUT: usize = 1 << 20;

pub(crate) fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Starts a command that waits for more on its stdin, and is about to read it.
fn starved(context: &TestContext, words: &[&str], input: &[u8]) -> (Running, ChildStdin) {
    let mut command = context.command(words);
    command.env("TMPDIR", temporary(context)).stdin(Stdio::piped());
    let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    (child, stdin)
}

fn temporary(context: &TestContext) -> std::path::PathBuf {
    let folder = context.home("tmp");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The exit code, and what was said.
fn end(mut child: Running) -> (Option<i32>, String) {
    let code = child.0.wait().unwrap().code();
    let mut stderr = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (code, stderr)
}

/// The beginning of an archive with one large file.
fn begun() -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, b"big");
    put(100, b"0000644\0");
    put(124, b"00077777777\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = header.to_vec();
    // What does not compress.
    let mut state = 1_u64;
    out.extend((0..INPUT / 8).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.rotate_left(23).to_le_bytes()
    }));
    out
}

const COMMANDS: [&[&str]; 5] = [
    &["export", "-", "x.tar"],
    &["push", "-", "127.0.0.1:1/x:y"],
    &["append", "-f", "-", "-o", "x.tar", "-t", "x/y:z"],
    &["append", "-f", "-", "-t", "@@x/y:z"],
    &["edit", "config", "@@x/y:z"],
];

#[test]
fn a_signal_ends_what_waits_for_its_input_and_leaves_nothing() {
    let (input, signals) = (begun(), ["-INT", "-TERM", "-HUP"]);
    let signals = signals.iter().filter(|signal| cfg!(target_os = "linux") || **signal != "-HUP");
    for signal in signals {
        // Each takes a while to end: all at the same time.
        let started = COMMANDS.iter().map(|words| {
            let context = TestContext::new();
            context.push("x/y:z", &family("linux/amd64").app.graph());
            let input = if words[0] == "edit" { &b" "[..] } else { &input };
            let (child, stdin) = starved(&context, words, input);
            (words, context, child, stdin)
        });
        let started: Vec<_> = started.collect();
        for (.., child, _) in &started {
            send(signal, &child.0);
        }
        for (words, context, child, _stdin) in started {
            let (code, stderr) = end(child);
            assert_eq!(code, Some(130), "{signal} {words:?} {stderr}");
            assert!(stderr.ends_with("error: interrupted\n"), "{signal} {words:?} {stderr}");
            assert_eq!(context.left(), Vec::<String>::new(), "{signal} {words:?}");
            assert_eq!(fs::read_dir(temporary(&context)).unwrap().count(), 0, "{signal} {words:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let context = TestContext::new();
    let (child, _stdin) = starved(&context, COMMANDS[1], &begun());
    send("-INT", &child.0);
    send("-TERM", &child.0);
    // Whoever waits until nothing more can be expected says so.
    assert_eq!(end(child), (Some(130), String::new()));
    assert_eq!(fs::read_dir(temporary(&context)).unwrap().count(), 0);
}

#[test]
fn a_blob_that_is_a_pipe_does_not_keep_the_command() {
    let context = TestContext::new();
    let app = family("linux/amd64").app;
    context.push("app:1", &app.graph());
    context.run(&["copy", "@@app:1", "oci:there:1"]).ok();
    let path = context.path(format!("there/blobs/sha256/{}", app.manifest.digest().hex()));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (child, _stdin) = starved(&context, &["validate", "oci:there:1"], b"");
    // Waits until the other end is opened.
    let _blob = File::options().write(true).open(&path).unwrap();
    send("-TERM", &child.0);
    assert_eq!(end(child), (Some(130), "error: interrupted\n".to_owned()));
}

/// As `nohup` starts it.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_that_is_ignored_stays_so() {
    let context = TestContext::new();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(env!("CARGO_BIN_EXE_palan"));
    command.args(["export", "-", "x.tar"]).current_dir(context.path("")).env("TMPDIR", temporary(&context));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap();
    stdin.write_all(&begun()).unwrap();
    send("-HUP", &child.0);
    drop(stdin);
    let (code, stderr) = end(child);
    assert_ne!((code, stderr.contains("interrupted")), (Some(130), true), "{stderr}");
    assert!(code.is_some_and(|code| code != 0 && code != 130), "{code:?} {stderr}");
}
