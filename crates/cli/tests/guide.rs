//! The guides are true: every command of them runs, in order, and prints what the page says.
//!
//! Blocks marked `console` are executed by a shell in an empty directory; `background` ones are started and ended with
//! the test; `fails=N` blocks must exit with N. Blocks marked `file=NAME` are written there, as an editor would do it, and the
//! text before them must name the file: readers do not see marks. Digests, tags that end in digits of digests, sizes and the
//! width of columns may differ.

#![cfg(unix)]
// Helpers are not tests to clippy, and a test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// How many digits of a digest stand in a tag.
const DIGITS: usize = 12;

const ADDRESS: &str = "localhost:5000";

struct Block {
    line: usize,
    info: String,
    commands: Vec<(String, String)>,
    /// What it is, for files.
    text: String,
    /// The text between it and the block before.
    prose: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let (mut inside, mut prose) = (false, String::new());
    for (number, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(info) if !inside && (info.starts_with("console") || info.contains(" file=")) => {
                let (info, text, prose) = (info.to_owned(), String::new(), std::mem::take(&mut prose));
                out.push(Block { line: number + 1, info, commands: Vec::new(), text, prose });
                inside = true;
            }
            Some(_) => inside = false,
            None if inside => {
                let block = out.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
                if block.info.contains(" file=") {
                    continue;
                }
                let commands = &mut block.commands;
                match line.strip_prefix("$ ") {
                    Some(command) => commands.push((command.to_owned(), String::new())),
                    None => {
                        let (_, output) = commands.last_mut().expect("output before a command");
                        output.push_str(line);
                        output.push('\n');
                    }
                }
            }
            None => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    out
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `palan registry serve` on a free port and returns its address.
fn serve(command: &str) -> (Server, String) {
    let arguments = command.strip_prefix("palan ").unwrap().replace("5000", "0");
    let mut child = Command::new(env!("CARGO_BIN_EXE_palan"))
        .args(arguments.split(' '))
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("serving on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    // Whatever else it says must not block it.
    std::thread::spawn(move || for _ in said.lines() {});
    (Server(child), address)
}

/// One word per digest or size, one space between words.
fn normal(text: &str) -> String {
    let lines = text.trim().lines().map(|line| {
        let mut words: Vec<String> = line.split_whitespace().map(digest_word).collect();
        for i in 1..words.len() {
            let unit = words[i].trim_end_matches([')', ',']);
            if ["B", "KiB", "MiB"].contains(&unit) {
                words[i - 1] = "SIZE".to_owned();
                words[i] = "B".to_owned();
            }
        }
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn digest_word(word: &str) -> String {
    match word.split_once("-palan-").or_else(|| word.split_once("-before-")) {
        Some((tag, rest)) => format!("{tag}-DIGITS{}", whole_digests(rest.get(DIGITS..).unwrap_or_default())),
        None => whole_digests(word),
    }
}

fn whole_digests(word: &str) -> String {
    match word.split_once("sha256:") {
        None => word.to_owned(),
        Some((before, rest)) => {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != '…').unwrap_or(rest.len());
            format!("{before}DIGEST{}", &rest[end..])
        }
    }
}

#[test]
fn every_command_of_the_tutorial_does_what_the_page_says() {
    assert!(follow(include_str!("../../../docs/guide/tutorial.md")) > 20);
}

#[test]
fn every_command_of_the_guide_to_rebases_does_what_the_page_says() {
    assert!(follow(include_str!("../../../docs/guide/rebase.md")) > 20);
}

#[test]
fn every_command_of_the_guide_to_bases_does_what_the_page_says() {
    assert!(follow(include_str!("../../../docs/guide/bases.md")) > 10);
}

#[test]
fn every_command_of_the_guide_from_crane_does_what_the_page_says() {
    assert!(follow(include_str!("../../../docs/guide/from-crane.md")) > 30);
}

#[test]
fn every_command_of_the_guide_to_fleets_does_what_the_page_says() {
    assert!(follow(include_str!("../../../docs/guide/fleet.md")) > 30);
}

/// Does what a page says, and returns how many commands that were.
fn follow(page: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_palan")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut servers = Vec::new();
    let mut address = String::new();
    let mut ran = 0;
    for block in blocks(page) {
        if let Some((_, name)) = block.info.split_once(" file=") {
            let named = format!("`{name}`");
            assert!(block.prose.contains(&named), "line {}: the text does not name {named}", block.line);
            std::fs::write(folder.path().join(name), block.text.replace(ADDRESS, &address)).unwrap();
        }
        let expected_code =
            block.info.split_once("fails=").map_or(0, |(_, code)| code.trim().parse().unwrap());
        for (command, expected) in &block.commands {
            if block.info.contains("background") {
                let (server, at) = serve(command);
                servers.push(server);
                address = at;
                continue;
            }
            let output = Command::new("sh")
                .args(["-c", &format!("exec 2>&1; {}", command.replace(ADDRESS, &address))])
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", &path)
                .env("HOME", folder.path())
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap().replace(&address, ADDRESS);
            // As shells say it of programs that a signal has ended.
            let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
            assert_eq!(
                output.status.code().or(signal.map(|signal| 128 + signal)),
                Some(expected_code),
                "line {}: {command}\n{printed}",
                block.line
            );
            // What says nothing on the page may still say a sentence on stderr.
            if !expected.is_empty() {
                assert_eq!(normal(&printed), normal(expected), "line {}: {command}", block.line);
            }
            ran += 1;
        }
    }
    ran
}
