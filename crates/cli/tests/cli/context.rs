//! What the tests of the command line share: a registry in this process, a home of its own, the real binary, and
//! output in which everything that changes from run to run has a name instead.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use palan_server::{Registry, Server};
use palan_testkit::fault::{FaultRegistry, Reply, Request};
use tokio::runtime::Runtime;

/// A folder, a registry, and names for what is in them.
pub(crate) struct TestContext {
    folder: tempfile::TempDir,
    runtime: Runtime,
    server: Server,
    names: RefCell<Vec<(String, String)>>,
}

/// What a command did.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    shown: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Ran {
    /// stdout as text, without the final line break.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap().trim_end_matches('\n').to_owned()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }
}

impl TestContext {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Registry::memory().with_request_log().serve("127.0.0.1:0")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { folder, runtime, server, names: RefCell::default() }
    }

    /// `127.0.0.1:PORT`, shown as `[HOST]`.
    pub(crate) fn host(&self) -> String {
        self.server.host()
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.server.registry()
    }

    /// What the registry was asked so far: `GET /v2/…`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.registry().logged().iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }

    /// One more registry, which answers with what `handler` gives.
    pub(crate) fn faulty(
        &self,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> FaultRegistry {
        self.runtime.block_on(FaultRegistry::start(handler))
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A file or directory where commands run.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Files and directories where commands run, for tests that nothing is left behind.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.path(""))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Shows a digest by a name in what follows.
    pub(crate) fn name(&self, digest: impl fmt::Display, name: &str) {
        self.names.borrow_mut().push((digest.to_string(), format!("[{name}]")));
    }

    /// The binary, with an environment of its own. `@@` in an argument stands for the registry and a slash.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palan"));
        command.env_clear().env("HOME", self.folder.path().join("home")).current_dir(self.path(""));
        command.args(words.iter().map(|w| w.replace("@@", &format!("{}/", self.host()))));
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.show(self.command(words).output().unwrap())
    }

    pub(crate) fn run_with(&self, words: &[&str], env: &[(&str, &OsStr)]) -> Ran {
        self.show(self.command(words).envs(env.iter().copied()).output().unwrap())
    }

    pub(crate) fn run_input(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that fails may not read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        self.show(child.wait_with_output().unwrap())
    }

    pub(crate) fn show(&self, output: Output) -> Ran {
        let code = output.status.code();
        let stderr = self.filter(&String::from_utf8_lossy(&output.stderr));
        let stdout = self.filter(&String::from_utf8_lossy(&output.stdout));
        let exit = code.map_or("none".to_owned(), |c| c.to_string());
        let shown = format!("exit: {exit}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        Ran { code, stdout: output.stdout, stderr, shown: shown.trim_end().to_owned() }
    }

    /// Replaces what changes from run to run.
    pub(crate) fn filter(&self, text: &str) -> String {
        let mut text = text.replace(&self.host(), "[HOST]");
        for folder in [self.path(""), self.folder.path().to_owned()] {
            let folder = folder.display().to_string();
            text = text.replace(&format!("{}/", folder.trim_end_matches('/')), "").replace(&folder, "[DIR]");
        }
        for (digest, name) in self.names.borrow().iter() {
            text = text.replace(digest, name);
        }
        text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
        hide_digests(&text)
    }
}

/// Digests that have no name become `sha256:…`, in file names `sha256/…`.
fn hide_digests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("sha256") {
        let (before, digest) = rest.split_at(start + "sha256".len());
        out.push_str(before);
        rest = digest;
        let Some(hex) = digest.strip_prefix([':', '/']) else { continue };
        if hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len()) == 64 {
            out.push_str(&digest[..1]);
            out.push('…');
            rest = &hex[64..];
        }
    }
    out + rest
}
