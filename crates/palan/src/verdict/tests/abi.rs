//! Programs, libraries, scripts and what configs name.

use palan_layer::{
    elf::{Elf, ElfKind},
    listing::Facts,
    tree::Tree,
};

use super::*;

/// A file that is said to be a program or library.
#[derive(Clone)]
struct Binary {
    path: &'static str,
    elf: Elf,
}

fn binary(path: &'static str, kind: ElfKind) -> Binary {
    let mut elf = Elf::default();
    (elf.bits, elf.little_endian, elf.machine, elf.kind) = (64, true, 62, kind);
    Binary { path, elf }
}

fn program(path: &'static str) -> Binary {
    binary(path, ElfKind::Program)
}

fn library(path: &'static str) -> Binary {
    binary(path, ElfKind::Library)
}

impl Binary {
    fn interpreter(mut self, path: &str) -> Self {
        self.elf.interpreter = Some(path.into());
        self
    }

    fn needs(mut self, needed: &[&str]) -> Self {
        self.elf.needed.extend(needed.iter().map(|name| Box::from(*name)));
        self
    }

    fn rpath(mut self, dir: &str) -> Self {
        self.elf.rpath.push(dir.into());
        self
    }

    fn runpath(mut self, dir: &str) -> Self {
        self.elf.runpath.push(dir.into());
        self
    }

    fn version(mut self, library: &str, version: &str, weak: bool) -> Self {
        self.elf.versions_needed.push((library.into(), version.into(), weak));
        self
    }

    fn provides(mut self, versions: &[&str]) -> Self {
        self.elf.versions_provided.extend(versions.iter().map(|version| Box::from(*version)));
        self
    }

    fn machine(mut self, machine: u16, bits: u8) -> Self {
        (self.elf.machine, self.elf.bits) = (machine, bits);
        self
    }

    fn language(mut self, language: &str) -> Self {
        self.elf.language = Some(language.into());
        self
    }
}

/// A layer of entries and binaries, whose content is their facts.
fn layer_of(entries: &[&str], binaries: &[Binary]) -> Arc<Listing> {
    let mut layer = entries.iter().fold(Builder::new(), |layer, entry| put(layer, entry));
    for binary in binaries {
        layer = layer.program(binary.path, format!("{:?}", binary.elf));
    }
    let mut listing = Arc::unwrap_or_clone(read(layer));
    let mut tree = Tree::new();
    tree.apply_listing(0, &listing).unwrap();
    for binary in binaries {
        let digest = tree.get(binary.path).unwrap().digest().unwrap();
        listing.facts.insert(digest, Facts::Elf(Box::new(binary.elf.clone())));
    }
    Arc::new(listing)
}

fn only(binaries: &[Binary]) -> Arc<Listing> {
    layer_of(&[], binaries)
}

struct Case {
    name: &'static str,
    old: Arc<Listing>,
    new: Arc<Listing>,
    own: Arc<Listing>,
    /// Findings that lead to a grade.
    graded: &'static [&'static str],
    /// Texts that must be among the findings.
    texts: &'static [&'static str],
}

fn run(cases: &[Case]) {
    for Case { name, old, new, own, graded: expected, texts } in cases {
        let both = |layer: &Arc<Listing>| [Arc::clone(layer)];
        let assessment = judge(&both(old), &both(new), &both(own));
        assert_eq!(graded(&assessment), *expected, "{name}: {:#?}", assessment.findings);
        let found: Vec<&str> = assessment.findings.iter().map(|finding| &*finding.text).collect();
        for text in *texts {
            assert!(found.contains(text), "{name}: {found:#?}");
        }
        assert_eq!(judge(&both(old), &both(old), &both(own)).grade, Grade::Clean, "{name}, same base");
    }
}

const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

fn glibc(versions: &[&str]) -> Vec<Binary> {
    vec![library("lib/x86_64-linux-gnu/libc.so.6").provides(versions), library(LOADER)]
}

fn with(mut base: Vec<Binary>, more: Binary) -> Arc<Listing> {
    base.push(more);
    only(&base)
}

