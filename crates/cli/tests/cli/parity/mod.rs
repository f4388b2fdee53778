//! Scripts written for crane, as cases: what they print and whether they fail, for palan always and for crane too where
//! one is installed (or named by `PALAN_PEER_CRANE`).
//!
//! A `.case` file has sections, each with a registry and a directory of its own:
//!
//! ```text
//! == what it is about
//! differs: why crane does something else        (crane must then fail the section)
//! $ ls {r}/app > tags                           (must succeed; `>` and `<` as a shell's)
//! 1.0                                           (stdout, exactly)
//! ! digest {r}/app:none                         (must fail)
//! % tar tf out.tar                              (any program, to look at what was written)
//! ```
//!
//! `{r}` is the registry, `{name}` a digest of the fixture, `{digest}` any digest, `{hex}` its digits, `{*}` anything within a
//! line, and `{…}` on a line of its own any number of lines.

mod fixture;
mod flags;

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
};

use palan_testkit::peer::skip;

use crate::context::TestContext;

struct Case {
    file: &'static str,
    line: usize,
    title: String,
    differs: Option<String>,
    steps: Vec<Step>,
}

struct Step {
    line: usize,
    kind: Kind,
    words: Vec<String>,
    input: Option<String>,
    output: Option<String>,
    stdout: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Works,
    Fails,
    Look,
}

fn cases(file: &'static str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        if let Some(title) = line.strip_prefix("== ") {
            let title = title.to_owned();
            cases.push(Case { file, line: line_number, title, differs: None, steps: Vec::new() });
            continue;
        }
        // What stands above the first section is a comment.
        let Some(case) = cases.last_mut() else { continue };
        let kind = match line.get(..2) {
            Some("$ ") => Kind::Works,
            Some("! ") => Kind::Fails,
            Some("% ") => Kind::Look,
            _ => {
                match (case.steps.last_mut(), line.strip_prefix("differs: ")) {
                    (None, Some(reason)) => case.differs = Some(reason.to_owned()),
                    (None, None) => {
                        assert!(line.is_empty(), "{file}:{line_number}: output without a command");
                    }
                    (Some(step), _) => step.stdout.push_str(&format!("{line}\n")),
                }
                continue;
            }
        };
        case.steps.push(step(line_number, kind, &line[2..]));
    }
    for step in cases.iter_mut().flat_map(|case| &mut case.steps) {
        step.stdout.truncate(step.stdout.trim_end().len());
    }
    cases
}

fn step(line: usize, kind: Kind, text: &str) -> Step {
    let mut all = words(text).into_iter();
    let mut step = Step { line, kind, words: Vec::new(), input: None, output: None, stdout: String::new() };
    while let Some(word) = all.next() {
        match word.as_str() {
            "<" => step.input = all.next(),
            ">" => step.output = all.next(),
            _ => step.words.push(word),
        }
    }
    step
}

/// Words with spaces stand in single quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// What a section's run did wrong: where, and what.
type Wrong = (usize, String);

fn run(case: &Case, tool: &dyn Fn(&TestContext) -> Command) -> Result<(), Wrong> {
    let context = TestContext::new();
    let names = fixture::fill(&context);
    let known = |text: &str| {
        let text = names
            .iter()
            .fold(text.to_owned(), |text, (name, digest)| text.replace(&format!("{{{name}}}"), digest));
        text.replace("{r}", &context.host())
    };
    for step in &case.steps {
        let words: Vec<String> = step.words.iter().map(|word| known(word)).collect();
        let mut command = match step.kind {
            Kind::Look => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).current_dir(context.path(""));
                command
            }
            _ => {
                let mut command = tool(&context);
                command.args(&words);
                command
            }
        };
        command.stdin(match &step.input {
            None => Stdio::null(),
            Some(file) => File::open(context.path(file)).unwrap().into(),
        });
        let output = command.output().unwrap();
        let wrong = |what: &str| {
            let said = String::from_utf8_lossy(&output.stderr);
            Err((step.line, format!("{what}: {}\n{said}", words.join(" "))))
        };
        if output.status.success() == (step.kind == Kind::Fails) {
            return wrong(if output.status.success() { "succeeded" } else { "failed" });
        }
        if let Some(file) = &step.output {
            std::fs::write(context.path(file), &output.stdout).unwrap();
            continue;
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        let expected = known(&step.stdout);
        if !matches(expected.trim_end(), printed.trim_end()) {
            return wrong(&format!("printed\n{printed}\ninstead of\n{expected}\n"));
        }
    }
    Ok(())
}

