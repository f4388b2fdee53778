//! Blobs: distribution-spec "Pulling blobs", "Pushing Blobs", "Mounting a blob from another repository".

mod growing;
mod pull;
mod push;
mod upload;

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, TryStreamExt},
};
use http::{Method, StatusCode};
use palan_core::{Descriptor, Digest, Repository};

use crate::{BoxError, Error, Repo, auth::Scopes, call::Target, repo::Access, wire::Lane};

pub use self::growing::GrowingBlob;
pub use self::pull::BlobStream;
pub(crate) use self::upload::Upload;

/// A blob's bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Where the bytes of an upload come from. Opened again when an upload has to be taken up again.
pub trait BlobOpener: Send + Sync {
    /// The bytes from `offset` (in the blob as stored) to the end.
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>>;
}

impl BlobOpener for Bytes {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.slice(start..);
        Box::pin(async move { Ok(stream::iter([Ok(rest)]).boxed()) })
    }
}

impl<T: BlobOpener + ?Sized> BlobOpener for Arc<T> {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        (**self).open(offset)
    }
}

/// A blob in a registry as the source of an upload to another one.
#[derive(Clone, Debug)]
pub struct RemoteBlob {
    repo: Repo,
    descriptor: Descriptor,
}

impl BlobOpener for RemoteBlob {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, BoxError>> {
        Box::pin(async move {
            let blob = self.repo.open_blob(&self.descriptor, offset).await?;
            Ok(blob.map_err(BoxError::from).boxed())
        })
    }
}

impl Repo {
    /// This blob as the source of an upload.
    pub fn blob_opener(&self, descriptor: &Descriptor) -> RemoteBlob {
        RemoteBlob { repo: self.clone(), descriptor: descriptor.clone() }
    }

    /// Whether the repository has a blob. One of another size is not it.
    pub async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let path = format!("blobs/{}", descriptor.digest);
        let answer = self.send(&self.call(Method::HEAD, &path, Access::Pull)?).await?;
        match answer.status() {
            StatusCode::OK if answer.is_html() && answer.length() != Some(descriptor.size) => {
                Err(Error::Html { url: answer.shown_url() })
            }
            // 0 is what some proxies make of an answer without a body.
            StatusCode::OK => Ok(answer.length().is_none_or(|length| [0, descriptor.size].contains(&length))),
            StatusCode::NOT_FOUND => Ok(false),
            // The registry sent us to a store whose signed URL is good for `GET` only.
            _ if !answer.own && answer.status().is_client_error() => {
                let mut call = self.call(Method::GET, &path, Access::Pull)?;
                call = call.header(http::header::RANGE, "bytes=0-0");
                // The registry may ignore the range, and the blob is not to be read.
                call.lane = Lane::Blob;
                let answer = self.send(&call).await?;
                match answer.status() {
                    StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                        Ok(true)
                    }
                    StatusCode::NOT_FOUND => Ok(false),
                    _ => Err(answer.into_error().await),
                }
            }
            _ => Err(answer.into_error().await),
        }
    }

    /// Asks the registry to take a blob over from another of its repositories. `false`: it did not, or the other
    /// repository is in another registry. No bytes of the blob move through the client.
    pub async fn mount_blob(&self, descriptor: &Descriptor, from: &Repository) -> Result<bool, Error> {
        let from = &self.client().repository(from).place().primary.clone();
        if from.registry != self.place().primary.registry {
            return Ok(false);
        }
        let rest = format!("blobs/uploads/?mount={}&from={}", descriptor.digest, from.path);
        let mut call = self.call(Method::POST, &rest, Access::Push)?;
        call.scopes.add(&Scopes::repository(&from.path, &["pull"]));
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                if let Ok(location) = answer.location() {
                    self.cancel_upload(Target::Url(location)).await;
                }
                Ok(false)
            }
            StatusCode::TOO_MANY_REQUESTS => Err(answer.into_error().await),
            status if status.is_client_error() || status.is_server_error() => {
                tracing::debug!(status = status.as_u16(), "the registry does not mount");
                Ok(false)
            }
            _ => Err(answer.into_error().await),
        }
    }

    /// Ends an upload that will not be finished. Best effort: registries clean up by themselves after a while.
    async fn cancel_upload(&self, location: Target) {
        let Ok(mut call) = self.call_target(Method::DELETE, location, Access::Push) else { return };
        call.retry = false;
        if let Err(error) = self.send(&call).await {
            tracing::debug!(%error, "could not cancel an upload");
        }
    }

    /// Deletes a blob.
    pub async fn delete_blob(&self, digest: Digest) -> Result<(), Error> {
        self.delete(&self.call(Method::DELETE, &format!("blobs/{digest}"), Access::Delete)?).await
    }
}
