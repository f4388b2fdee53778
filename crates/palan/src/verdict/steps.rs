//! What build steps read: the history has the commands, and what they name may have changed.
//!
//! A command's output depends on more than a layer shows. Where it names a file, a directory or a variable that the new
//! base changed, or runs a program that the new base changed, a rebuild may give something else. Programs whose output
//! depends on nothing but what they are given (`cp`, `mkdir`, `echo` …) may change without that.
//!
//! This reads commands as a person does, not as a shell: it finds what is spelt out. What a program reads by itself
//! (its configuration, the network) is not seen.

mod shell;

use std::collections::BTreeSet;

use palan_layer::tree::{Node, Tree};

use super::{
    Class, Collector, Finding, GateName, Grade, Input, Outcome,
    resolve::resolve,
    settings::Settings,
    shown,
    trees::{Delta, Differences, Trees},
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

/// Adds findings and the gate.
pub(super) fn check(input: &Input<'_>, trees: &Trees<'_>, delta: &Differences<'_>, report: &mut Collector) {
    let Some(steps) = input.steps else {
        let reason = "the history does not say how the application's layers were made";
        return report.gate(GateName::BuildSteps, Outcome::NotAssessed, reason);
    };
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
    let mut reader = Reader { trees, delta, changed, path, directory: "/".to_owned(), report };
    for step in steps {
        match shell::read(step) {
            Step::WorkDir(directory) => reader.directory = shell::join(&reader.directory, &directory),
            Step::Other => {}
            Step::Run(commands) => {
                let start = reader.directory.clone();
                commands.iter().for_each(|command| reader.command(command));
                reader.directory = start;
            }
        }
    }
    report.gate_since(mark, GateName::BuildSteps, "no build step names what the new base changed");
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
    report: &'a mut Collector,
}

impl Reader<'_, '_> {
    fn command(&mut self, command: &Command) {
        let Some((program, words)) = command.words.split_first() else { return };
        let name = program.text.rsplit('/').next().unwrap_or_default();
        if name == "cd" {
            if let Some(to) = words.first() {
                self.directory = shell::join(&self.directory, &to.text);
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
            let is_target = WRITING.contains(&name) && Some(number) == last;
            // `--option=/path`
            let text = word.text.split_once('=').map_or(word.text.as_str(), |(_, value)| value);
            if !is_target && !text.starts_with('-') && !text.is_empty() && text.len() < 4096 {
                let path = shell::join(&self.directory, text);
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

    /// The program itself, where it is the base's.
    fn program(&mut self, command: &Command, program: &str, plain: bool) {
        let found = match program.contains('/') {
            true => resolve(&self.trees.old, shell::join(&self.directory, program).as_bytes()),
            false => {
                let places = self.path.split(':').map(|dir| format!("{dir}/{program}"));
                places.into_iter().find_map(|path| resolve(&self.trees.old, path.as_bytes()))
            }
        };
        let Some((path, node)) = found else { return };
        let change = self.delta.get(&path).filter(|change| !plain || change.new.is_none());
        if let Some(change) = change.filter(|change| is_content(change)) {
            let what = if change.new.is_none() { "no longer has" } else { "changed" };
            let text =
                format!("a build step ran {}, which the new base {what}: {}", shown(&path), command.shown());
            self.report.add(Finding::new(Grade::Shadowed, Class::BuildStep, &path, text));
        } else if !plain && let Some(library) = self.changed_library(node) {
            let text = format!(
                "a build step ran {}, whose library {} the new base changed: {}",
                shown(&path),
                shown(&library),
                command.shown()
            );
            self.report.add(Finding::new(Grade::Shadowed, Class::BuildStep, &path, text));
        }
    }

    /// A library of its own that a program needs and that changed, by name.
    fn changed_library(&self, program: &Node) -> Option<Vec<u8>> {
        let Some(palan_layer::listing::Facts::Elf(elf)) = self.trees.facts(program) else { return None };
        let own =
            elf.needed.iter().filter(|name| !COMMON_LIBRARIES.iter().any(|common| name.starts_with(common)));
        let own: BTreeSet<&[u8]> = own.map(|name| name.as_bytes()).collect();
        let name =
            |path: &'_ [u8]| path.rsplit(|b| *b == b'/').next().map(<[u8]>::to_vec).unwrap_or_default();
        let differs = |change: &&Delta<'_>| change.old.is_some() && own.contains(&*name(change.path));
        self.delta.iter().find(differs).map(|change| change.path.to_vec())
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
        let resolved =
            resolve_either(self.trees, path.as_bytes()).unwrap_or_else(|| path.as_bytes().to_vec());
        if let Some(change) = self.delta.get(&resolved).filter(matters) {
            return Some(*change);
        }
        if removes || PASSING.contains(&program) {
            return None;
        }
        self.delta.below(&resolved).iter().find(matters).copied()
    }

    fn pattern(&self, path: &str, matters: impl Fn(&&Delta<'_>) -> bool) -> Option<Delta<'_>> {
        let fixed =
            path.split('/').take_while(|part| !part.contains(['*', '?', '['])).collect::<Vec<_>>().join("/");
        let fits = |change: &&Delta<'_>| {
            std::str::from_utf8(change.path).is_ok_and(|found| shell::matches_path(path, found))
        };
        self.delta.below(fixed.as_bytes()).iter().filter(fits).find(matters).copied()
    }
}

/// Where a path leads in the old or, where it is not there, in the new base.
fn resolve_either(trees: &Trees<'_>, path: &[u8]) -> Option<Vec<u8>> {
    let at = |tree: &Tree| resolve(tree, path).map(|(path, _)| path);
    at(&trees.old).or_else(|| at(&trees.new))
}

/// Whether more than a directory's metadata differs.
fn is_content(change: &Delta<'_>) -> bool {
    !matches!((change.old, change.new), (Some(old), Some(new)) if old.is_dir() && new.is_dir())
}
