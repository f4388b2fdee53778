//! Listening.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, ToSocketAddrs},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{Error, Registry, patience::Patient};

/// A connection must have sent its request's headers by then, and may idle no longer.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// A connection on which an answer makes no progress for so long is closed. It is long, because a socket that is full
/// takes more only when a good part of what it holds was read.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// How long requests under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// A pause when the system refuses to accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A registry that listens. It stops when this is dropped; [`Server::stop`] lets requests under way finish.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    registry: Registry,
}

impl Registry {
    /// Listens on `address` (port 0 for a free one) and serves HTTP/1.1 on tasks of the current tokio runtime.
    pub async fn serve(&self, address: impl ToSocketAddrs + std::fmt::Debug) -> Result<Server, Error> {
        let failed = |source| Error::Listen { address: format!("{address:?}").replace('"', ""), source };
        let listener = TcpListener::bind(&address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, self.clone(), stopped));
        Ok(Server { address: local, stop, task, registry: self.clone() })
    }
}

impl Server {
    /// The address listened on, with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Host and port as they stand in an image reference: `127.0.0.1:5000`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The URL in front of `/v2/`: `http://127.0.0.1:5000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The registry that is served.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Accepts no more, lets requests under way finish for ten seconds, then closes what is left. When this returns
    /// nothing of the server runs any more.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        // The task ends by itself; that it panicked or was aborted leaves nothing to do.
        let _ = (&mut self.task).await;
        self.registry.settled().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, registry: Registry, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are written whole; waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                connections.spawn(converse(stream, registry.clone(), stopped.clone()));
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    registry: Registry,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let registry = registry.clone();
        async move { Ok::<_, Infallible>(registry.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIME)), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!("connection: {error}");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use palan_core::Digest;
    use tokio::{
        io::{AsyncWriteExt as _, duplex},
        time::Instant,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_and_does_not_read_is_given_up() {
        let registry = Registry::memory();
        let blob = Bytes::from(vec![0; 100_000]);
        let digest = Digest::sha256(&blob);
        let push = hyper::Request::post(format!("/v2/a/blobs/uploads/?digest={digest}"));
        assert_eq!(registry.answer(push.body(Full::new(blob)).unwrap()).await.status(), 201);
        let (near, mut far) = duplex(1_000);
        let (_stop, stopped) = watch::channel(false);
        let start = Instant::now();
        let connection = tokio::spawn(converse(near, registry, stopped));
        let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
        far.write_all(request.as_bytes()).await.unwrap();
        timeout(10 * WRITE_TIME, connection).await.unwrap().unwrap();
        assert_eq!(start.elapsed().as_secs(), WRITE_TIME.as_secs());
    }
}
