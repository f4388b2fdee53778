//! Whether the application's programs and libraries find on the new base what they found on the old one.
//!
//! Only what is lost counts: what was missing before is a note.

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::{
    elf::{Elf, ElfKind},
    listing::Facts,
    tree::{Node, NodeKind, Tree},
};

use super::{
    Class, Collector, Finding, GateName, Grade, Outcome,
    resolve::exists,
    search::{Library, Loader, elf_of, is_builtin_of_musl, machines},
    settings::Settings,
    shown,
    special::file_name,
    stale::is_unread,
    trees::{Trees, is_own},
};

/// Adds findings and the gates.
pub(super) fn check(trees: &Trees<'_>, before: &Settings<'_>, after: &Settings<'_>, report: &mut Collector) {
    let mark = report.findings.len();
    let own = || trees.result.iter().filter(|(_, node)| is_own(node));
    if own().any(|(_, node)| is_unread(node)) {
        return report.gate(GateName::Elf, Outcome::NotAssessed, "file content was not read");
    }
    let files = || own().filter(|(_, node)| matches!(node.kind, NodeKind::File { .. }));
    let mut abi = Abi {
        trees,
        app: Loader::new(trees, &trees.app, before.variable("LD_LIBRARY_PATH")),
        result: Loader::new(trees, &trees.result, after.variable("LD_LIBRARY_PATH")),
        own_names: files().map(|(path, _)| file_name(path)).collect(),
        aside: BTreeMap::new(),
        unresolved: BTreeMap::new(),
        settings: [before, after],
        report,
    };
    let mut seen = 0;
    for (path, node) in files() {
        match trees.facts(node) {
            Some(Facts::Elf(elf)) => {
                seen += 1;
                abi.file(path, elf);
            }
            Some(Facts::Script { interpreter, argument }) if node.mode & 0o111 != 0 => {
                abi.script(path, interpreter, argument.as_deref());
            }
            _ => {}
        }
    }
    abi.notes();
    let files = if seen == 1 { "file finds" } else { "files find" };
    report.gate_since(mark, GateName::Elf, &format!("{seen} own ELF {files} what they found before"));
}

struct Abi<'t, 'r> {
    trees: &'t Trees<'t>,
    app: Loader<'t>,
    result: Loader<'t>,
    own_names: BTreeSet<&'t [u8]>,
    /// Libraries that only the application's own directories have, by who needs them.
    aside: BTreeMap<String, Vec<&'t [u8]>>,
    /// Libraries that nothing has, by who needs them.
    unresolved: BTreeMap<String, Vec<&'t [u8]>>,
    /// Of the image as it was, of the result.
    settings: [&'t Settings<'t>; 2],
    report: &'r mut Collector,
}

