//! Where a dynamic loader finds libraries, `ld.so(8)` and musl's `ldso/dynlink.c`.

use std::collections::{BTreeMap, BTreeSet};

use palan_layer::{
    elf::Elf,
    listing::Facts,
    tree::{Node, Tree},
};

use super::{
    distribution::{Libc, libc},
    resolve::{exists, resolve_file},
    special::file_name,
    trees::Trees,
};

/// The names by which architectures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// `architecture` of configs.
    pub(super) architecture: &'static str,
    /// `e_machine`.
    number: u16,
    bits: u8,
    little_endian: bool,
    /// GNU triplet: Debian's name of the libraries' directory.
    triplet: &'static str,
    /// musl's name, in `ld-musl-NAME.so.1`.
    musl: &'static str,
}

const fn machine(
    architecture: &'static str,
    number: u16,
    bits: u8,
    triplet: &'static str,
    musl: &'static str,
) -> Machine {
    Machine { architecture, number, bits, little_endian: true, triplet, musl }
}

const MACHINES: [Machine; 11] = [
    machine("amd64", 62, 64, "x86_64-linux-gnu", "x86_64"),
    machine("arm64", 183, 64, "aarch64-linux-gnu", "aarch64"),
    machine("386", 3, 32, "i386-linux-gnu", "i386"),
    machine("arm", 40, 32, "arm-linux-gnueabihf", "armhf"),
    machine("arm", 40, 32, "arm-linux-gnueabi", "arm"),
    machine("ppc64le", 21, 64, "powerpc64le-linux-gnu", "powerpc64le"),
    Machine { little_endian: false, ..machine("s390x", 22, 64, "s390x-linux-gnu", "s390x") },
    machine("riscv64", 243, 64, "riscv64-linux-gnu", "riscv64"),
    machine("loong64", 258, 64, "loongarch64-linux-gnu", "loongarch64"),
    machine("mips64le", 8, 64, "mips64el-linux-gnuabi64", "mips64el"),
    machine("mipsle", 8, 32, "mipsel-linux-gnu", "mipsel"),
];

/// For which architectures a file is; none: unknown ones.
pub(super) fn machines(elf: &Elf) -> impl Iterator<Item = &'static Machine> {
    let key = (elf.machine, elf.bits, elf.little_endian);
    MACHINES.iter().filter(move |machine| (machine.number, machine.bits, machine.little_endian) == key)
}

/// A file system as a dynamic loader sees it.
pub(super) struct Loader<'t> {
    pub(super) tree: &'t Tree,
    trees: &'t Trees<'t>,
    /// `LD_LIBRARY_PATH`.
    environment: Vec<String>,
    /// Directories of `ld.so.conf`.
    configured: Vec<String>,
    libc: Option<Libc>,
    known: BTreeMap<(u16, u8, bool, String), Option<Vec<u8>>>,
}

/// A library that was found.
pub(super) struct Library<'t> {
    pub(super) path: Vec<u8>,
    pub(super) elf: Option<&'t Elf>,
}

impl<'t> Loader<'t> {
    pub(super) fn new(trees: &'t Trees<'t>, tree: &'t Tree, library_path: Option<&str>) -> Self {
        // glibc splits at semicolons too.
        let split =
            |list: &str| list.split([':', ';']).filter(|dir| !dir.is_empty()).map(str::to_owned).collect();
        let environment = library_path.map(split).unwrap_or_default();
        let mut configured = Vec::new();
        read_conf(trees, tree, &mut configured);
        Self { tree, trees, environment, configured, libc: libc(tree), known: BTreeMap::new() }
    }

