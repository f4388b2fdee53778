//! Two releases of a base image, made of programs of this machine, that differ as releases of base images do.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    lab::Lab,
    tools::{find, run, skip},
};

/// What the recipes run inside the base.
const PROGRAMS: [&str; 28] = [
    "dash",
    "cat",
    "cp",
    "ls",
    "mkdir",
    "rm",
    "rmdir",
    "chmod",
    "chown",
    "ln",
    "mv",
    "touch",
    "sort",
    "wc",
    "sed",
    "head",
    "tar",
    "dpkg",
    "dpkg-deb",
    "dpkg-query",
    "dpkg-split",
    "start-stop-daemon",
    "ldconfig",
    "useradd",
    "groupadd",
    "setcap",
    "cut",
    "diff",
];

const APT: [&str; 7] = [
    "/usr/bin/apt-get",
    "/usr/lib/apt/methods/file",
    "/usr/lib/apt/methods/store",
    "/usr/lib/apt/methods/copy",
    "/usr/share/dpkg/cputable",
    "/usr/share/dpkg/ostable",
    "/usr/share/dpkg/tupletable",
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Old,
    New,
}

impl Release {
    pub(crate) fn name(self) -> &'static str {
        self.pick("old", "new")
    }

    fn pick<T>(self, old: T, new: T) -> T {
        match self {
            Self::Old => old,
            Self::New => new,
        }
    }
}

/// Whether the machine has what `apt-get` in a base needs.
pub(crate) fn has_apt() -> bool {
    APT.iter().all(|file| Path::new(file).is_file())
}

/// Pushes both releases of every base, as `base/NAME:old` and `base/NAME:new`.
pub(crate) fn make(lab: &Lab) {
    if !has_apt() {
        skip("apt-get is not installed: nothing is installed with it");
    }
    let programs = lab.path("programs");
    copy_programs(&programs);
    for release in [Release::Old, Release::New] {
        let context = lab.path(format!("base-{}", release.name()));
        system(&context.join("system"), release, &programs);
        runtime(&context.join("runtime"), release);
        for layer in ["system", "runtime"] {
            run(Command::new("tar").current_dir(&context).args(["--numeric-owner", "-cf"]).args([
                &format!("{layer}.tar"),
                "-C",
                layer,
                ".",
            ]));
        }
        for (name, format, text) in containerfiles(release) {
            let file = context.join(name);
            fs::write(&file, text).unwrap();
            let local = format!("localhost/{name}:{}", release.name());
            let words =
                ["bud", "-q", "--isolation", "chroot", "--layers", "--format", format, "-t", &local, "-f"];
            run(lab.hidden_buildah(&words).arg(&file).arg(&context));
            lab.push(&local, &format!("base/{name}:{}", release.name()));
        }
    }
}

/// `os` is what most images stand on; `service` has every field of a config; `trigger` has triggers.
fn containerfiles(release: Release) -> [(&'static str, &'static str, String); 3] {
    let r = release.pick("12", "13");
    let paths = release.pick("/opt/runtime/bin", "/opt/runtime/bin:/opt/runtime/sbin");
    let env = release.pick("OLD_ONLY=1", "NEW_ONLY=1");
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let os = format!(
        "FROM scratch\nADD system.tar /\nADD runtime.tar /\nRUN rm -rf /opt/leftover\n\
         ENV PATH={paths}:{system}\nENV RELEASE={r} LANG=C.UTF-8 {env}\n\
         LABEL org.example.release={r} org.example.{}=yes\nCMD [\"sh\", \"-c\", \"echo {r}\"]\n",
        release.pick("old", "new"),
    );
    let (port, user) = release.pick(("8080", "service"), ("8443", "service:service"));
    let service = format!(
        "FROM localhost/os:{}\nENTRYPOINT [\"/opt/runtime/bin/start\", \"--release={r}\"]\nCMD [\"serve\", \"{r}\"]\n\
         USER {user}\nWORKDIR /var/lib/service{r}\nEXPOSE {port}\nVOLUME /var/lib/service{r}\n\
         STOPSIGNAL {}\nHEALTHCHECK --interval={r}s CMD /opt/runtime/bin/check {r}\nSHELL [\"/bin/sh\", \"-{}\"]\n",
        release.name(),
        release.pick("SIGTERM", "SIGQUIT"),
        release.pick("c", "ec"),
    );
    let trigger = format!(
        "FROM localhost/os:{}\nONBUILD ENV TRIGGERED={r}\nONBUILD COPY hello /srv/triggered-{r}\n",
        release.name()
    );
    [("os", "oci", os), ("service", "docker", service), ("trigger", "docker", trigger)]
}

