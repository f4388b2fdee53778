//! Files that go from one program to another: what `palan pull` writes is read by skopeo, umoci and buildah, what they
//! write is pushed by `palan push`. Every format, both ways. What is not installed is skipped, loudly and counted.

#![cfg(target_os = "linux")]
// Helpers are not tests to clippy, and a test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use palan_testkit::peer::{are_installed, skip};

/// The binary's own registry, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_palan"))
        .args(["registry", "serve", "--port", "0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("serving on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    std::thread::spawn(move || for _ in said.lines() {});
    Server { child, address }
}

fn command(folder: &Path, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.args(args).current_dir(folder).env_clear().env("PATH", path).stdin(Stdio::null());
    command.env("HOME", folder).env("XDG_RUNTIME_DIR", folder).env("TMPDIR", folder);
    command
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn palan(folder: &Path, args: &[&str]) -> String {
    run(command(folder, env!("CARGO_BIN_EXE_palan"), args))
}

fn skopeo(folder: &Path, args: &[&str]) -> String {
    run(command(folder, "skopeo", &[&["--insecure-policy"], args].concat()))
}

/// An image of two layers, the second made of a directory with links.
fn image(server: &Server, folder: &Path) -> String {
    fs::create_dir_all(folder.join("tree/bin")).unwrap();
    fs::write(folder.join("tree/bin/run"), "#!/bin/sh\n").unwrap();
    fs::hard_link(folder.join("tree/bin/run"), folder.join("tree/bin/same")).unwrap();
    std::os::unix::fs::symlink("run", folder.join("tree/bin/link")).unwrap();
    fs::write(folder.join("motd"), "hello\n").unwrap();
    let name = format!("{}/app:v1", server.address);
    palan(folder, &["append", "-f", "motd:/etc/motd", "-f", "tree", "-t", &name]);
    name
}

/// The file system of an image, as `umoci` unpacks it.
fn check_unpacked(folder: &Path, image: &str, bundle: &str) {
    run(command(folder, "umoci", &["unpack", "--rootless", "--image", image, bundle]));
    let root = folder.join(bundle).join("rootfs");
    assert_eq!(fs::read_to_string(root.join("etc/motd")).unwrap(), "hello\n");
    assert_eq!(fs::read_to_string(root.join("bin/same")).unwrap(), "#!/bin/sh\n");
    assert_eq!(fs::read_link(root.join("bin/link")).unwrap(), Path::new("run"));
}

#[test]
fn what_palan_pulls_skopeo_and_umoci_read() {
    if !are_installed(&["skopeo"]) || !are_installed(&["umoci"]) {
        return;
    }
    let (server, folder) = (serve(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let name = image(&server, folder);
    let config = palan(folder, &["config", &name]);
    for (format, transport) in [
        ("tarball", format!("docker-archive:tarball:{name}")),
        ("legacy", format!("docker-archive:legacy:{name}")),
        ("oci", "oci:oci".to_owned()),
        ("oci-archive", "oci-archive:oci-archive".to_owned()),
    ] {
        palan(folder, &["pull", "--format", format, &name, format]);
        assert_eq!(skopeo(folder, &["inspect", "--config", "--raw", &transport]), config, "{format}");
        let copied = format!("copied-{format}:v1");
        skopeo(folder, &["copy", "-q", &transport, &format!("oci:{copied}")]);
        check_unpacked(folder, &copied, &format!("bundle-{format}"));
    }
}

#[test]
fn what_skopeo_writes_palan_pushes() {
    if !are_installed(&["skopeo"]) {
        return;
    }
    let (server, folder) = (serve(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let name = image(&server, folder);
    let config = palan(folder, &["config", &name]);
    for (file, target) in [
        ("x.tar", "docker-archive:x.tar:localhost/team/app:v7"),
        ("layout", "oci:layout:v7"),
        ("y.tar", "oci-archive:y.tar:v7"),
    ] {
        skopeo(folder, &["copy", "-q", "--src-tls-verify=false", &format!("docker://{name}"), target]);
        let pushed = format!("{}/back/{}", server.address, file.replace('.', "-"));
        let one = palan(folder, &["push", file, &format!("{pushed}:one")]);
        let all = palan(folder, &["push", "--all-tags", file, &pushed]);
        assert_eq!(one, all, "{file}");
        assert_eq!(palan(folder, &["ls", &pushed]), "one\nv7", "{file}");
        assert_eq!(palan(folder, &["config", &format!("{pushed}:v7")]), config, "{file}");
        palan(folder, &["validate", "--remote", &format!("{pushed}:v7")]);
    }
}

/// umoci 0.4 writes layers whose last member is not padded and that have no end marker.
#[test]
fn what_umoci_inserts_is_read_and_appended_to() {
    if !are_installed(&["umoci"]) {
        return;
    }
    let (server, folder) = (serve(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    for args in [&["init", "--layout", "layout"][..], &["new", "--image", "layout:v1"]] {
        run(command(folder, "umoci", args));
    }
    fs::write(folder.join("file"), "seven b").unwrap();
    run(command(folder, "umoci", &["insert", "--rootless", "--image", "layout:v1", "file", "/etc/file"]));
    let name = format!("{}/umoci:v1", server.address);
    palan(folder, &["push", "oci:layout:v1", &name]);
    assert_eq!(palan(folder, &["validate", "--remote", &name]), format!("PASS: {name}"));
    // Its layer, compressed as it is, is a layer for append too.
    let manifest: serde_json::Value = serde_json::from_str(&palan(folder, &["manifest", &name])).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
    let layer = format!("layout/blobs/{layer}");
    let next = format!("{}/umoci:v2", server.address);
    palan(folder, &["append", "-b", &name, "-f", &layer, "-t", &next]);
    assert_eq!(palan(folder, &["validate", "--remote", &next]), format!("PASS: {next}"));
    palan(folder, &["pull", "--format", "legacy", &next, "legacy.tar"]);
    assert_eq!(palan(folder, &["validate", "--tarball", "legacy.tar"]), "PASS: legacy.tar");
}

fn buildah(folder: &Path, args: &[&str]) -> Command {
    let stored = ["--root", "storage", "--runroot", "run", "--storage-driver", "vfs"];
    let mut command = command(folder, "buildah", &[&stored, args].concat());
    for file in ["CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"] {
        command.env(file, folder.join("nothing.conf"));
    }
    command
}

#[test]
fn what_buildah_writes_palan_pushes_and_the_other_way_round() {
    if !are_installed(&["buildah"]) {
        return;
    }
    let (server, folder) = (serve(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    fs::write(folder.join("nothing.conf"), "").unwrap();
    fs::write(folder.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    let container = buildah(folder, &["from", "scratch"]).output().unwrap();
    if !container.status.success() {
        let why = String::from_utf8_lossy(&container.stderr).into_owned();
        skip(&format!("buildah cannot work here: {why}"));
        return;
    }
    let container = String::from_utf8(container.stdout).unwrap().trim().to_owned();
    run(buildah(folder, &["copy", &container, "file", "/etc/file"]));
    for (n, target) in ["docker-archive:a.tar:localhost/app:v1", "oci-archive:b.tar:v1", "oci:layout:v1"]
        .into_iter()
        .enumerate()
    {
        run(buildah(folder, &["commit", "-q", "--signature-policy", "policy.json", &container, target]));
        let file = target.split(':').nth(1).unwrap();
        let pushed = format!("{}/buildah:{n}", server.address);
        palan(folder, &["push", file, &pushed]);
        assert_eq!(palan(folder, &["validate", "--remote", &pushed]), format!("PASS: {pushed}"));
        for (format, transport) in [
            ("tarball", "docker-archive"),
            ("legacy", "docker-archive"),
            ("oci-archive", "oci-archive"),
            ("oci", "oci"),
        ] {
            let file = format!("{n}-{format}");
            palan(folder, &["pull", "--format", format, &pushed, &file]);
            let from = format!("{transport}:{file}");
            run(buildah(folder, &["pull", "-q", "--signature-policy", "policy.json", &from]));
        }
    }
}
