//! Pushing while what is pushed is still being made: `POST`, the bytes in one `PATCH` of unknown length, as they come, and a
//! `PUT` that says what they are. That is how Docker pushes, so that registries know it.

use futures_util::future::BoxFuture;
use http::{Method, header};
use palan_core::Descriptor;

use super::{
    BlobOpener, Upload,
    push::{CLOSED, TAKEN, closing, open, received},
};
use crate::{
    Error, Repo,
    call::{Payload, Target},
    repo::Access,
    wire::Lane,
};

/// A blob that is still being made. What it opens ends when it is whole, with an error where it will never be.
pub trait GrowingBlob: BlobOpener {
    /// What it has become, once it is whole; `None`: nothing.
    fn made(&self) -> BoxFuture<'_, Option<Descriptor>>;
}

impl Repo {
    /// Uploads a blob while it is made. Tries once: what fails is best pushed anew when it is whole
    /// ([`Repo::push_blob`]). `None`: that was not begun, as the registry wants uploads in pieces, or nothing was made.
    pub async fn push_growing(&self, blob: &dyn GrowingBlob) -> Result<Option<Descriptor>, Error> {
        if self.transport().settings.largest_upload < u64::MAX {
            return Ok(None);
        }
        let session = open(self).await?;
        let sent = self.send_growing(blob, session.location.clone()).await;
        if !matches!(sent, Ok(Some(_))) {
            self.cancel_upload(Target::Url(session.location)).await;
        }
        sent
    }

    async fn send_growing(
        &self,
        blob: &dyn GrowingBlob,
        location: url::Url,
    ) -> Result<Option<Descriptor>, Error> {
        let call = |method, url| {
            let call = self.call_target(method, Target::Url(url), Access::Push)?;
            let mut call = call.header(header::CONTENT_TYPE, "application/octet-stream");
            (call.lane, call.retry) = (Lane::Blob, false);
            Ok::<_, Error>(call)
        };
        let mut patch = call(Method::PATCH, location.clone())?;
        patch.payload = Payload::Upload(Upload::growing(blob));
        let answer = self.send(&patch).await?.expect_data(&TAKEN).await?;
        let Some(descriptor) = blob.made().await else { return Ok(None) };
        if let Some(reached) = received(&answer).filter(|reached| *reached != descriptor.size) {
            return Err(answer.malformed(format!("claims to have {reached} of {} bytes", descriptor.size)));
        }
        let url = closing(answer.location().unwrap_or(location), descriptor.digest);
        self.send(&call(Method::PUT, url)?).await?.expect_data(&CLOSED).await?;
        Ok(Some(descriptor))
    }
}
