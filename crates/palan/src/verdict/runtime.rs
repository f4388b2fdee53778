//! Which language runtimes there are, and whether the application uses one that changes.
//!
//! Another runtime alone makes no file differ: it warns. Files that were installed for a version that is gone are not
//! found any more: that breaks.

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::tree::Tree;
use serde::Serialize;

use super::{
    Class, Collector, Finding, GateName, Grade, Outcome,
    packages::{Installed, installed},
    search::text,
    settings::Settings,
    shown,
    special::{file_name, is_java_release},
    trees::{Trees, is_own},
};

/// A language runtime on either base, with the application on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Runtime {
    /// `java`, `node`, `perl`, `php`, `python` or `ruby`.
    pub name: &'static str,
    /// Major or minor versions in the image as it was.
    pub old: BTreeSet<String>,
    /// Versions in the result.
    pub new: BTreeSet<String>,
    /// Whether the application has files of that language, or is started by it.
    pub used: bool,
}

/// A language: name, endings of its files, the variable in which official images keep its version, how many numbers
/// of a version matter.
struct Language {
    name: &'static str,
    endings: &'static [&'static str],
    variable: &'static str,
    numbers: usize,
}

const LANGUAGES: [Language; 6] = [
    Language {
        name: "java",
        endings: &[".jar", ".war", ".ear", ".class"],
        variable: "JAVA_VERSION",
        numbers: 1,
    },
    Language {
        name: "node",
        endings: &[".js", ".mjs", ".cjs", ".node"],
        variable: "NODE_VERSION",
        numbers: 1,
    },
    Language { name: "perl", endings: &[".pl", ".pm"], variable: "PERL_VERSION", numbers: 2 },
    Language { name: "php", endings: &[".php", ".phar"], variable: "PHP_VERSION", numbers: 2 },
    Language { name: "python", endings: &[".py", ".pyc", ".whl"], variable: "PYTHON_VERSION", numbers: 2 },
    Language { name: "ruby", endings: &[".rb", ".gemspec"], variable: "RUBY_VERSION", numbers: 2 },
];

/// Adds findings and the gate.
pub(super) fn check(
    trees: &Trees<'_>,
    before: &Settings<'_>,
    after: &Settings<'_>,
    report: &mut Collector,
) -> Vec<Runtime> {
    let old = versions(trees, &trees.app, before);
    let new = versions(trees, &trees.result, after);
    let mut used = used(&trees.result);
    used.extend(after.program().and_then(runs));
    let of =
        |versions: &BTreeMap<&str, BTreeSet<String>>, name| versions.get(name).cloned().unwrap_or_default();
    let all = LANGUAGES.iter().map(|language| language.name).map(|name| Runtime {
        name,
        old: of(&old, name),
        new: of(&new, name),
        used: used.contains(name),
    });
    let all: Vec<Runtime> =
        all.filter(|runtime| !runtime.old.is_empty() || !runtime.new.is_empty()).collect();
    gate(&all, report);
    left_behind(trees, &all, report);
    all
}

fn gate(all: &[Runtime], report: &mut Collector) {
    let changed: Vec<&Runtime> =
        all.iter().filter(|runtime| runtime.used && runtime.old != runtime.new).collect();
    let join = |versions: &BTreeSet<String>| match versions.is_empty() {
        true => "none".to_owned(),
        false => versions.iter().cloned().collect::<Vec<_>>().join(" and "),
    };
    let texts: Vec<String> = changed
        .iter()
        .map(|runtime| format!("{} {} after {}", runtime.name, join(&runtime.new), join(&runtime.old)))
        .collect();
    for (runtime, text) in changed.iter().zip(&texts) {
        let text = format!(
            "the application uses {}, of which the new base has another version: {text}",
            runtime.name
        );
        report.add(Finding::new(None, Class::Runtime, b"", text));
    }
    match (all.is_empty(), texts.is_empty()) {
        (true, _) => report.gate(GateName::Runtime, Outcome::Pass, "no language runtime was found"),
        (_, true) => {
            report.gate(GateName::Runtime, Outcome::Pass, "no runtime that the application uses changes");
        }
        _ => report.gate(GateName::Runtime, Outcome::Warn, texts.join(", ")),
    }
}

/// Own files in directories that only a version that is gone would look into.
fn left_behind(trees: &Trees<'_>, all: &[Runtime], report: &mut Collector) {
    let gone = |name: &str, version: &str| {
        all.iter().any(|runtime| {
            runtime.name == name && runtime.old.contains(version) && !runtime.new.contains(version)
        })
    };
    let mut left: BTreeMap<(&str, String, Vec<u8>), usize> = BTreeMap::new();
    for (path, _) in trees.result.iter().filter(|(_, node)| is_own(node) && !node.is_dir()) {
        let counts = |name: &str| name != "python" || is_python_package(path);
        let home = home(path).filter(|(name, version, _)| counts(name) && gone(name, version));
        if let Some((name, version, dir)) = home {
            *left.entry((name, version, dir.to_vec())).or_default() += 1;
        }
    }
    for ((name, version, dir), count) in left {
        let files = if count == 1 { "1 own file".to_owned() } else { format!("{count} own files") };
        let text =
            format!("{} has {files} for {name} {version}, which the new base does not have", shown(&dir));
        let related = [format!("{name} {version}")];
        report.add(Finding::new(Grade::Broken, Class::Runtime, &dir, text).relating(related));
    }
}

