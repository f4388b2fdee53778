//! The embedded registry as a process of its own, and what Ctrl-C leaves behind.

#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
};

use insta::assert_snapshot;
use palan_testkit::fault::{FaultRegistry, Reply};

use crate::{TestContext, family, signals::send};

/// A child that is killed when a test fails.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn interrupt(child: &Child) {
    send("-INT", child);
}

pub(crate) fn serve(
    context: &TestContext,
    words: &[&str],
) -> (Running, String, BufReader<std::process::ChildStderr>) {
    let mut command = context.command(&[&["registry", "serve"], words].concat());
    let mut child = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let host = line.trim_end().strip_prefix("serving on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, host, stderr)
}

#[test]
fn what_is_pushed_survives_a_restart() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    let (mut child, host, mut stderr) = serve(&context, &["--dir", "store"]);
    context.name(&host, "SERVED");
    context.name(host.rsplit_once(':').unwrap().1, "PORT");
    context.run(&["copy", "@@app:1", &format!("{host}/kept:1")]).ok();
    interrupt(&child.0);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_snapshot!(context.filter(&rest), @"
    serving on port [PORT]
    kept in store
    try:
      palan copy IMAGE [SERVED]/my/image:1
      palan inspect [SERVED]/my/image:1
      palan catalog [SERVED]
    stopping
    ");
    let (_child, host, _stderr) = serve(&context, &["--disk", "store"]);
    context.run(&["validate", &format!("{host}/kept:1")]).ok();
}

/// crane's old flag: what is pushed is gone at the end, the directory too.
#[test]
fn blobs_to_disk_keeps_nothing() {
    let context = TestContext::new();
    let mut command =
        context.command(&["registry", "serve", "--blobs-to-disk", "--disk", "", "--address", ""]);
    std::fs::create_dir(context.path("tmp")).unwrap();
    let mut child =
        Running(command.env("TMPDIR", context.path("tmp")).stderr(Stdio::piped()).spawn().unwrap());
    let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
    let mut lines = [const { String::new() }; 3];
    for line in &mut lines {
        stderr.read_line(line).unwrap();
    }
    let host = lines[0].trim_end().strip_prefix("serving on ").unwrap();
    assert_eq!(lines[1].trim_end(), format!("serving on port {}", host.rsplit_once(':').unwrap().1));
    assert!(context.filter(&lines[2]).starts_with("kept in tmp/"), "{}", lines[2]);
    context.push("app:1", &family("linux/amd64").app.graph());
    context.run(&["copy", "@@app:1", &format!("{host}/app:1")]).ok();
    interrupt(&child.0);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(context.path("tmp")).unwrap().count(), 0);
    assert_eq!(context.run(&["registry", "serve", "--blobs-to-disk", "--disk", "x"]).code, Some(2));
}

#[test]
fn answers_wait_as_long_as_they_are_told_to() {
    let context = TestContext::new();
    let (_child, host, _stderr) = serve(&context, &["--delay", "400ms"]);
    let begun = std::time::Instant::now();
    context.run(&["catalog", &host]).ok();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_snapshot!(context.run(&["registry", "serve", "--delay", "soon"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'soon' for '--delay <TIME>': a time is expected, like 30s or 5m

    For more information, try '--help'.
    ");
}

#[test]
fn the_port_comes_from_the_flag_or_the_environment() {
    let context = TestContext::new();
    let taken = context.host();
    let port = taken.rsplit_once(':').unwrap().1;
    context.name(port, "PORT");
    assert_snapshot!(context.run(&["registry", "serve", "--port", port]), @"
    exit: 1
    --- stdout

    --- stderr
    error: cannot listen on [HOST]
      caused by: Address already in use (os error 98)
    ");
    assert_snapshot!(context.run_with(&["registry", "serve"], &[("PORT", port.as_ref())]), @"
    exit: 1
    --- stdout

    --- stderr
    error: cannot listen on [HOST]
      caused by: Address already in use (os error 98)
    ");
    assert_snapshot!(context.run_with(&["registry", "serve"], &[("PORT", "http".as_ref())]), @"
    exit: 2
    --- stdout

    --- stderr
    error: PORT is not a port number: http
    ");
    assert_snapshot!(context.run(&["registry", "serve", "--address", "example.com"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'example.com' for '--address <ADDRESS>': an IP address is expected, with or without a port, found "example.com"

    For more information, try '--help'.
    "#);
}

/// A registry whose layers never end; says when one is asked for.
fn stalling(context: &TestContext) -> (FaultRegistry, Receiver<()>) {
    let app = family("linux/amd64").app;
    let (graph, manifest) = (app.graph(), app.manifest);
    let config = manifest.view::<palan_core::view::Manifest>().unwrap().config.digest;
    let (asked, layer_asked) = channel();
    let registry = context.faulty(move |request| {
        let path = request.path().to_owned();
        if path.contains("/manifests/") {
            let reply = Reply::ok(manifest.bytes().clone());
            return reply.header("Content-Type", manifest.media_type().as_str());
        }
        match graph.blobs.iter().find(|(d, _)| path.ends_with(&d.digest.to_string())) {
            None => Reply::status(200),
            Some((blob, content)) if blob.digest == config => Reply::ok(content.clone()),
            Some((_, content)) => {
                let _ = asked.send(());
                Reply::ok(content.clone()).stall_after(10)
            }
        }
    });
    (registry, layer_asked)
}

#[test]
fn an_interrupted_pull_leaves_nothing() {
    let commands: [&[&str]; 6] = [
        &["pull", "IMAGE", "x.tar"],
        &["pull", "IMAGE", "-"],
        &["copy", "IMAGE", "oci-archive:x.tar"],
        &["pull", "--format", "oci", "IMAGE", "x"],
        &["copy", "IMAGE", "oci:x/y"],
        &["export", "IMAGE", "--dir", "x"],
    ];
    let commands = commands.iter().filter(|words| cfg!(target_os = "linux") || words[0] != "export");
    for words in commands {
        let context = TestContext::new();
        let (registry, layer_asked) = stalling(&context);
        let image = format!("{}/app:1", registry.host());
        let words: Vec<_> = words.iter().map(|word| word.replace("IMAGE", &image)).collect();
        let mut command = context.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let temporary = context.home("tmp");
        std::fs::create_dir(&temporary).unwrap();
        command.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().unwrap());
        layer_asked.recv().unwrap();
        interrupt(&child.0);
        assert_eq!(child.0.wait().unwrap().code(), Some(130));
        let mut stderr = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "error: interrupted\n");
        assert_eq!(context.left(), Vec::<String>::new(), "{words:?}");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "{words:?}");
    }
}
