//! What every command has at hand: the printer, the environment, the global flags, and the way to the network.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt as _;

use palan::{
    copy::{self, Foreign},
    place::Places,
};
use palan_client::{Client, Secret, credentials::Keychain};

use crate::{
    args::Global,
    env::Env,
    exit::{Failure, Result},
    registries,
    ui::{Progress, Ui, text},
};

/// How long work that cannot be cancelled (a system call on a thread of its own) may delay the end.
const LAST_ORDERS: Duration = Duration::from_secs(2);

pub(crate) struct Session {
    pub(crate) ui: Ui,
    pub(crate) env: Env,
    pub(crate) global: Global,
    client: OnceLock<Client>,
}

impl Session {
    pub(crate) fn new(global: Global, env: Env, ui: Ui) -> Self {
        if global.verbose {
            ui.verbose();
        }
        Self { ui, env, global, client: OnceLock::new() }
    }

    /// Runs a command that does I/O, until it ends or Ctrl-C. Interrupted work is dropped, which removes its
    /// temporary files.
    pub(crate) fn block_on(&self, work: impl Future<Output = Result>) -> Result {
        self.serve(async {
            let mut interrupt = Interrupt::listen()?;
            tokio::select! {
                biased;
                result = work => result,
                () = interrupt.wait() => Err(Failure::interrupted()),
            }
        })
    }

    /// Runs a command that deals with Ctrl-C itself.
    pub(crate) fn serve(&self, work: impl Future<Output = Result>) -> Result {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let result = runtime.block_on(work);
        runtime.shutdown_timeout(LAST_ORDERS);
        if let Some(client) = self.client.get() {
            self.pass_on(client);
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

    /// The places of this command: all calls share one connection pool and one token per scope.
    pub(crate) fn places(&self) -> Result<Places> {
        if let Some(client) = self.client.get() {
            return Ok(Places::new(client.clone()));
        }
        let keychain = self.keychain();
        // Reading files never waits. A file that cannot be read is an error when credentials are looked for in it.
        let headers = keychain.http_headers().now_or_never();
        let mut client = self.client_builder()?.credentials(Arc::new(keychain));
        if let Some(Ok(headers)) = headers {
            client = client.common_headers(headers);
        }
        let client = client.build()?;
        Ok(Places::new(self.client.get_or_init(|| client).clone()))
    }

    /// A client with the global flags applied, without credentials.
    pub(crate) fn client_builder(&self) -> Result<palan_client::Builder> {
        let client = Client::builder().retries(self.global.retries);
        let client = match self.global.chunk_size {
            Some(bytes) => client.largest_upload(bytes),
            None => client,
        };
        let client = client
            .user_agent(concat!("palan/", env!("CARGO_PKG_VERSION")))
            .insecure(self.global.insecure)
            .inactivity_timeout(self.global.timeout)
            .proxy_from_environment(true);
        registries::configure(client, &self.global.connection, &self.env)
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
        let files = self.env.credential_files();
        let keychain = files.into_iter().fold(Keychain::new(), Keychain::file);
        let keychain = match self.env.docker_auth_config() {
            Some(text) => keychain.text("DOCKER_AUTH_CONFIG", Secret::new(text)),
            None => keychain,
        };
        match self.env.github() {
            Some((user, token)) => keychain.tentative("GITHUB_TOKEN", "ghcr.io", user, Secret::new(token)),
            None => keychain,
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
            observer: progress.observer(),
        }
    }
}

/// Listens for Ctrl-C, and for the polite request to end that service managers send.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
    #[cfg(windows)]
    signal: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    /// From now on the signals do not end the process. Must be called inside a runtime.
    pub(crate) fn listen() -> Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self { signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?] })
        }
        #[cfg(windows)]
        Ok(Self { signal: tokio::signal::windows::ctrl_c()? })
    }

    /// Waits for one of them.
    pub(crate) async fn wait(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(windows)]
        self.signal.recv().await;
    }
}
