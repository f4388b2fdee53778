//! What every command has at hand: the printer, the environment, the global flags, and the way to the network.

use std::{
    fs::File,
    future::Future,
    io,
    path::Path,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt as _;

use palan::{
    Scratch,
    copy::{self, Foreign},
    documents::Documents,
    fleet::Bounds,
    place::Places,
};
use palan_client::{Client, Secret, credentials::Keychain};
use palan_layer::Limits;

use crate::{
    args::Global,
    env::Env,
    exit::{Code, Failure, Result},
    limits, registries,
    signals::{Ending, LAST_ORDERS},
    ui::{Progress, Ui, text},
};

pub(crate) struct Session {
    pub(crate) ui: Ui,
    pub(crate) env: Env,
    pub(crate) global: Global,
    places: OnceLock<Places>,
    bounds: OnceLock<Bounds>,
    /// Whether it was said that a credential file cannot be read.
    closed: OnceLock<()>,
    scratch: Scratch,
    ending: OnceLock<Arc<Ending>>,
}

impl Session {
    pub(crate) fn new(global: Global, env: Env, ui: Ui) -> Self {
        ui.listen(global.verbose);
        let scratch = env.scratch().remembering();
        Self {
            ui,
            env,
            global,
            places: OnceLock::new(),
            bounds: OnceLock::new(),
            closed: OnceLock::new(),
            scratch,
            ending: OnceLock::new(),
        }
    }

    /// Runs a command that does I/O, until it ends or Ctrl-C. Interrupted work is dropped, which removes its
    /// temporary files.
    pub(crate) fn block_on(&self, work: impl Future<Output = Result>) -> Result {
        self.until_interrupted(Box::pin(work))
    }

    /// Owns the work: what threads of their own do for it ends when it is dropped, and is waited for after that.
    fn until_interrupted(&self, work: Pin<Box<dyn Future<Output = Result> + '_>>) -> Result {
        let ending = self.ending()?;
        let result = self.drive(pin!(async {
            tokio::select! {
                biased;
                result = work => result,
                () = ending.wait() => Err(Failure::interrupted()),
            }
        }));
        if matches!(&result, Err(failure) if failure.code == Code::Interrupted) {
            // Threads that still wait for something end with the process, and cannot take along what they have made.
            self.scratch.sweep();
        }
        result
    }

    fn ending(&self) -> Result<&Arc<Ending>> {
        if let Some(ending) = self.ending.get() {
            return Ok(ending);
        }
        let ending = Ending::watch(self.scratch(), self.ui.clone())?;
        Ok(self.ending.get_or_init(|| ending))
    }

    /// Does work until it ends or Ctrl-C, which is `None`: then there is time for what must be done last. A second Ctrl-C
    /// ends that too.
    pub(crate) async fn orderly<T>(&self, work: impl Future<Output = T>) -> Result<Option<T>> {
        Ok(self.ending()?.orderly(work).await)
    }

    /// The folder for temporary files, and what is in it.
    pub(crate) fn scratch(&self) -> Scratch {
        self.scratch.clone()
    }

    /// A new folder in it.
    pub(crate) fn temporary_folder(&self) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir_in(self.scratch.path()).and_then(|folder| self.scratch.note(folder));
        folder.map_err(|e| Failure::file("write", self.scratch.path(), e))
    }

    /// Runs a command that deals with Ctrl-C itself.
    pub(crate) fn serve(&self, work: impl Future<Output = Result>) -> Result {
        self.drive(pin!(work))
    }

    /// The runtime, once for all commands: it would be compiled anew for each type of future.
    fn drive(&self, work: Pin<&mut dyn Future<Output = Result>>) -> Result {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let result = runtime.block_on(work);
        runtime.shutdown_timeout(LAST_ORDERS);
        if let Some(places) = self.places.get() {
            self.pass_on(places.client());
        }
        result
    }

    /// What registries wanted people to know.
    fn pass_on(&self, client: &Client) {
        for warning in client.warnings() {
            self.ui.warning(text::one_line(&warning, 1000));
        }
        for stated in client.rate_limits().iter().filter(|stated| stated.limit.is_low()) {
            self.ui.warning(format!("the rate limit of {} is near: {}", stated.registry, stated.limit));
        }
    }

    /// Keeps to what registries bear. Must be said before anybody asks for places.
    pub(crate) fn bound(&self, bounds: Bounds) {
        self.bounds.get_or_init(|| bounds);
    }

    /// The places of this command: all calls share one connection pool, one token per scope, and the knowledge which
    /// archives are being read and must not be replaced.
    pub(crate) fn places(&self) -> Result<Places> {
        if let Some(places) = self.places.get() {
            return Ok(places.clone());
        }
        let keychain = self.keychain();
        let client = self.with_headers(self.client_builder()?, &keychain);
        let places =
            Places::new(client.credentials(Arc::new(keychain)).build()?).with_scratch(self.scratch());
        Ok(self.places.get_or_init(|| places).clone())
    }

    /// As [`Session::places`], for verbs that read the same manifests and configs run after run: those are kept in the
    /// cache.
    pub(crate) fn knowing_places(&self, progress: &Progress) -> Result<Places> {
        let documents = self.env.cache_folder().map_or_else(Documents::default, |folder| {
            Documents::in_directory(folder.join("documents"), progress.observer())
        });
        Ok(self.places()?.with_documents(documents))
    }

    /// With the `HttpHeaders` of the credential files.
    pub(crate) fn with_headers(
        &self,
        client: palan_client::Builder,
        keychain: &Keychain,
    ) -> palan_client::Builder {
        // Reading files never waits. A file that cannot be read is an error when credentials are looked for in it.
        match keychain.http_headers().now_or_never() {
            Some(Ok(headers)) => client.common_headers(headers),
            _ => client,
        }
    }

    /// A client with the global flags applied, without credentials.
    pub(crate) fn client_builder(&self) -> Result<palan_client::Builder> {
        let client = Client::builder().retries(self.global.retries);
        let client = match self.bounds.get() {
            Some(bounds) => bounds.bound(client),
            None => client,
        };
        let client = match self.global.chunk_size {
            Some(bytes) => client.largest_upload(bytes),
            None => client,
        };
        let client = client
            .user_agent(concat!("palan/", env!("CARGO_PKG_VERSION")))
            .insecure(self.global.insecure)
            .inactivity_timeout(self.global.timeout)
            .proxy_from_environment(true);
        let warn = |text: String| self.ui.warning(text);
        registries::configure(client, &self.global.connection, &self.env, &warn)
    }

    /// The same for what goes into a file or directory: it must do without the places that non-distributable layers come
    /// from.
    pub(crate) fn keep_options(&self, progress: &Progress) -> copy::Options {
        let options = self.copy_options(progress);
        match options.foreign {
            Foreign::Skip => copy::Options { foreign: Foreign::WherePresent, ..options },
            _ => options,
        }
    }

    /// The credentials of this machine, in crane's order.
    pub(crate) fn keychain(&self) -> Keychain {
        let mut files = self.env.credential_files();
        files.retain(|file| self.env.names_file(file) || self.may_read(file));
        let keychain = Keychain::new().helpers_may_ask(has_terminal());
        let keychain = files.into_iter().fold(keychain, Keychain::file);
        let keychain = match self.env.docker_auth_config() {
            Some(text) => keychain.text("DOCKER_AUTH_CONFIG", Secret::new(text)),
            None => keychain,
        };
        match self.env.github() {
            Some((user, token)) => keychain.tentative("GITHUB_TOKEN", "ghcr.io", user, Secret::new(token)),
            None => keychain,
        }
    }

    /// Whether a file that nobody named is for us: root's may lie in an inherited HOME.
    fn may_read(&self, file: &Path) -> bool {
        let warn = |text: String| {
            self.closed.get_or_init(|| self.ui.warning(text));
        };
        match File::open(file) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                warn(format!("{} was passed over: {e}", file.display()));
                false
            }
            _ => true,
        }
    }

    /// How to copy, with the global flags applied.
    pub(crate) fn copy_options(&self, progress: &Progress) -> copy::Options {
        copy::Options {
            jobs: self.global.jobs,
            foreign: match self.global.allow_nondistributable_artifacts {
                true => Foreign::Copy,
                false => Foreign::Skip,
            },
            limits: self.limits(),
            observer: progress.observer(),
            scratch: self.scratch(),
        }
    }

    /// What layers that are opened may make us do.
    pub(crate) fn limits(&self) -> Limits {
        limits::limits(&self.global.limit)
    }
}

/// Whether somebody can be asked, wherever stdin and stdout lead.
fn has_terminal() -> bool {
    cfg!(unix) && File::open("/dev/tty").is_ok()
}