/// Whether output is what is expected, line by line.
fn matches(expected: &str, printed: &str) -> bool {
    fn lines(expected: &[&str], printed: &[&str]) -> bool {
        match (expected, printed) {
            ([], []) => true,
            (["{…}", rest @ ..], _) => (0..=printed.len()).any(|skip| lines(rest, &printed[skip..])),
            ([first, rest @ ..], [line, others @ ..]) => is_like(first, line) && lines(rest, others),
            _ => false,
        }
    }
    lines(&expected.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>())
}

fn is_like(pattern: &str, line: &str) -> bool {
    let Some((before, rest)) = ["{digest}", "{hex}", "{*}"]
        .iter()
        .filter_map(|hole| pattern.find(hole).map(|at| (at, *hole)))
        .min()
        .map(|(at, hole)| (&pattern[..at], (hole, &pattern[at + hole.len()..])))
    else {
        return pattern == line;
    };
    let Some(line) = line.strip_prefix(before) else { return false };
    let (hole, pattern) = rest;
    match hole {
        "{*}" => {
            line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| is_like(pattern, &line[at..]))
        }
        hole => {
            let line = if hole == "{digest}" { line.strip_prefix("sha256:") } else { Some(line) };
            let hex =
                |line: &str| line.len() >= 64 && line.as_bytes()[..64].iter().all(u8::is_ascii_hexdigit);
            line.is_some_and(|line| hex(line) && is_like(pattern, &line[64..]))
        }
    }
}

/// crane, where there is one.
fn peer() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PALAN_PEER_CRANE") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("crane")).find(|file| file.is_file())
}

fn check(file: &'static str, text: &str) {
    let mut wrong = Vec::new();
    let peer = peer();
    let cases = cases(file, text);
    assert!(!cases.is_empty());
    for case in &cases {
        let place = |line| format!("{}:{line}: {}", case.file, case.title);
        if let Err((line, what)) = run(case, &|context| context.command(&[])) {
            wrong.push(format!("palan, {}\n{what}", place(line)));
        }
        let Some(peer) = &peer else { continue };
        let result = run(case, &|context| {
            let mut command = Command::new(peer);
            command.env_clear().env("HOME", context.home("")).current_dir(context.path(""));
            command
        });
        match (result, &case.differs) {
            (Err((line, what)), None) => wrong.push(format!("crane, {}\n{what}", place(line))),
            (Ok(()), Some(reason)) => {
                wrong.push(format!("crane, {}\ndoes as palan does, not: {reason}", place(case.line)));
            }
            _ => {}
        }
    }
    if peer.is_none() {
        let count = cases.len();
        skip(&format!("crane is not installed, {count} cases of {file} were not compared with it"));
    }
    assert!(wrong.is_empty(), "{} wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Where crane does something else, the guide says so, in the words of the case.
#[test]
fn the_guide_has_every_difference() {
    let guide = include_str!("../../../../../docs/guide/from-crane.md");
    let missing =
        |case: &Case| case.differs.clone().filter(|reason| !guide.contains(&format!("| {reason} |")));
    let all: Vec<Case> = FILES.iter().flat_map(|(file, text)| cases(file, text)).collect();
    assert!(all.iter().filter(|case| case.differs.is_some()).count() > 20);
    assert_eq!(all.iter().filter_map(missing).collect::<Vec<_>>(), [""; 0]);
}

/// What the list of crane's faults names is there.
#[test]
fn the_tests_of_cranes_faults_exist() {
    let page = include_str!("../../../../../docs/crane-cases.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2);
    let names = rows
        .filter_map(|row| row.rsplit_once(" | "))
        .flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2));
    let is_there = |name: &&str| match name.strip_suffix(".case") {
        Some(_) => FILES.iter().any(|(file, _)| file == name),
        None => sources.contains(&format!("fn {name}(")),
    };
    let missing: Vec<&str> = names.filter(|name| !is_there(name)).collect();
    assert_eq!(missing, [""; 0]);
}

macro_rules! files {
    ($($name:ident),*) => {
        const FILES: &[(&str, &str)] =
            &[$((concat!(stringify!($name), ".case"), include_str!(concat!(stringify!($name), ".case")))),*];

        $(
            #[test]
            fn $name() {
                check(concat!(stringify!($name), ".case"), include_str!(concat!(stringify!($name), ".case")));
            }
        )*
    };
}

files!(read, write, append, mutate, export, flatten, pull, push, index, rebase, auth, validate, edit);
