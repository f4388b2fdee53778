//! Work on threads of its own that ends when nobody waits for it any more: such a thread cannot be dropped as a future can.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use tokio::sync::oneshot;

use crate::Error;

/// Cancels work when it is dropped.
pub(crate) struct Cancel(Arc<AtomicBool>);

/// Tells whether work is to end.
#[derive(Clone)]
pub(crate) struct Cancelled(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A pair of these.
pub(crate) fn cancel() -> (Cancel, Cancelled) {
    let flag = Arc::new(AtomicBool::new(false));
    (Cancel(Arc::clone(&flag)), Cancelled(flag))
}

impl Cancelled {
    /// Fails when the work is to end.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.0.load(Relaxed) { Err(io::Error::other("cancelled")) } else { Ok(()) }
    }

    /// A writer that fails when the work is to end.
    pub(crate) fn writer<W: Write>(&self, inner: W) -> Writer<W> {
        Writer { inner, cancelled: self.clone() }
    }
}

pub(crate) struct Writer<W> {
    inner: W,
    cancelled: Cancelled,
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancelled.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Does `work` on a thread of its own, from now on. What it gives is dropped where nobody waits for it.
///
/// Boxed: tokio's task is compiled once, not anew for each kind of work.
pub(crate) fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send {
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move || drop(sender.send(work())));
    tokio::task::spawn_blocking(job);
    async move { receiver.await.map_err(|_| Error::Cancelled) }
}

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that do one piece of work after the other, for work that takes much memory: allocators keep what a thread
/// has used for that thread, and many threads in turn would keep as much as if all had worked at once.
pub(crate) struct Crew {
    most: usize,
    jobs: OnceLock<mpsc::Sender<Job>>,
}

impl Crew {
    /// Of at most so many, who come with the first piece of work.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, jobs: OnceLock::new() }
    }

    /// Does `work` when somebody is free; not at all where nobody waits for it any more by then.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !sender.is_closed() {
                drop(sender.send(work()));
            }
        });
        let jobs = self.jobs.get_or_init(|| hire(self.most));
        jobs.send(job).map_err(|_| Error::Cancelled)?;
        receiver.await.map_err(|_| Error::Cancelled)
    }
}

/// They go when nobody can send any more.
fn hire(most: usize) -> mpsc::Sender<Job> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..most {
        let jobs = Arc::clone(&jobs);
        let next = move || jobs.lock().ok()?.recv().ok();
        let work = move || std::iter::from_fn(&next).for_each(|job| job());
        if let Err(error) = thread::Builder::new().name("judge".to_owned()).spawn(work) {
            tracing::debug!(%error, "one thread fewer");
        }
    }
    sender
}

/// As [`on_thread`], for work that is told when nobody waits for it any more.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Cancelled) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (_cancel, cancelled) = cancel();
    on_thread(move || work(&cancelled)).await?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::place::Layout;

    #[tokio::test]
    async fn work_that_nobody_waits_for_ends_and_takes_its_folder_along() {
        let spool = Layout::in_temporary_folder(&crate::Scratch::DEFAULT).unwrap();
        let folder = spool.path().to_owned();
        let ((started, is_started), (ended, has_ended)) = (mpsc::channel(), mpsc::channel());
        let work = move |cancelled: &Cancelled| {
            let mut out = cancelled.writer(io::sink());
            started.send(()).unwrap();
            while out.write_all(b"x").is_ok() {}
            assert!(spool.path().exists());
            drop(spool);
            ended.send(()).unwrap();
            Ok(())
        };
        let task = tokio::spawn(blocking(work));
        tokio::task::spawn_blocking(move || is_started.recv()).await.unwrap().unwrap();
        assert!(folder.exists());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        tokio::task::spawn_blocking(move || has_ended.recv()).await.unwrap().unwrap();
        assert!(!folder.exists());
    }
}