#[test]
fn versions_of_symbols_must_be_provided() {
    let versions = ["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.36", "GLIBC_PRIVATE"];
    let old = || only(&glibc(&["GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_2.38"]));
    let x = || program("app/bin/x").interpreter("/lib64/ld-linux-x86-64.so.2").needs(&["libc.so.6"]);
    run(&[
        Case {
            name: "an older glibc",
            old: old(),
            new: only(&glibc(&versions)),
            own: only(&[x().version("libc.so.6", "GLIBC_2.38", false)]),
            graded: &["broken symbol-version app/bin/x"],
            texts: &["/app/bin/x needs GLIBC_2.38 of libc.so.6; the new base's provides up to GLIBC_2.36"],
        },
        Case {
            name: "a weak version",
            old: old(),
            new: only(&glibc(&versions)),
            own: only(&[x().version("libc.so.6", "GLIBC_2.38", true)]),
            graded: &[],
            texts: &[],
        },
        Case {
            name: "missing before too",
            old: old(),
            new: only(&glibc(&versions)),
            own: only(&[x().version("libc.so.6", "GLIBC_2.39", false)]),
            graded: &[],
            texts: &["/app/bin/x needs GLIBC_2.39 of libc.so.6; the new base's provides up to GLIBC_2.36"],
        },
        Case {
            name: "a library without versions",
            old: old(),
            new: only(&glibc(&[])),
            own: only(&[x().version("libc.so.6", "GLIBC_2.38", false)]),
            graded: &[],
            texts: &[],
        },
        Case {
            name: "another family of versions",
            old: with(
                glibc(&versions),
                library("usr/lib/x86_64-linux-gnu/libssl.so.3").provides(&["OPENSSL_3.0.0", "OPENSSL_3.2.0"]),
            ),
            new: with(
                glibc(&versions),
                library("usr/lib/x86_64-linux-gnu/libssl.so.3").provides(&["OPENSSL_3.0.0"]),
            ),
            own: only(&[x().needs(&["libssl.so.3"]).version("libssl.so.3", "OPENSSL_3.2.0", false)]),
            graded: &["broken symbol-version app/bin/x"],
            texts: &[
                "/app/bin/x needs OPENSSL_3.2.0 of libssl.so.3; the new base's provides up to OPENSSL_3.0.0",
            ],
        },
    ]);
}

#[test]
fn libraries_are_searched_as_loaders_do() {
    let x = || program("app/bin/x").needs(&["liba.so.1"]);
    let found = |name, old: Arc<Listing>, new: Arc<Listing>, own: Arc<Listing>, is_found: bool| Case {
        name,
        old,
        new,
        own,
        graded: if is_found { &[] } else { &["broken library app/bin/x"] },
        texts: &[],
    };
    let multiarch = || only(&[library("usr/lib/x86_64-linux-gnu/liba.so.1")]);
    let nothing = || only(&[library("usr/lib/x86_64-linux-gnu/liba.so.2")]);
    let at = |path| only(&[library(path)]);
    let conf = |lines: &str, path| {
        layer_of(
            &["etc/ld.so.conf=include /etc/ld.so.conf.d/*.conf", &format!("etc/ld.so.conf.d/a.conf={lines}")],
            &[library(path)],
        )
    };
    run(&[
        found("another soname", multiarch(), nothing(), only(&[x()]), false),
        found("another directory", multiarch(), at("lib64/liba.so.1"), only(&[x()]), true),
        found(
            "for another architecture",
            multiarch(),
            only(&[library("lib/liba.so.1").machine(3, 32)]),
            only(&[x()]),
            false,
        ),
        found("nowhere to be looked for", multiarch(), at("opt/liba.so.1"), only(&[x()]), false),
        found("configured", multiarch(), conf("# a\n/opt/a /opt/b\n", "opt/b/liba.so.1"), only(&[x()]), true),
        found("configured elsewhere", multiarch(), conf("#/opt/b\n", "opt/b/liba.so.1"), only(&[x()]), false),
        found("run path", multiarch(), at("app/lib/liba.so.1"), only(&[x().runpath("$ORIGIN/../lib")]), true),
        found(
            "run path with braces",
            multiarch(),
            at("app/lib64/liba.so.1"),
            only(&[x().rpath("${ORIGIN}/../$LIB")]),
            true,
        ),
        found(
            "run path before rpath",
            multiarch(),
            at("r/liba.so.1"),
            only(&[x().rpath("/r").runpath("/s")]),
            false,
        ),
        found(
            "own library in the way of nothing",
            multiarch(),
            nothing(),
            only(&[x().runpath("/app"), library("app/liba.so.1")]),
            true,
        ),
        found(
            "by path",
            at("opt/liba.so.1"),
            nothing(),
            only(&[program("app/bin/x").needs(&["/opt/liba.so.1"])]),
            false,
        ),
        found(
            "through a link of a directory",
            at("usr/lib64/liba.so.1"),
            layer_of(&["lib64->usr/lib64"], &[library("usr/lib64/liba.so.1")]),
            only(&[x()]),
            true,
        ),
        found(
            "link that leads in circles",
            multiarch(),
            layer_of(&["lib->lib64", "lib64->lib"], &[]),
            only(&[x()]),
            false,
        ),
    ]);
}

