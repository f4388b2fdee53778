//! Where everything happens: one folder, one storage for buildah, one registry, all gone with the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use palan_server::{Registry, Server};
use serde_json::Value;

use crate::tools::{output, run, works};

/// A folder, a registry in this process, and buildah with a storage of its own.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    driver: &'static str,
    server: Server,
    // The server lives on it.
    _runtime: tokio::runtime::Runtime,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Registry::memory().serve("127.0.0.1:0")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "run", "tmp", "var-lib", "context", "dockerfiles"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("nothing.conf"), "").unwrap();
        let mut lab = Self { folder, driver: "overlay", server, _runtime: runtime };
        let wanted = std::env::var("PALAN_TEST_STORAGE").ok();
        // Overlays do not nest: inside a container, whole copies of each layer have to do.
        if wanted.as_deref() == Some("vfs") || !lab.mounts() {
            let _ = fs::remove_dir_all(lab.path("storage"));
            lab.driver = "vfs";
        }
        lab
    }

    pub(crate) fn driver(&self) -> &'static str {
        self.driver
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `127.0.0.1:PORT/name`
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.server.host())
    }

    fn mounts(&self) -> bool {
        let container = self.buildah(&["from", "scratch"]).output();
        let Ok(container) = container else { return false };
        let container = String::from_utf8_lossy(&container.stdout).trim().to_owned();
        let mounted = works(&mut self.buildah(&["mount", &container]));
        works(&mut self.buildah(&["rm", &container])) && mounted
    }

    /// Never the user's storage, and never the user's configuration.
    pub(crate) fn buildah(&self, words: &[&str]) -> Command {
        self.stored(Command::new("buildah"), words)
    }

    /// For commands that read or write images: they keep digests of blobs in a folder of the system, which is another
    /// one for them. What they mount, nobody else sees.
    pub(crate) fn hidden_buildah(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /var/lib && exec \"$@\""]);
        command.arg(self.path("var-lib")).arg("buildah");
        self.stored(command, words)
    }

    fn stored(&self, mut command: Command, words: &[&str]) -> Command {
        command.arg("--root").arg(self.path("storage")).arg("--runroot").arg(self.path("run"));
        command.args(["--storage-driver", self.driver]).args(words);
        self.own(&mut command);
        let nothing = self.path("nothing.conf");
        for file in ["CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"] {
            command.env(file, &nothing);
        }
        command
    }

    pub(crate) fn palan(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palan"));
        self.own(command.args(words));
        command
    }

    fn own(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.path("home"));
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("TMPDIR", self.path("tmp"));
        command.current_dir(self.path("context")).stdin(Stdio::null());
    }

    pub(crate) fn push(&self, local: &str, name: &str) {
        let target = format!("docker://{}", self.at(name));
        run(&mut self.hidden_buildah(&["push", "-q", "--tls-verify=false", local, &target]));
    }

    pub(crate) fn pull(&self, name: &str) {
        let from = format!("docker://{}", self.at(name));
        run(&mut self.hidden_buildah(&["pull", "-q", "--policy", "always", "--tls-verify=false", &from]));
    }

    /// Forgets an image, where images are big.
    pub(crate) fn forget(&self, image: &str) {
        if self.driver == "vfs" {
            run(&mut self.buildah(&["rmi", image]));
        }
    }

    /// A document as palan reads it: `manifest` or `config`.
    pub(crate) fn document(&self, verb: &str, name: &str) -> Value {
        serde_json::from_str(&run(&mut self.palan(&[verb, &self.at(name)]))).unwrap()
    }

    /// The file system of an image that buildah has, mounted by buildah.
    pub(crate) fn mount(&self, image: &str) -> Mounted<'_> {
        let container = run(&mut self.buildah(&["from", "--isolation", "chroot", "--pull-never", image]));
        let root = run(&mut self.buildah(&["mount", &container])).into();
        Mounted { lab: self, container, root }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = output(&mut self.buildah(&["rm", "--all"]));
    }
}

/// A mounted image, until it is dropped.
pub(crate) struct Mounted<'a> {
    lab: &'a Lab,
    container: String,
    pub(crate) root: PathBuf,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = output(&mut self.lab.buildah(&["rm", &self.container]));
    }
}