/// Copies programs and the libraries they load into a root file system in which `/bin`, `/sbin` and `/lib` are links.
fn copy_programs(root: &Path) {
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let found = find(name).unwrap_or_else(|| panic!("{name} is not installed"));
        let folder = if found.parent().is_some_and(|p| p.ends_with("sbin")) { "usr/sbin" } else { "usr/bin" };
        fs::copy(&found, root.join(folder).join(name)).unwrap();
        libraries.extend(loaded(&found));
    }
    symlink("dash", root.join("usr/bin/sh")).unwrap();
    for file in APT.iter().filter(|_| has_apt()) {
        copy_to(Path::new(file), root);
        libraries.extend(loaded(Path::new(file)));
    }
    for library in libraries {
        copy_to(&library, root);
    }
}

/// To the same path under `root`, through the links there.
fn copy_to(file: &Path, root: &Path) {
    let target = root.join(file.strip_prefix("/").unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(file, target).unwrap();
}

/// What `ldd` says a program loads: nothing, when it is static.
fn loaded(program: &Path) -> Vec<PathBuf> {
    let said = Command::new("ldd").arg(program).env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

struct Root<'a>(&'a Path);

impl Root<'_> {
    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let file = self.0.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        self.mode(path, 0o644)
    }

    fn program(&self, path: &str, content: &str) -> &Self {
        self.file(path, format!("#!/bin/sh\n{content}\n")).mode(path, 0o755)
    }

    fn folder(&self, path: &str) -> &Self {
        fs::create_dir_all(self.0.join(path)).unwrap();
        self.mode(path, 0o755)
    }

    fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn owner(&self, path: &str, owner: u32) -> &Self {
        chown(self.0.join(path), Some(owner), Some(owner)).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.0.join(path)).unwrap();
        self
    }
}

