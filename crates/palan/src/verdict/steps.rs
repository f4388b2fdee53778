//! What build steps read: the history has the commands, and what they name may have changed.
//!
//! A command's output depends on more than a layer shows. Where it names a file, a directory or a variable that the new
//! base changed, or runs a program that the new base changed, a rebuild may give something else. Programs whose output
//! depends on nothing but what they are given (`cp`, `mkdir`, `echo` …) may change without that.
//!
//! This reads commands as a person does, not as a shell: it finds what is spelt out. What a program reads by itself
//! (its configuration, the network) is not seen.

mod path;
mod shell;

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::{
    listing::Facts,
    tree::{Node, Tree},
};

use super::{
    Class, Collector, Finding, GateName, Grade, Input, Outcome,
    resolve::resolve,
    settings::Settings,
    shown,
    special::{file_name, is_library},
    trees::{Delta, Differences, Trees, is_own},
};
use shell::{Command, Role, Step};

/// Programs whose output is made of what they are given, whatever their version.
const PLAIN: &[&str] = &[
    ".", ":", "[", "addgroup", "adduser", "bash", "busybox", "case", "cat", "cd", "chgrp", "chmod", "chown",
    "cp", "curl", "cut", "dash", "dirname", "basename", "echo", "egrep", "exit", "export", "expr", "false",
    "fgrep", "find", "for", "getcap", "grep", "groupadd", "head", "install", "ln", "ls", "mkdir", "mktemp",
    "mv", "printf", "pwd", "read", "readlink", "return", "rm", "rmdir", "sed", "seq", "set", "setcap", "sh",
    "shift", "sleep", "sort", "source", "stat", "strip", "sync", "tail", "tar", "tee", "test", "touch", "tr",
    "trap", "true", "umask", "uniq", "unset", "unzip", "useradd", "usermod", "wait", "wc", "wget", "xargs",
];

/// Programs that do nothing with what is in a directory that they are given.
const PASSING: &[&str] =
    &["cd", "mkdir", "touch", "test", "[", "echo", "printf", "export", "set", "chdir", "pushd"];

/// Programs to which their words are text, names of what is to be, or users' settings.
const SPEAKING: &[&str] = &[
    "echo", "printf", "export", "set", "ln", "useradd", "adduser", "groupadd", "addgroup", "usermod", "wget",
    "curl",
];

/// Programs that unpack into directories.
const UNPACKING: &[&str] = &["tar", "unzip"];

/// Programs that go through directories.
const SEARCHING: &[&str] =
    &["chgrp", "chmod", "chown", "du", "egrep", "fgrep", "find", "grep", "ls", "rsync", "tar"];

/// Programs whose last word is where the result goes.
const WRITING: &[&str] = &["cp", "mv", "install", "ln"];

/// Files that programs read unasked.
const UNASKED: &[(&[&str], &[&str])] = &[
    (
        &["useradd", "adduser", "groupadd", "addgroup", "usermod"],
        &["etc/login.defs", "etc/default/useradd", "etc/adduser.conf"],
    ),
    (&["useradd", "adduser"], &["etc/skel"]),
];

/// Libraries that every program has; a new version of them does not change what programs put out.
const COMMON_LIBRARIES: &[&str] =
    &["libc.", "libm.", "libdl.", "librt.", "libpthread.", "ld-", "libgcc_s.", "libstdc++.", "libresolv."];

/// How many words of all steps are read: each may cost a walk through what the bases do not have alike.
const MOST_WORDS: usize = 20_000;

/// Adds findings and the gate.
pub(super) fn check(input: &Input<'_>, trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let Some(steps) = input.steps else {
        let reason = "the history does not say how the application's layers were made";
        return report.gate(GateName::BuildSteps, Outcome::NotAssessed, reason);
    };
    if steps.iter().any(|step| step.trim().is_empty()) {
        let reason = "the history does not say how all of the application's layers were made";
        return report.gate(GateName::BuildSteps, Outcome::NotAssessed, reason);
    }
    let mark = report.findings.len();
    let old = input.old_config.map(Settings::new);
    let new = Settings::new(input.new_config);
    let names = |settings: &Settings<'_>| settings.variables().map(|(name, _)| name.to_owned()).collect();
    let mut changed: BTreeSet<String> = names(&new);
    if let Some(old) = &old {
        changed.extend::<BTreeSet<String>>(names(old));
        changed.retain(|name| old.variable(name) != new.variable(name));
    } else {
        changed.clear();
    }
    let path = Settings::new(input.app_config).search_path().to_owned();
    let directory = old.as_ref().and_then(Settings::directory).unwrap_or("/").to_owned();
    moved_directories(old.as_ref(), &changed, trees, report);
    let libraries = Libraries::of(trees);
    let mut reader = Reader { trees, delta, changed, path, directory, libraries, words: 0, report };
    for step in steps {
        match shell::read(step) {
            Step::WorkDir(directory) => reader.directory = path::join(&reader.directory, &directory),
            Step::Other => {}
            Step::Run(commands) => {
                let start = reader.directory.clone();
                commands.iter().for_each(|command| reader.command(command));
                reader.directory = start;
            }
        }
    }
    if reader.words > MOST_WORDS {
        let text = format!("the build steps have more than {MOST_WORDS} words: the rest was not read");
        reader.report.add(Finding::new(Grade::Shadowed, Class::BuildStep, b"", text));
    }
    report.gate_since(mark, GateName::BuildSteps, "no build step names what the new base changed");
}