#[test]
fn musl_has_its_own_search_path() {
    let loader = || library("lib/ld-musl-x86_64.so.1");
    let x = || {
        program("app/x").interpreter("/lib/ld-musl-x86_64.so.1").needs(&[
            "libc.musl-x86_64.so.1",
            "libc.so",
            "libz.so.1",
        ])
    };
    let base = |entries: &[&str], path: Option<&'static str>| {
        layer_of(entries, &[Some(loader()), path.map(library)].into_iter().flatten().collect::<Vec<_>>())
    };
    let broken: &[&str] = &["broken library app/x"];
    run(&[
        Case {
            name: "there",
            old: base(&[], Some("lib/libz.so.1")),
            new: base(&[], Some("usr/local/lib/libz.so.1")),
            own: only(&[x()]),
            graded: &[],
            texts: &[],
        },
        Case {
            name: "not in lib64",
            old: base(&[], Some("lib/libz.so.1")),
            new: base(&[], Some("lib64/libz.so.1")),
            own: only(&[x()]),
            graded: broken,
            texts: &[],
        },
        Case {
            name: "path file",
            old: base(&[], Some("lib/libz.so.1")),
            new: base(&["etc/ld-musl-x86_64.path=/a\n/opt/z"], Some("opt/z/libz.so.1")),
            own: only(&[x()]),
            graded: &[],
            texts: &[],
        },
        Case {
            name: "glibc instead",
            old: base(&[], Some("lib/libz.so.1")),
            new: only(&glibc(&[])),
            own: only(&[program("app/x").interpreter("/lib/ld-musl-x86_64.so.1")]),
            graded: &["broken interpreter app/x", "broken distribution "],
            texts: &[
                "/app/x needs the loader /lib/ld-musl-x86_64.so.1, which is missing",
                "the new base has another C library: glibc after musl",
            ],
        },
    ]);
}

#[test]
fn what_was_missing_before_is_a_note() {
    let own = only(&[
        program("app/x").needs(&["libjvm.so", "libnone.so"]),
        library("app/plugins/libjvm.so"),
        library("app/y.so").needs(&["libjvm.so"]),
    ]);
    run(&[Case {
        name: "notes",
        old: layer(&["a=1"]),
        new: layer(&["a=2"]),
        own,
        graded: &[],
        texts: &[
            "libjvm.so, needed by /app/x and 1 more, is not in the loader's search path, before and after; the application has a file of that name",
            "libnone.so, needed by /app/x, was not found, before and after",
        ],
    }]);
}

#[test]
fn static_programs_are_named() {
    run(&[Case {
        name: "Go",
        old: layer(&["a=1"]),
        new: layer(&["a=2"]),
        own: only(&[binary("app/server", ElfKind::Static).language("Go 1.22.1")]),
        graded: &[],
        texts: &["/app/server (Go 1.22.1) is statically linked: a new base does not patch it"],
    }]);
}

#[test]
fn scripts_need_what_runs_them() {
    let script = |line: &str| layer(&[&format!("@755 usr/bin/run=#!{line}\n")]);
    let case = |name, old: &[&str], new: &[&str], line: &str, graded| Case {
        name,
        old: layer(old),
        new: layer(new),
        own: script(line),
        graded,
        texts: &[],
    };
    let broken: &[&str] = &["broken script usr/bin/run"];
    run(&[
        case("gone", &["bin/bash=1"], &["bin/sh=1"], "/bin/bash -e", broken),
        case("there through a link", &["bin/bash=1"], &["bin->usr/bin", "usr/bin/bash=1"], "/bin/bash", &[]),
        case("never there", &["bin/sh=1"], &["bin/sh=2"], "/bin/bash", &[]),
        case(
            "env",
            &["usr/bin/env=1", "usr/bin/python3=1"],
            &["usr/bin/env=1"],
            "/usr/bin/env python3",
            broken,
        ),
        case(
            "env, there",
            &["usr/bin/env=1", "usr/bin/python3=1"],
            &["usr/bin/env=1", "usr/local/bin/python3=1"],
            "/usr/bin/env python3",
            &[],
        ),
    ]);
}

fn with_config(old: &[&str], new: &[&str], own: &[&str], settings: [Value; 2]) -> Assessment {
    let [app, result] =
        settings.map(|settings| object(&json!({"architecture": "amd64", "config": settings})));
    let (old, new, own) = ([layer(old)], [layer(new)], [layer(own)]);
    let config = config();
    let input = Input {
        old: &old,
        new: &new,
        own: &own,
        app_config: &app,
        old_config: None,
        new_config: &config,
        result_config: &result,
        steps: Some(&[]),
    };
    assess(&input).unwrap()
}

