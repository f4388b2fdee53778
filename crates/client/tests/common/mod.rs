//! What the client's tests share.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use palan_client::{BlobStream, Builder, Client, Error, Repo};
use palan_core::{Descriptor, Digest, MediaType, Selector};
use palan_testkit::fault::FaultRegistry;

/// Longer than an answer takes that comes at once, however busy this machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// Longer than that.
pub(crate) const LONGER: Duration = Duration::from_millis(1300);

/// A client that repeats without waiting long.
pub(crate) fn builder() -> Builder {
    Client::builder().backoff(Duration::from_millis(1)).inactivity_timeout(Duration::from_secs(20))
}

pub(crate) fn client() -> Client {
    builder().build().unwrap()
}

/// The repository `a/b` of a registry.
pub(crate) fn repo(client: &Client, registry: &FaultRegistry) -> Repo {
    named(client, registry, "a/b")
}

pub(crate) fn named(client: &Client, registry: &FaultRegistry, path: &str) -> Repo {
    client.repository(&format!("{}/{path}", registry.host()).parse().unwrap())
}

pub(crate) fn tag(text: &str) -> Selector {
    Selector::Tag(text.into())
}

/// Bytes without a pattern that a mistake could hide behind.
pub(crate) fn content(length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(length as u64);
    (0..length).map(|_| random.u8(..)).collect()
}

pub(crate) fn blob(bytes: &Bytes) -> Descriptor {
    Descriptor::new(MediaType::OCI_LAYER_GZIP, Digest::sha256(bytes), bytes.len() as u64)
}

pub(crate) const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) async fn collect(stream: BlobStream) -> Result<Bytes, Error> {
    let chunks: Vec<Bytes> = stream.try_collect().await?;
    Ok(chunks.concat().into())
}

/// What a stream handed out, and the error at its end, if it had one.
pub(crate) async fn drain(mut stream: BlobStream) -> (Vec<u8>, Option<Error>) {
    let mut bytes = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}