    /// Where `needed` is found for the file `elf` at `path`.
    pub(super) fn find(&mut self, path: &[u8], elf: &Elf, needed: &str) -> Option<Library<'t>> {
        if needed.contains('/') {
            return self.candidate(needed.as_bytes(), elf);
        }
        let own = if elf.runpath.is_empty() { &elf.rpath } else { &elf.runpath };
        let own: Vec<Vec<u8>> = own.iter().flat_map(|dir| expand(dir, path, elf)).collect();
        let found = own.iter().find_map(|dir| self.candidate(&[dir, needed.as_bytes()].join(&b'/'), elf));
        found.or_else(|| self.find_anywhere(elf, needed))
    }

    /// Searches the directories that do not depend on who asks.
    fn find_anywhere(&mut self, elf: &Elf, needed: &str) -> Option<Library<'t>> {
        let key = (elf.machine, elf.bits, self.is_musl(elf), needed.to_owned());
        if let Some(known) = self.known.get(&key) {
            return known.as_ref().and_then(|path| self.candidate(path, elf));
        }
        let configured = if self.is_musl(elf) { self.musl_dirs(elf) } else { self.gnu_dirs(elf) };
        let dirs = self.environment.iter().cloned().chain(configured);
        let found =
            dirs.map(|dir| format!("{dir}/{needed}")).find_map(|path| self.candidate(path.as_bytes(), elf));
        self.known.insert(key, found.as_ref().map(|found| found.path.clone()));
        found
    }

    fn gnu_dirs(&self, elf: &Elf) -> Vec<String> {
        let triplets = machines(elf).map(|machine| machine.triplet);
        let multiarch = triplets.flat_map(|triplet| [format!("lib/{triplet}"), format!("usr/lib/{triplet}")]);
        let wide = ["lib64", "usr/lib64"].into_iter().filter(|_| elf.bits == 64);
        let plain = wide.chain(["lib", "usr/lib"]).map(str::to_owned);
        self.configured.iter().cloned().chain(multiarch).chain(plain).collect()
    }

    fn musl_dirs(&self, elf: &Elf) -> Vec<String> {
        let files = machines(elf).map(|machine| format!("etc/ld-musl-{}.path", machine.musl));
        let text = files.filter_map(|path| text(self.trees, self.tree, path.as_bytes())).next();
        let list = text.unwrap_or_else(|| "/lib:/usr/local/lib:/usr/lib".into());
        list.split([':', '\n']).map(str::trim).filter(|dir| !dir.is_empty()).map(str::to_owned).collect()
    }

    /// Whether a file is for musl's loader: it says so, or the tree has no other.
    pub(super) fn is_musl(&self, elf: &Elf) -> bool {
        let names = |name: &str| name.starts_with("ld-musl-") || name.starts_with("libc.musl-");
        match &elf.interpreter {
            Some(interpreter) => interpreter.rsplit('/').next().is_some_and(names),
            None => elf.needed.iter().any(|needed| names(needed)) || self.libc == Some(Libc::Musl),
        }
    }

    /// The file at `path`, if it is one for the same architecture.
    fn candidate(&self, path: &[u8], elf: &Elf) -> Option<Library<'t>> {
        let (path, node) = resolve_file(self.tree, path)?;
        let found = elf_of(self.trees, node);
        let fits = found.is_none_or(|found| (found.machine, found.bits) == (elf.machine, elf.bits));
        fits.then_some(Library { path, elf: found })
    }

    /// Whether a path leads to something.
    pub(super) fn exists(&self, path: &str) -> bool {
        exists(self.tree, path.as_bytes())
    }
}

/// What was learned of a program or library.
pub(super) fn elf_of<'t>(trees: &'t Trees<'_>, node: &Node) -> Option<&'t Elf> {
    match trees.facts(node)? {
        Facts::Elf(elf) => Some(elf),
        _ => None,
    }
}

/// The text of a file that was kept, through links.
pub(super) fn text<'t>(trees: &'t Trees<'_>, tree: &Tree, path: &[u8]) -> Option<std::borrow::Cow<'t, str>> {
    let (_, node) = resolve_file(tree, path)?;
    match trees.facts(node)? {
        Facts::Content(content) => Some(String::from_utf8_lossy(content)),
        _ => None,
    }
}

/// Whether musl's loader is that library itself.
pub(super) fn is_builtin_of_musl(needed: &str) -> bool {
    const NAMES: [&str; 7] = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
    let stem = needed.strip_prefix("lib").and_then(|rest| rest.split('.').next());
    stem.is_some_and(|stem| NAMES.contains(&stem))
}