#[test]
fn what_the_config_names_must_stay() {
    let path = json!(["PATH=/opt/bin:/bin"]);
    type Case =
        (&'static str, &'static [&'static str], &'static [&'static str], Value, &'static [&'static str]);
    let cases: [Case; 10] = [
        (
            "entry point gone",
            &["bin/java=1"],
            &["x=1"],
            json!({"Entrypoint": ["/bin/java", "-jar"]}),
            &["broken entrypoint bin/java"],
        ),
        ("entry point never there", &["x=1"], &["x=2"], json!({"Entrypoint": ["/bin/java"]}), &[]),
        (
            "command, by PATH",
            &["opt/bin/java=1"],
            &["bin/java=1"],
            json!({"Cmd": ["java"], "Env": path}),
            &[],
        ),
        (
            "command, not in PATH",
            &["opt/bin/java=1"],
            &["opt/java=1"],
            json!({"Cmd": ["java"], "Env": path}),
            &["broken entrypoint java"],
        ),
        (
            "relative",
            &["srv/run=1"],
            &["run=1"],
            json!({"Cmd": ["./run"], "WorkingDir": "/srv"}),
            &["broken entrypoint ./run"],
        ),
        (
            "variable",
            &["usr/lib/jvm/17/a=1"],
            &["usr/lib/jvm/21/a=1"],
            json!({"Env": ["JAVA_HOME=/usr/lib/jvm/17"]}),
            &["broken variable usr/lib/jvm/17"],
        ),
        (
            "user gone",
            &["etc/passwd=app:x:7:7::/:/"],
            &["etc/passwd=web:x:7:7::/:/"],
            json!({"User": "app"}),
            &["broken user etc/passwd"],
        ),
        (
            "user by number",
            &["etc/passwd=app:x:7:7::/:/"],
            &["etc/passwd=web:x:7:7::/:/"],
            json!({"User": "7"}),
            &[],
        ),
        (
            "group gone",
            &["etc/group=app:x:7:"],
            &["etc/group="],
            json!({"User": "7:app"}),
            &["broken user etc/group"],
        ),
        (
            "wrong types",
            &["a=1"],
            &["a=2"],
            json!({"User": 7, "Env": {"A": 1}, "Cmd": "x", "Entrypoint": [null]}),
            &[],
        ),
    ];
    for (name, old, new, settings, expected) in cases {
        let assessment = with_config(old, new, &["app/x=x"], [settings.clone(), settings.clone()]);
        assert_eq!(graded(&assessment), expected, "{name}: {:#?}", assessment.findings);
    }
}

#[test]
fn architectures_are_compared() {
    let app = object(&json!({"architecture": "arm64"}));
    let result = object(&json!({"architecture": "arm64", "variant": "v8"}));
    let amd64 = object(&json!({"architecture": "amd64"}));
    let (base, own) = ([layer(&["a=1"])], [only(&[binary("app/x", ElfKind::Static).machine(183, 64)])]);
    for (result, grade) in [(&result, Grade::Clean), (&amd64, Grade::Broken)] {
        let input = Input {
            old: &base,
            new: &base,
            own: &own,
            app_config: &app,
            old_config: None,
            new_config: result,
            result_config: result,
            steps: Some(&[]),
        };
        assert_eq!(assess(&input).unwrap().grade, grade);
    }
}

#[test]
fn scripts_that_nobody_runs_break_nothing() {
    let script = layer(&["@755 srv/node_modules/x/test.sh=#!/bin/bash\n"]);
    let assessment = judge(&[layer(&["bin/bash=1"])], &[layer(&["bin/sh=1"])], &[script]);
    assert_eq!(graded(&assessment), ["shadowed script srv/node_modules/x/test.sh"]);
}

#[test]
fn loader_configurations_that_include_each_other_end() {
    let file = |n: usize| format!("etc/ld.so.conf.d/{n}.conf=include /etc/ld.so.conf.d/*.conf\n/opt/{n}\n");
    let files: Vec<String> = (0..2000).map(file).collect();
    let mut entries: Vec<&str> = files.iter().map(String::as_str).collect();
    entries.push("etc/ld.so.conf=include ld.so.conf.d/*.conf\n");
    let base = layer(&entries);
    assert_eq!(
        judge(std::slice::from_ref(&base), std::slice::from_ref(&base), &[layer(&["app/x=1"])]).grade,
        Grade::Clean
    );
}
