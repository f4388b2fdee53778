//! Work on threads of its own that ends when nobody waits for it any more: such a thread cannot be dropped as a future can.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
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
    let job: Box<dyn FnOnce() + Send> = Box::new(move || drop(sender.send(work())));
    tokio::task::spawn_blocking(job);
    async move { receiver.await.map_err(|_| Error::Cancelled) }
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
