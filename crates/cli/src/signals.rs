//! How a signal ends a command: its work is dropped, and what cannot be dropped is not waited for.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use palan::Scratch;
use tokio::sync::Notify;

use crate::{exit::Failure, ui::Ui};

/// How long work that cannot be cancelled (a system call on a thread of its own) may delay the end.
pub(crate) const LAST_ORDERS: Duration = Duration::from_secs(2);

/// How much longer the main thread has, which waits for such work.
const GRACE: Duration = Duration::from_millis(200);

/// What signals ask for.
#[derive(Default)]
pub(crate) struct Ending {
    /// Whether the work that is going on deals with the next signal itself.
    is_orderly: AtomicBool,
    orderly: Notify,
    end: Notify,
}

impl Ending {
    /// From now on signals are told here, by a thread that nothing blocks. Where nobody ends the process after one, be it
    /// that the main thread waits in a system call, it does so itself, after `LAST_ORDERS` or the next signal.
    pub(crate) fn watch(scratch: Scratch, ui: Ui) -> io::Result<Arc<Self>> {
        let ending = Arc::new(Self::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let mut interrupt = Interrupt::listen()?;
        drop(guard);
        let told = Arc::clone(&ending);
        let watch = move || {
            let is_patient = runtime.block_on(async {
                told.tell(&mut interrupt).await;
                tokio::time::timeout(LAST_ORDERS + GRACE, interrupt.wait()).await.is_err()
            });
            scratch.sweep();
            let failure = Failure::interrupted();
            if is_patient {
                ui.failure(&failure);
            }
            std::process::exit(failure.code as i32)
        };
        thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(ending)
    }

    /// Passes signals on, up to that which ends the command.
    async fn tell(&self, interrupt: &mut Interrupt) {
        interrupt.wait().await;
        while self.is_orderly.swap(false, Relaxed) {
            self.orderly.notify_one();
            interrupt.wait().await;
        }
        self.end.notify_one();
    }

    /// Waits for a signal with which nobody else deals.
    pub(crate) async fn wait(&self) {
        self.end.notified().await;
    }

    /// Does work until it ends or a signal comes, which is `None`: then there is time for what must be done last. A second
    /// signal ends that too.
    pub(crate) async fn orderly<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.is_orderly.store(true, Relaxed);
        tokio::select! {
            biased;
            done = work => {
                self.is_orderly.store(false, Relaxed);
                Some(done)
            }
            () = self.orderly.notified() => None,
        }
    }
}

/// Listens for Ctrl-C, for the polite request to end that service managers send, and for the end of the terminal.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    signal: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    /// From now on the signals do not end the process. Must be called inside a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let hangup = may_hang_up().then(SignalKind::hangup);
            let kinds = [SignalKind::interrupt(), SignalKind::terminate()].into_iter().chain(hangup);
            Ok(Self { signals: kinds.map(signal).collect::<io::Result<_>>()? })
        }
        #[cfg(windows)]
        Ok(Self { signal: tokio::signal::windows::ctrl_c()? })
    }

    /// Waits for one of them.
    pub(crate) async fn wait(&mut self) {
        #[cfg(unix)]
        std::future::poll_fn(|context| {
            match self.signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        #[cfg(windows)]
        self.signal.recv().await;
    }
}

/// Whether the end of the terminal is to end us: `nohup` starts programs that ignore it. Where the system does not tell,
/// the signal is left alone, and does what it did.
#[cfg(unix)]
fn may_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is the first.
    ignored.is_some_and(|mask| mask & 1 == 0)
}