/// The first layer: the distribution.
fn system(path: &Path, release: Release, programs: &Path) {
    fs::create_dir(path.parent().unwrap()).unwrap();
    run(Command::new("cp").arg("-a").arg(programs).arg(path));
    let root = Root(path);
    let r = release.pick("12", "13");
    root.file("etc/os-release", format!("ID=debian\nVERSION_ID=\"{r}\"\nPRETTY_NAME=\"Example {r}\"\n"))
        .file("etc/debian_version", format!("{r}.1\n"))
        .file("etc/banner", "the same in every release\n")
        .file("etc/motd", format!("Welcome to release {r}{}\n", release.pick("", ", at last")))
        .file("etc/app.conf", format!("color=blue\nrelease={r}\n"))
        .file(
            "etc/login.defs",
            "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\n",
        )
        .file("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .file("etc/ld.so.conf", "/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib/aarch64-linux-gnu\n")
        .file("etc/ssl/certs/ca-certificates.crt", certificates(release))
        .file("usr/share/misc/release-notes", format!("notes of {r}\n"))
        .file("opt/leftover/file", "removed by a layer above\n");
    accounts(&root, release);
    packages(&root, release);
    for folder in
        ["tmp", "run", "proc", "sys", "dev", "root", "srv", "home", "var/log/apt", "var/tmp", "usr/local/bin"]
    {
        root.folder(folder);
    }
    root.mode("tmp", 0o1777).mode("var/tmp", 0o1777).mode("root", 0o700);
    run(Command::new(find("ldconfig").unwrap()).arg("-r").arg(path));
}

fn certificates(release: Release) -> String {
    let certificate =
        |name: &str| format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n");
    release.pick(["YQ==", "Yg=="], ["YQ==", "Yw=="]).map(certificate).concat()
}

fn accounts(root: &Root<'_>, release: Release) {
    let (added, moved) = release.pick(("", 210), ("messages", 211));
    let line = |text: &str| if added.is_empty() { String::new() } else { format!("{added}{text}\n") };
    root.file(
        "etc/passwd",
        format!(
            "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\n\
             service:x:200:200::/var/lib/service:/bin/sh\nmover:x:{moved}:{moved}::/:/bin/sh\n{}nobody:x:65534:65534::/nonexistent:/bin/false\n",
            line(":x:201:201::/nonexistent:/bin/false")
        ),
    )
    .file(
        "etc/group",
        format!("root:x:0:\nshadow:x:43:\nservice:x:200:\nmover:x:{moved}:\n{}nogroup:x:65534:\n", line(":x:201:")),
    )
    .file(
        "etc/shadow",
        format!("root:*:19000:0:99999:7:::\nservice:!:19000::::::\n{}", line(":!:19000::::::")),
    )
    .mode("etc/shadow", 0o640)
    .file("etc/gshadow", format!("root:*::\nservice:!::\n{}", line(":!::")))
    .mode("etc/gshadow", 0o640);
}

/// The package database, and an archive of packages to install from.
fn packages(root: &Root<'_>, release: Release) {
    let version = release.pick("1.0-1", "1.0-1+deb13u2");
    let entry = |name: &str, version: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nPriority: required\nSection: libs\nMaintainer: nobody <n@example.org>\n\
             Architecture: all\nVersion: {version}\nDescription: {name}\n\n"
        )
    };
    let status: String = entry("libpatched1", version)
        + &entry("base-files", release.pick("12.1", "13.1"))
        + &release.pick(entry("legacy", "0.9"), entry("fresh", "2.0"));
    root.file("var/lib/dpkg/status", status)
        .file("var/lib/dpkg/available", "")
        .file("var/lib/dpkg/diversions", "")
        .file("var/lib/dpkg/statoverride", "")
        .folder("var/lib/dpkg/updates")
        .folder("var/lib/dpkg/triggers")
        .file("var/lib/dpkg/info/format", "1\n")
        .folder("etc/apt/apt.conf.d")
        .folder("etc/apt/preferences.d")
        .folder("etc/apt/trusted.gpg.d")
        .folder("var/cache/apt/archives/partial")
        .folder("var/lib/apt/lists/partial")
        .file("etc/apt/apt.conf.d/test", "APT::Sandbox::User \"root\";\nAPT::Architecture \"all\";\n")
        .file("etc/apt/sources.list", "deb [trusted=yes] file:/opt/archive ./\n");
    for name in ["libpatched1", "base-files", release.pick("legacy", "fresh")] {
        root.file(&format!("var/lib/dpkg/info/{name}.list"), "/.\n");
    }
    archive(root, release.pick("1.0", "1.1"));
}

fn archive(root: &Root<'_>, version: &str) {
    let file = package(&root.0.join("opt/archive"), version);
    let name = file.file_name().unwrap().to_str().unwrap();
    let control = run(Command::new("dpkg-deb").arg("-f").arg(&file));
    let sum = run(Command::new("sha256sum").arg(&file));
    let sum = sum.split_whitespace().next().unwrap();
    let size = fs::metadata(&file).unwrap().len();
    let index = format!("{control}\nFilename: ./{name}\nSize: {size}\nSHA256: {sum}\n\n");
    root.file("opt/archive/Packages", index);
}

