//! Response bodies: bytes in memory, or a part of a file read in large chunks ahead of the connection.

use std::{
    fs::File,
    io::{self, Read as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::stats::Counters;

/// Large enough that the hand-over between threads costs little, small enough that a thousand pulls fit in memory.
const CHUNK: u64 = 256 * 1024;

/// The body of an answer of the registry.
#[derive(Debug)]
pub struct Body {
    content: Content,
    /// Where bytes are counted, if they are bytes of a blob.
    counters: Option<Arc<Counters>>,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    File(FileContent),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// `length` bytes from where `file` stands.
    pub(crate) fn file(file: File, length: u64) -> Self {
        let content = FileContent { remaining: length, unread: length, state: State::Idle(file) };
        Self { content: Content::File(content), counters: None }
    }

    pub(crate) fn counted(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    fn remaining(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(file) => file.remaining,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self { content: Content::Bytes(bytes.into()), counters: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.remaining() == 0 {
            return Poll::Ready(None);
        }
        let chunk = match &mut this.content {
            Content::Bytes(bytes) => Ok(bytes.split_to(bytes.len().min(CHUNK as usize))),
            Content::File(file) => ready!(file.poll(cx)),
        };
        if let (Ok(chunk), Some(counters)) = (&chunk, &this.counters) {
            counters.blob_out(chunk.len());
        }
        Poll::Ready(Some(chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

#[derive(Debug)]
struct FileContent {
    /// Bytes not yet handed out.
    remaining: u64,
    /// Bytes not yet asked for.
    unread: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(File),
    Reading(JoinHandle<io::Result<(File, Bytes)>>),
    Done,
}

impl FileContent {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Idle(file) => self.read_ahead(file),
            other => other,
        };
        let State::Reading(task) = &mut self.state else {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        };
        let result = ready!(Pin::new(task).poll(cx)).map_err(io::Error::other).flatten();
        self.state = State::Done;
        let (file, chunk) = result?;
        self.remaining -= chunk.len() as u64;
        if self.unread > 0 {
            self.state = self.read_ahead(file);
        }
        Poll::Ready(Ok(chunk))
    }

    fn read_ahead(&mut self, file: File) -> State {
        let wanted = self.unread.min(CHUNK);
        self.unread -= wanted;
        State::Reading(spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(wanted as usize);
            (&file).take(wanted).read_to_end(&mut chunk)?;
            // A file that became shorter ends the connection; what was promised is never padded or cut silently.
            if (chunk.len() as u64) < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok((file, Bytes::from(chunk)))
        }))
    }
}