impl<'t> Abi<'t, '_> {
    fn file(&mut self, path: &'t [u8], elf: &Elf) {
        if elf.kind == ElfKind::Other {
            return;
        }
        self.architecture(path, elf);
        if elf.kind == ElfKind::Static {
            self.statically_linked(path, elf);
        }
        self.interpreter(path, elf);
        let musl = self.result.is_musl(elf);
        for needed in &elf.needed {
            if !(musl && is_builtin_of_musl(needed)) {
                self.needed(path, elf, needed, musl);
            }
        }
    }

    fn statically_linked(&mut self, path: &[u8], elf: &Elf) {
        let language = elf.language.as_deref().map(|language| format!(" ({language})")).unwrap_or_default();
        let text = format!("{}{language} is statically linked: a new base does not patch it", shown(path));
        let related = elf.language.iter().map(ToString::to_string);
        self.report.add(Finding::new(None, Class::StaticProgram, path, text).relating(related));
    }

    fn architecture(&mut self, path: &[u8], elf: &Elf) {
        let fits = |settings: &Settings<'_>| {
            let architecture = settings.architecture();
            let names = machines(elf).map(|machine| machine.architecture);
            architecture.as_deref().is_none_or(|wanted| {
                machines(elf).next().is_none() || names.into_iter().any(|name| name == wanted)
            })
        };
        if fits(self.settings[1]) {
            return;
        }
        let name = machines(elf).next().map_or("another architecture", |machine| machine.architecture);
        let image = self.settings[1].architecture().unwrap_or_default();
        let text = format!("{} is for {name}, the image for {image}", shown(path));
        let grade = fits(self.settings[0]).then_some(Grade::Broken);
        self.report.add(Finding::new(grade, Class::Architecture, path, text));
    }

    fn interpreter(&mut self, path: &[u8], elf: &Elf) {
        let Some(interpreter) = &elf.interpreter else { return };
        if self.result.exists(interpreter) {
            return;
        }
        let grade = self.app.exists(interpreter).then_some(Grade::Broken);
        let text = format!("{} needs the loader {interpreter}, which is missing", shown(path));
        self.report
            .add(Finding::new(grade, Class::Interpreter, path, text).relating([interpreter.to_string()]));
    }

    fn script(&mut self, path: &[u8], interpreter: &[u8], argument: Option<&[u8]>) {
        let [before, after] = self.settings;
        let Some(name) = missing(&self.trees.result, after, interpreter, argument) else { return };
        let worked = missing(&self.trees.app, before, interpreter, argument).is_none();
        // Packages bring scripts that nobody runs.
        let is_run = is_in_search_path(path, after) || after.names(path);
        let grade = worked.then_some(if is_run { Grade::Broken } else { Grade::Shadowed });
        let text = format!("the script {} is run by {name}, which is missing", shown(path));
        self.report.add(Finding::new(grade, Class::Script, path, text).relating([name]));
    }

    fn needed(&mut self, path: &'t [u8], elf: &Elf, needed: &str, musl: bool) {
        let before = self.app.find(path, elf, needed);
        let Some(after) = self.result.find(path, elf, needed) else {
            return self.missing(path, needed, before.as_ref());
        };
        if musl {
            return;
        }
        let versions = elf.versions_needed.iter().filter(|(library, _, weak)| &**library == needed && !weak);
        for (_, version, _) in versions {
            self.version(path, needed, version, before.as_ref(), &after);
        }
    }

    fn missing(&mut self, path: &'t [u8], needed: &str, before: Option<&Library<'_>>) {
        let own = self.own_names.contains(file_name(needed.as_bytes()));
        if let Some(before) = before {
            // The application may load its own: nobody can tell how.
            let (grade, now) = match own {
                true => (
                    Grade::Shadowed,
                    "of which the new base has none: only the application has a file of that name",
                ),
                false => (Grade::Broken, "which is missing on the new base"),
            };
            let text = format!("{} needs {needed}, found as {}, {now}", shown(path), shown(&before.path));
            let finding = Finding::new(grade, Class::Library, path, text);
            return self.report.add(finding.relating([needed.to_owned()]));
        }
        let list = if own { &mut self.aside } else { &mut self.unresolved };
        list.entry(needed.to_owned()).or_default().push(path);
    }

    fn version(
        &mut self,
        path: &[u8],
        needed: &str,
        version: &str,
        before: Option<&Library<'_>>,
        after: &Library<'_>,
    ) {
        let provides = |library: &Library<'_>| {
            // Loaders take a library without any versions, with a warning.
            library.elf.is_none_or(|elf| {
                elf.versions_provided.is_empty()
                    || elf.versions_provided.iter().any(|provided| &**provided == version)
            })
        };
        if provides(after) {
            return;
        }
        let newest = after.elf.and_then(|elf| newest(&elf.versions_provided, version));
        let provided =
            newest.map_or("does not provide it".to_owned(), |newest| format!("provides up to {newest}"));
        let text = format!("{} needs {version} of {needed}; the new base's {provided}", shown(path));
        let grade = before.is_some_and(provides).then_some(Grade::Broken);
        let related = [needed.to_owned(), version.to_owned()];
        self.report.add(Finding::new(grade, Class::SymbolVersion, path, text).relating(related));
    }

    /// One note per library, whoever needs it.
    fn notes(&mut self) {
        let lists = [
            (
                std::mem::take(&mut self.aside),
                "is not in the loader's search path, before and after; the application has a file of that name",
            ),
            (std::mem::take(&mut self.unresolved), "was not found, before and after"),
        ];
        for (list, what) in lists {
            for (needed, paths) in list {
                let Some(first) = paths.first() else { continue };
                let more =
                    if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
                let text = format!("{needed}, needed by {}{more}, {what}", shown(first));
                let related = paths.iter().map(|path| shown(path));
                self.report.add(Finding::new(None, Class::Library, first, text).relating(related));
            }
        }
    }
}

/// What a script is run by, if that is not there.
fn missing(
    tree: &Tree,
    settings: &Settings<'_>,
    interpreter: &[u8],
    argument: Option<&[u8]>,
) -> Option<String> {
    // Kernels take relative ones from where the caller is: nobody can tell.
    if interpreter.first() != Some(&b'/') {
        return None;
    }
    if !exists(tree, interpreter) {
        return Some(String::from_utf8_lossy(interpreter).into_owned());
    }
    let argument = argument.filter(|_| file_name(interpreter) == b"env").map(String::from_utf8_lossy)?;
    let mut words =
        argument.split_whitespace().skip_while(|word| word.starts_with('-') || word.contains('='));
    words.next().filter(|program| !settings.starts(tree, program)).map(str::to_owned)
}

/// The highest of the versions that are named as `wanted` is up to the number.
fn newest<'v>(versions: &'v [Box<str>], wanted: &str) -> Option<&'v str> {
    let (family, _) = wanted.rsplit_once('_')?;
    let numbers = |version: &str| -> Option<Vec<u64>> {
        let rest = version.strip_prefix(family)?.strip_prefix('_')?;
        rest.split('.').map(|number| number.parse().ok()).collect()
    };
    let versions = versions.iter().filter_map(|version| Some((numbers(version)?, &**version)));
    versions.max().map(|(_, version)| version)
}

/// Whether own layers have programs that a dynamic loader starts, or libraries.
pub(super) fn is_dynamic(trees: &Trees<'_>) -> bool {
    let own = |node: &&Node| is_own(node);
    let mut files =
        trees.result.iter().map(|(_, node)| node).filter(own).filter_map(|node| elf_of(trees, node));
    files.any(|elf| matches!(elf.kind, ElfKind::Program | ElfKind::Library))
}

/// Whether a path is in a directory where programs are looked for.
fn is_in_search_path(path: &[u8], settings: &Settings<'_>) -> bool {
    let dir = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |slash| &path[..slash]);
    settings.search_path().split(':').any(|place| place.trim_matches('/').as_bytes() == dir)
}
