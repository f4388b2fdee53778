//! The main job on real files, checked by other people's tools.
//!
//! Two base images and an application are made of files of this machine, pushed to a registry, rebased by the `palan`
//! binary, and unpacked with `umoci` after a copy with `skopeo`: the new base's files must be there, and the
//! application's unharmed. Once on the embedded registry, once on Debian's `docker-registry`. What is not installed is
//! skipped, loudly and counted.

#![cfg(target_os = "linux")]
// Helpers are not tests to clippy, and a test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use palan_testkit::peer::{are_installed, find};

/// A server of this test's own, ended with it.
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

fn run(folder: &Path, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> String {
    let output = Command::new(program.as_ref())
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_RUNTIME_DIR", folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {args:?}: {stderr}", program.as_ref());
    String::from_utf8(output.stdout).unwrap()
}

fn palan(folder: &Path, args: &[&str]) -> String {
    run(folder, env!("CARGO_BIN_EXE_palan"), args).trim().to_owned()
}

fn embedded() -> Server {
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

fn docker_registry(folder: &Path) -> Server {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = folder.join("registry.yml");
    let store = folder.join("registry");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: {address}\nlog:\n  level: error\n",
        store.display()
    );
    fs::write(&config, text).unwrap();
    let child = Command::new("docker-registry")
        .args(["serve", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, address };
    // It says nothing when it is ready: connect until it answers, for at most half a minute.
    for _ in 0..300 {
        if std::net::TcpStream::connect(&server.address).is_ok() {
            return server;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("docker-registry did not answer on {}", server.address);
}

/// A tar of a folder with one release's worth of real files.
fn base(folder: &Path, version: &str) -> String {
    let root = folder.join(format!("base-{version}"));
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("etc/os-release"), format!("ID=debian\nVERSION_ID=\"{version}\"\n")).unwrap();
    fs::copy(find("tar").unwrap(), root.join("usr/bin/runtime")).unwrap();
    std::os::unix::fs::symlink("runtime", root.join(format!("usr/bin/runtime-{version}"))).unwrap();
    let tar = format!("base-{version}.tar");
    run(folder, "tar", &["-cf", &tar, "-C", root.to_str().unwrap(), "."]);
    tar
}

fn application(folder: &Path) -> (String, PathBuf) {
    let root = folder.join("app/srv/app");
    fs::create_dir_all(&root).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_palan"), root.join("server")).unwrap();
    fs::write(root.join("config.toml"), "port = 80\n").unwrap();
    run(folder, "tar", &["-czf", "app.tgz", "-C", folder.join("app").to_str().unwrap(), "."]);
    ("app.tgz".to_owned(), root)
}

fn rebase_on(server: &Server, folder: &Path) {
    let host = &server.address;
    let (old, new, app) =
        (format!("{host}/base/os:12"), format!("{host}/base/os:13"), format!("{host}/app/svc:1"));
    palan(folder, &["append", "--oci-empty-base", "-f", &base(folder, "12"), "-t", &old]);
    palan(folder, &["append", "--oci-empty-base", "-f", &base(folder, "13"), "-t", &new]);
    let (tar, source) = application(folder);
    palan(folder, &["append", "-b", &old, "-f", &tar, "-t", &app]);
    let patched = format!("{host}/app/svc:1-patched");
    let done = palan(folder, &["rebase", &app, "--old_base", &old, "--new_base", &new, "-t", &patched]);
    assert_eq!(done, format!("{host}/app/svc@{}", palan(folder, &["digest", &patched])));
    assert_eq!(palan(folder, &["validate", "--remote", &patched]), format!("PASS: {patched}"));

    let image = format!("docker://{patched}");
    run(
        folder,
        "skopeo",
        &["copy", "-q", "--insecure-policy", "--src-tls-verify=false", &image, "oci:out:x"],
    );
    run(folder, "umoci", &["unpack", "--rootless", "--image", "out:x", "bundle"]);
    let root = folder.join("bundle/rootfs");
    let release = fs::read_to_string(root.join("etc/os-release")).unwrap();
    assert!(release.contains("VERSION_ID=\"13\""), "{release}");
    assert_eq!(fs::read_link(root.join("usr/bin/runtime-13")).unwrap(), Path::new("runtime"));
    assert!(fs::symlink_metadata(root.join("usr/bin/runtime-12")).is_err(), "a file of the old base is left");
    for file in ["server", "config.toml"] {
        let (there, here) =
            (fs::read(root.join("srv/app").join(file)).unwrap(), fs::read(source.join(file)).unwrap());
        assert!(there == here, "{file} differs");
    }
}

#[test]
fn rebased_images_are_whole_on_the_embedded_registry() {
    if are_installed(&["skopeo", "umoci", "tar"]) {
        let folder = tempfile::tempdir().unwrap();
        rebase_on(&embedded(), folder.path());
    }
}

#[test]
fn rebased_images_are_whole_on_docker_registry() {
    if are_installed(&["skopeo", "umoci", "tar", "docker-registry"]) {
        let folder = tempfile::tempdir().unwrap();
        rebase_on(&docker_registry(folder.path()), folder.path());
    }
}

/// What skopeo reads is copied by it into a layout, which must be whole.
fn read_by_skopeo(folder: &Path, image: &str, name: &str) {
    let (from, to) = (format!("docker://{image}"), format!("oci:{name}:x"));
    let words = ["copy", "-q", "--all", "--insecure-policy", "--src-tls-verify=false", &from, &to];
    run(folder, "skopeo", &words);
    assert_eq!(palan(folder, &["validate", &to]), format!("PASS: {to}"));
}

#[test]
fn converted_images_and_made_indexes_are_read_by_skopeo() {
    if !are_installed(&["skopeo", "tar"]) {
        return;
    }
    let (folder, server) = (tempfile::tempdir().unwrap(), embedded());
    let (folder, host) = (folder.path(), &server.address);
    for (version, platform) in [("12", "linux/amd64"), ("13", "linux/arm64")] {
        let (tar, tag) = (base(folder, version), format!("{host}/os:{version}"));
        palan(folder, &["append", "--oci-empty-base", "--platform", platform, "-f", &tar, "-t", &tag]);
        let (from, to) = (format!("docker://{tag}"), format!("oci:by-skopeo:{version}"));
        run(folder, "skopeo", &["copy", "-q", "--insecure-policy", "--src-tls-verify=false", &from, &to]);
    }
    let index = format!("{host}/os:all");
    palan(folder, &["index", "append", "-m", "oci:by-skopeo:12", "-m", "oci:by-skopeo:13", "-t", &index]);
    read_by_skopeo(folder, &index, "index");
    for (name, form) in [
        ("docker", ["--to", "docker"].as_slice()),
        ("zstd", &["--compression", "zstd"]),
        ("plain", &["--to", "docker", "--compression", "none"]),
    ] {
        let target = format!("{host}/os:{name}");
        palan(folder, &[&["convert", &index, "-t", &target], form].concat());
        read_by_skopeo(folder, &target, name);
    }

    // The tag moves, and the image that had it is still there.
    palan(folder, &["copy", &format!("{host}/os:13"), "oci:by-skopeo:12"]);
    palan(folder, &["layout", "gc", "by-skopeo"]);
    assert_eq!(fs::read_dir(folder.join("by-skopeo/blobs/sha256")).unwrap().count(), 3);
    run(folder, "skopeo", &["inspect", "oci:by-skopeo:12"]);
    assert_eq!(palan(folder, &["validate", "oci:by-skopeo:12"]), "PASS: oci:by-skopeo:12");
}