/// Whether a path is a package that Python's own search path would find, and no byte code that it left behind.
fn is_python_package(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.any(|part| part == b"site-packages" || part == b"dist-packages")
        && !parts.any(|part| part == b"__pycache__")
}

/// The directory of one version of a runtime that a path is in: language, version, directory.
fn home(path: &[u8]) -> Option<(&'static str, String, &[u8])> {
    let mut before: &[u8] = b"";
    let mut start = 0;
    for part in path.split(|byte| *byte == b'/') {
        let end = start + part.len();
        let text = std::str::from_utf8(part).unwrap_or_default();
        let found = match before {
            b"ruby" | b"gems" | b"site_ruby" | b"vendor_ruby" => {
                number(text, 2).map(|version| ("ruby", version))
            }
            b"perl" | b"perl5" => number(text, 2).map(|version| ("perl", version)),
            _ => text
                .strip_prefix("python")
                .and_then(|text| number(text, 2))
                .map(|version| ("python", version)),
        };
        // The last part is a file, and no directory of a version.
        if let Some((name, version)) = found.filter(|_| end < path.len()) {
            return Some((name, version, &path[..end]));
        }
        (before, start) = (part, end + 1);
    }
    None
}

/// The first numbers of a version, if it is nothing but numbers.
fn number(text: &str, numbers: usize) -> Option<String> {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (parts.len() >= numbers && parts.iter().all(is_number)).then(|| parts[..numbers].join("."))
}

fn versions(
    trees: &Trees<'_>,
    tree: &Tree,
    settings: &Settings<'_>,
) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut all: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, _) in tree.iter() {
        let library = match file_name(path) {
            b"os.py" => home(path).filter(|(name, ..)| *name == "python"),
            b"fileutils.rb" => home(path).filter(|(name, ..)| *name == "ruby"),
            b"strict.pm" => home(path).filter(|(name, ..)| *name == "perl"),
            _ => None,
        };
        let java = || is_java_release(path).then(|| java(&text(trees, tree, path)?)).flatten();
        let found = library.map(|(name, version, _)| (name, version)).or_else(|| Some(("java", java()?)));
        if let Some((name, version)) = found {
            all.entry(name).or_default().insert(version);
        }
    }
    for (name, version) in packaged(&installed(trees, tree)) {
        all.entry(name).or_default().insert(version);
    }
    for language in &LANGUAGES {
        if let Some(version) =
            settings.variable(language.variable).filter(|_| !all.contains_key(language.name))
        {
            let numbers = version.trim_start_matches(|c: char| !c.is_ascii_digit());
            let numbers = numbers.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
            if let Some(version) = number(numbers, language.numbers) {
                all.entry(language.name).or_default().insert(version);
            }
        }
    }
    all
}

/// Runtimes whose files do not tell their version, by package.
fn packaged(packages: &Installed) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for ((_, name), version) in packages {
        let version = version.split_once(':').map_or(&**version, |(_, version)| version);
        let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let php = name.strip_prefix("php").is_some_and(|rest| {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            matches!(rest, "" | "-cli" | "-fpm" | "-common")
        });
        let language = match &**name {
            "nodejs" | "nodejs-current" => Some(("node", 1)),
            _ if php => Some(("php", 2)),
            _ => None,
        };
        if let Some((language, numbers)) = language
            && let Some(version) = number(version, numbers)
        {
            found.push((language, version));
        }
    }
    found
}

/// `JAVA_VERSION="17.0.9"` of a Java runtime's `release` file: its major version, 8 for `1.8`.
fn java(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?.trim().trim_matches('"');
    let value = value.strip_prefix("1.").unwrap_or(value);
    let major: String = value.chars().take_while(char::is_ascii_digit).collect();
    (!major.is_empty()).then_some(major)
}

/// The language of a program that runs others, by its name.
fn runs(program: &str) -> Option<&'static str> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    LANGUAGES.iter().map(|language| language.name).find(|language| *language == name)
}

/// Languages of own files.
fn used(tree: &Tree) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for (path, _) in tree.iter().filter(|(_, node)| is_own(node) && !node.is_dir()) {
        let of =
            |language: &&Language| language.endings.iter().any(|ending| path.ends_with(ending.as_bytes()));
        found.extend(LANGUAGES.iter().filter(of).map(|language| language.name));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_runtimes_are_known_by_their_path() {
        for (path, expected) in [
            ("usr/lib/python3.11/os.py", Some(("python", "3.11", "usr/lib/python3.11"))),
            ("venv/lib/python3.11/site-packages/a/b.py", Some(("python", "3.11", "venv/lib/python3.11"))),
            ("usr/lib/python3/dist-packages/a.py", None),
            ("usr/bin/python3.11", None),
            (
                "usr/local/lib/ruby/gems/3.1.0/gems/a-1.0/a.rb",
                Some(("ruby", "3.1", "usr/local/lib/ruby/gems/3.1.0")),
            ),
            ("usr/share/perl/5.36.0/strict.pm", Some(("perl", "5.36", "usr/share/perl/5.36.0"))),
        ] {
            let expected = expected.map(|(name, version, dir)| (name, version.to_owned(), dir.as_bytes()));
            assert_eq!(home(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn java_tells_its_major_version() {
        for (text, expected) in [
            ("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"17.0.9\"\n", Some("17")),
            ("JAVA_VERSION=\"1.8.0_392\"", Some("8")),
            ("JAVA_VERSION=21", Some("21")),
            ("", None),
        ] {
            assert_eq!(java(text).as_deref(), expected, "{text}");
        }
    }
}