/// Makes `greeter_VERSION.deb` in a folder.
pub(crate) fn package(folder: &Path, version: &str) -> PathBuf {
    let content = tempfile::tempdir().unwrap();
    Root(content.path())
        .file(
            "DEBIAN/control",
            format!(
                "Package: greeter\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <n@example.org>\n\
                 Description: says hello\n"
            ),
        )
        .mode("DEBIAN", 0o755)
        .program("usr/bin/greeter", &format!("echo hello {version}"))
        .mode("usr", 0o755)
        .mode("usr/bin", 0o755);
    fs::set_permissions(content.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(format!("greeter_{version}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(content.path()).arg(&file));
    file
}

/// The second layer: a language runtime, libraries, and what moves, comes and goes between releases.
fn runtime(path: &Path, release: Release) {
    fs::create_dir(path).unwrap();
    let root = Root(path);
    let r = release.pick("12", "13");
    root.program("opt/runtime/bin/start", &format!("echo start {r}"))
        .program("opt/runtime/bin/check", "exit 0")
        .folder("opt/runtime/sbin")
        .file("usr/share/doc/a", "a\n")
        .file("usr/share/doc/b", format!("b {r}\n"))
        .file("opt/kept/README", "the same in every release\n")
        .file("opt/kept/bin/tool", "the same tool in every release\n")
        .file("opt/conf/main.conf", format!("main {r}\n"))
        .file("opt/conf/stable.conf", "stable\n")
        .folder("opt/shared")
        .folder("opt/plugins")
        .folder("opt/releases/12")
        .folder("opt/releases/13")
        .link("opt/current", &format!("releases/{r}"))
        .folder(&format!("var/lib/service{r}"))
        .owner(&format!("var/lib/service{r}"), 200)
        .file(&format!("usr/lib/python3.1{}/site-packages/base.py", release.pick(1, 3)), "pass\n")
        .program(&format!("usr/bin/python3.1{}", release.pick(1, 3)), "exit 0")
        .link("usr/bin/python3", &format!("python3.1{}", release.pick(1, 3)));
    libraries(path, release);
    match release {
        Release::Old => root
            .file("opt/legacy/README", "gone in the new release\n")
            .file("opt/legacy/bin/tool", "gone in the new release\n")
            .folder("opt/data"),
        Release::New => root
            .file("opt/fresh/README", "only in the new release\n")
            .file("usr/share/doc/c", "c\n")
            .file("opt/conf/extra.conf", "extra\n")
            .mode("opt/shared", 0o1777)
            .owner("opt/plugins", 200)
            .folder("srv/data")
            .link("opt/data", "/srv/data"),
    };
}

/// `libgreet` changes its soname, `libpatched` its content, `libversioned` loses a version of its symbols.
fn libraries(path: &Path, release: Release) {
    let folder = path.join("usr/lib");
    fs::create_dir_all(&folder).unwrap();
    let number = release.pick(1, 2);
    library(
        &folder,
        &format!("libgreet.so.{number}"),
        &format!("int greet(void) {{ return {number}; }}"),
        "",
    );
    library(&folder, "libpatched.so.1", &format!("int patched(void) {{ return {number}; }}"), "");
    let symbols = release.pick("V_1.0 { global: one; local: *; };\nV_1.1 { global: two; };\n", {
        "V_1.0 { global: one; local: *; };\n"
    });
    let source = "int one(void) { return 1; } int two(void) { return 2; }";
    library(&folder, "libversioned.so.1", source, symbols);
}

/// Compiles a shared library.
pub(crate) fn library(folder: &Path, soname: &str, source: &str, symbols: &str) {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("source.c"), source).unwrap();
    fs::write(work.path().join("symbols"), symbols).unwrap();
    let mut cc = Command::new("cc");
    cc.current_dir(work.path()).args(["-shared", "-fPIC", "-nostdlib", "-o"]).arg(folder.join(soname));
    cc.arg(format!("-Wl,-soname,{soname}"));
    if !symbols.is_empty() {
        cc.arg("-Wl,--version-script=symbols");
    }
    run(cc.arg("source.c"));
}