/// Builders expand variables in the targets of `COPY`, of which layers show the result only.
fn moved_directories(
    old: Option<&Settings<'_>>,
    changed: &BTreeSet<String>,
    trees: &Trees<'_>,
    report: &mut Collector,
) {
    for name in changed {
        let Some(value) = old.and_then(|old| old.variable(name)) else { continue };
        let path = value.trim_matches('/').as_bytes();
        if name != "PATH" && value.starts_with('/') && !path.is_empty() && trees.footprint.touches(path) {
            let text = format!(
                "the application has paths in {}, which the old base's {name} was and the new base's is not",
                shown(path)
            );
            report.add(Finding::new(Grade::Shadowed, Class::BuildStep, path, text).relating([name.clone()]));
        }
    }
}

/// The old base's libraries, by name.
struct Libraries<'a>(BTreeMap<&'a [u8], Vec<&'a [u8]>>);

impl<'a> Libraries<'a> {
    fn of(trees: &'a Trees<'_>) -> Self {
        let mut all: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for path in trees.old.iter().map(|(path, _)| path).filter(|path| is_library(path)) {
            all.entry(file_name(path)).or_default().push(path);
        }
        Self(all)
    }
}

struct Reader<'a, 't> {
    trees: &'a Trees<'t>,
    delta: &'a Differences<'a>,
    /// Variables that the new base sets otherwise.
    changed: BTreeSet<String>,
    /// Where programs are looked for.
    path: String,
    /// Where commands run.
    directory: String,
    libraries: Libraries<'a>,
    words: usize,
    report: &'a mut Collector,
}

impl Reader<'_, '_> {
    fn command(&mut self, command: &Command) {
        let Some((program, words)) = command.words.split_first() else { return };
        self.words += command.words.len();
        if self.words > MOST_WORDS {
            return;
        }
        let name = program.text.rsplit('/').next().unwrap_or_default();
        if name == "cd" {
            if let Some(to) = words.first() {
                self.directory = path::join(&self.directory, &to.text);
            }
            return;
        }
        self.program(command, &program.text, PLAIN.contains(&name));
        for (programs, files) in UNASKED.iter().filter(|(programs, _)| programs.contains(&name)) {
            let _ = programs;
            files.iter().for_each(|file| self.mention(command, file, name, false));
        }
        let last = words.iter().rposition(|word| word.role == Role::Argument);
        for (number, word) in words.iter().enumerate() {
            self.variables(command, &word.variables);
            if word.role == Role::Output {
                continue;
            }
            let is_target = WRITING.contains(&name) && Some(number) == last || SPEAKING.contains(&name);
            // `--option=/path`
            let text = word.text.split_once('=').map_or(word.text.as_str(), |(_, value)| value);
            if !is_target && !text.starts_with('-') && !text.is_empty() && text.len() < 4096 {
                let path = path::join(&self.directory, text);
                self.mention(command, path.trim_matches('/'), name, true);
            }
        }
        self.variables(command, &program.variables);
    }

    fn variables(&mut self, command: &Command, names: &[String]) {
        for name in names {
            if self.changed.contains(name) {
                let text = format!(
                    "a build step uses ${name}, which the new base sets otherwise: {}",
                    command.shown()
                );
                self.report
                    .add(Finding::new(Grade::Shadowed, Class::BuildStep, b"", text).relating([name.clone()]));
            }
        }
    }

    /// The program itself, where it is the base's; of a script, what runs it as well.
    fn program(&mut self, command: &Command, program: &str, plain: bool) {
        let Some((path, node)) = self.find(&self.trees.app, program) else { return };
        if let Some(Facts::Script { interpreter, argument }) = self.trees.facts(node) {
            let interpreter = String::from_utf8_lossy(interpreter).into_owned();
            let by_env = interpreter
                .ends_with("/env")
                .then(|| String::from_utf8_lossy(argument.as_deref()?).into_owned().into());
            let by_env: Option<String> = by_env.flatten();
            let word = |text: &str| text.split_whitespace().find(|w| !w.starts_with('-')).map(str::to_owned);
            let runner = by_env.as_deref().and_then(word).unwrap_or(interpreter);
            let name = runner.rsplit('/').next().unwrap_or_default().to_owned();
            if let Some((path, node)) = self.find(&self.trees.app, &runner) {
                self.changed_program(command, &runner, &path, node, PLAIN.contains(&&*name));
            }
        }
        self.changed_program(command, program, &path, node, plain);
    }

