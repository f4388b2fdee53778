//! A connection that is given up when nobody reads the other end.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Writing fails with [`io::ErrorKind::TimedOut`] when not a byte could be written for so long. Reading is as it was.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Set for as long as a write waits.
    give_up: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, give_up: None, waiting: false }
    }

    /// The outcome of an attempt to write, or the end of patience.
    fn within<T>(&mut self, cx: &mut Context<'_>, attempt: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.waiting = false;
            return attempt;
        }
        let patience = self.patience;
        let give_up = self.give_up.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waiting {
            self.waiting = true;
            give_up.as_mut().reset(Instant::now() + patience);
        }
        give_up.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(cx, data);
        self.within(cx, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.within(cx, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(cx);
        self.within(cx, attempt)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, attempt)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_is_given_up() {
        let (near, _far) = duplex(16);
        let start = Instant::now();
        let error = Patient::new(near, PATIENCE).write_all(&[0; 17]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_progress_is_progress_and_pauses_between_writes_do_not_count() {
        let (near, mut far) = duplex(16);
        let mut near = Patient::new(near, PATIENCE);
        let reader = tokio::spawn(async move {
            for _ in 0..30 {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                far.read_u8().await.unwrap();
            }
            far
        });
        near.write_all(&[0; 30]).await.unwrap();
        let _far = reader.await.unwrap();
        sleep(10 * PATIENCE).await;
        near.write_all(&[0; 10]).await.unwrap();
    }
}