/// A directory of `DT_RPATH` or `DT_RUNPATH` with its dynamic string tokens replaced.
fn expand(dir: &str, path: &[u8], elf: &Elf) -> Vec<Vec<u8>> {
    let origin = path.strip_suffix(file_name(path)).unwrap_or_default();
    let origin = origin.strip_suffix(b"/").unwrap_or(origin);
    let replace = |dir: &[u8], token: &str, by: &[u8]| -> Vec<u8> {
        let braced = replace(dir, format!("${{{token}}}").as_bytes(), by);
        replace(&braced, format!("${token}").as_bytes(), by)
    };
    let dir = replace(dir.as_bytes(), "ORIGIN", origin);
    let triplets = machines(elf).map(|machine| format!("lib/{}", machine.triplet));
    let libs = ["lib", "lib64"].into_iter().map(str::to_owned).chain(triplets);
    if !dir.contains(&b'$') {
        return vec![dir];
    }
    libs.map(|lib| replace(&dir, "LIB", lib.as_bytes())).collect()
}

fn replace(text: &[u8], token: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(token.len()).position(|part| part == token) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + token.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// How many files, patterns and directories are taken from `ld.so.conf`: real ones have a handful.
const MOST_CONF: usize = 256;

/// Reads `ld.so.conf` and what it includes, each file once.
fn read_conf(trees: &Trees<'_>, tree: &Tree, dirs: &mut Vec<String>) {
    let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut ahead: Vec<Vec<u8>> = vec![b"etc/ld.so.conf".to_vec()];
    let mut patterns_left = MOST_CONF;
    while let Some(path) = ahead.pop() {
        if seen.len() >= MOST_CONF || !seen.insert(path.clone()) {
            continue;
        }
        let Some(text) = text(trees, tree, &path) else { continue };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.split_once(char::is_whitespace) {
                Some(("include", patterns)) => {
                    for pattern in patterns.split_whitespace().take(patterns_left) {
                        patterns_left -= 1;
                        // The last one is read first.
                        ahead.extend(
                            matching(tree, pattern).into_iter().rev().take(MOST_CONF).map(<[u8]>::to_vec),
                        );
                    }
                }
                Some(("hwcap", _)) => {}
                _ => {
                    let found = line.split([' ', '\t', ':', ',']).filter(|dir| dir.starts_with('/'));
                    dirs.extend(found.take(MOST_CONF.saturating_sub(dirs.len())).map(str::to_owned));
                }
            }
        }
    }
}

/// The paths that a pattern of `ld.so.conf` means; relative ones are in `/etc`.
fn matching<'t>(tree: &'t Tree, pattern: &str) -> Vec<&'t [u8]> {
    let pattern = match pattern.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("etc/{pattern}"),
    };
    let fixed = pattern.split(['*', '?', '[']).next().unwrap_or_default().to_owned();
    let starts = tree.iter().map(|(path, _)| path).filter(|path| path.starts_with(fixed.as_bytes()));
    starts.filter(|path| is_match(pattern.as_bytes(), path)).collect()
}

/// `glob(7)` without classes: `*` and `?` do not match slashes.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') if text[t] != b'/' => {}
            Some(byte) if *byte == text[t] => {}
            _ => {
                let Some((at, from)) = star.filter(|(_, from)| text[*from] != b'/') else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
                continue;
            }
        }
        (p, t) = (p + 1, t + 1);
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_a_directory() {
        for (pattern, text, expected) in [
            ("etc/*.conf", "etc/a.conf", true),
            ("etc/*.conf", "etc/a/b.conf", false),
            ("etc/?.conf", "etc/a.conf", true),
            ("etc/a*b*c", "etc/aXbYbZc", true),
            ("etc/a*b*c", "etc/aXbYbZ", false),
            ("etc/a", "etc/a", true),
            ("etc/a*", "etc/a", true),
            ("etc/a", "etc/ab", false),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn tokens_are_replaced() {
        let mut elf = Elf::default();
        let text = |dirs: Vec<Vec<u8>>| {
            dirs.into_iter().map(|dir| String::from_utf8(dir).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(text(expand("$ORIGIN/../lib", b"app/bin/x", &elf)), ["app/bin/../lib"]);
        assert_eq!(text(expand("${ORIGIN}", b"x", &elf)), [""]);
        (elf.machine, elf.bits, elf.little_endian) = (62, 64, true);
        let found = text(expand("/opt/$LIB", b"x", &elf));
        assert_eq!(found, ["/opt/lib", "/opt/lib64", "/opt/lib/x86_64-linux-gnu"]);
    }
}