    fn find<'n>(&self, tree: &'n Tree, program: &str) -> Option<(Vec<u8>, &'n Node)> {
        if program.contains('/') {
            return resolve(tree, path::join(&self.directory, program).as_bytes());
        }
        let mut places = self.path.split(':').map(|dir| format!("{dir}/{program}"));
        places.find_map(|path| resolve(tree, path.as_bytes()))
    }

    fn changed_program(&mut self, command: &Command, program: &str, path: &[u8], node: &Node, plain: bool) {
        if is_own(node) {
            return;
        }
        let now = self.find(&self.trees.result, program);
        let moved = now.as_ref().is_some_and(|(now, _)| now != path);
        let changed = moved || self.delta.get(path).is_some_and(|change| is_content(change));
        let what = match (now.is_none(), changed && !plain) {
            (true, _) => "no longer has",
            (false, true) => "changed",
            (false, false) if plain => return,
            (false, false) => {
                if let Some(library) = self.changed_library(node) {
                    let text = format!(
                        "a build step ran {}, whose library {} the new base changed: {}",
                        shown(path),
                        shown(&library),
                        command.shown()
                    );
                    self.report.add(Finding::new(Grade::Shadowed, Class::BuildStep, path, text));
                }
                return;
            }
        };
        let text =
            format!("a build step ran {}, which the new base {what}: {}", shown(path), command.shown());
        self.report.add(Finding::new(Grade::Shadowed, Class::BuildStep, path, text));
    }

    /// A library of its own that a program needs and that changed, through links.
    fn changed_library(&self, program: &Node) -> Option<Vec<u8>> {
        let Some(Facts::Elf(elf)) = self.trees.facts(program) else { return None };
        let own =
            elf.needed.iter().filter(|name| !COMMON_LIBRARIES.iter().any(|common| name.starts_with(common)));
        let paths = own.filter_map(|name| self.libraries.0.get(name.as_bytes())).flatten();
        let led = paths.filter_map(|path| resolve(&self.trees.old, path)).map(|(path, _)| path);
        led.into_iter().find(|path| self.delta.get(path).is_some_and(|change| is_content(change)))
    }

    /// A path that a command names.
    fn mention(&mut self, command: &Command, path: &str, program: &str, spelt: bool) {
        let Some(change) = self.changed_at(path, program) else { return };
        let what = match (change.old, change.new) {
            (None, _) => "is new in the new base",
            (_, None) => "is not in the new base any more",
            _ => "is another one in the new base",
        };
        let how = if spelt { "names" } else { "reads" };
        let changed = change.path.to_vec();
        let text = format!("a build step {how} {}, which {what}: {}", shown(&changed), command.shown());
        self.report.add(Finding::new(Grade::Shadowed, Class::BuildStep, &changed, text));
    }

    /// What of the base changed under a path or a pattern, as far as it matters to a program.
    fn changed_at(&self, path: &str, program: &str) -> Option<Delta<'_>> {
        let removes = matches!(program, "rm" | "rmdir" | "unlink");
        // What was removed left a trace; what was not there to be removed did not.
        let matters = |change: &&Delta<'_>| is_content(change) && (!removes || change.old.is_none());
        if path.contains(['*', '?', '[']) {
            return self.pattern(path, matters);
        }
        // The root is named by much that has nothing to do with what is in it.
        if path.is_empty() && !SEARCHING.contains(&program) {
            return None;
        }
        let at = |tree: &Tree| resolve(tree, path.as_bytes()).map(|(path, _)| path);
        let (was, is) = (at(&self.trees.old), at(&self.trees.new));
        let resolved = was.clone().or_else(|| is.clone()).unwrap_or_else(|| path.as_bytes().to_vec());
        let exists = PASSING.contains(&program);
        // What a link leads to may be another file, and still there.
        let moved = was.is_some() && is.is_some() && was != is;
        let matters = |change: &&Delta<'_>| {
            matters(change) && (!exists || change.old.is_none() != change.new.is_none())
        };
        let changed = self.delta.get(&resolved).filter(matters).copied();
        if changed.is_some() || removes || exists {
            return changed;
        }
        if moved {
            return self.moved(path, &resolved);
        }
        if UNPACKING.contains(&program) {
            return None;
        }
        self.delta.below(&resolved).iter().find(matters).copied()
    }

    /// The link on the way to a path that leads elsewhere now.
    fn moved(&self, path: &str, resolved: &[u8]) -> Option<Delta<'_>> {
        let mut ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let link = ends.find_map(|end| self.delta.get(&path.as_bytes()[..end]));
        link.or_else(|| self.delta.get(resolved)).copied()
    }

    fn pattern(&self, path: &str, matters: impl Fn(&&Delta<'_>) -> bool) -> Option<Delta<'_>> {
        let fixed =
            path.split('/').take_while(|part| !part.contains(['*', '?', '['])).collect::<Vec<_>>().join("/");
        let fits = |change: &&Delta<'_>| {
            std::str::from_utf8(change.path).is_ok_and(|found| path::matches_path(path, found))
        };
        self.delta.below(fixed.as_bytes()).iter().filter(fits).find(matters).copied()
    }
}

/// Whether more than a directory's metadata differs.
fn is_content(change: &Delta<'_>) -> bool {
    !matches!((change.old, change.new), (Some(old), Some(new)) if old.is_dir() && new.is_dir())
}
