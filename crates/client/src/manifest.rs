//! Manifests and indexes: distribution-spec "Pulling manifests", "Pushing Manifests", "Deleting Manifests".

use bytes::Bytes;
use http::{Method, StatusCode, header};
use palan_core::{
    Descriptor, Digest, Document, DocumentError, MAX_DOCUMENT_SIZE, MediaType, Mismatch, Selector,
    validate_tag,
};

use crate::{
    Error, Repo,
    call::{Call, Payload},
    repo::Access,
    response::Response,
};

/// Everything that is a manifest for us; without this header registries answer schema 1.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// What a registry answers that has stored a manifest; 201 is the specification's.
const STORED: [StatusCode; 3] = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];

/// On what a manifest's push depends. Registries that do not know conditional requests ignore it: palan's own knows
/// them, most others do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// On nothing.
    #[default]
    None,
    /// The tag points to this digest now.
    IfMatch(Digest),
    /// The tag does not exist.
    IfAbsent,
}

impl Repo {
    /// Media type, digest and size of a manifest, without reading it where the registry says all three.
    pub async fn head(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let call = self.manifest_call(Method::HEAD, selector, Access::Pull)?;
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                return Ok(self.manifest(selector).await?.descriptor());
            }
            _ => return Err(answer.into_error().await),
        }
        match self.described(selector, &answer)? {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.manifest(selector).await?.descriptor()),
        }
    }

    /// What the headers of an answer to `HEAD` say, if they say all of it.
    fn described(&self, selector: &Selector, answer: &Response) -> Result<Option<Descriptor>, Error> {
        if answer.is_html() {
            return Err(Error::Html { url: answer.shown_url() });
        }
        let kind = answer.header(header::CONTENT_TYPE).map(MediaType::from_content_type);
        let digest = match (selector, answer.digest()) {
            (Selector::Digest(wanted), Some(found)) if found.algorithm() == wanted.algorithm() => {
                if found != *wanted {
                    return Err(self.mismatch(selector, Mismatch::Digest { expected: *wanted, found }));
                }
                Some(found)
            }
            (Selector::Digest(wanted), _) => Some(*wanted),
            (Selector::Tag(_), found) => found,
        };
        Ok(match (kind.filter(MediaType::is_document), digest, answer.length()) {
            (Some(kind), Some(digest), Some(size)) => Some(Descriptor::new(kind, digest, size)),
            _ => None,
        })
    }

    /// A manifest or index, checked against the digest asked for and the one the registry states.
    pub async fn manifest(&self, selector: &Selector) -> Result<Document, Error> {
        let call = self.manifest_call(Method::GET, selector, Access::Pull)?;
        let mut answer = self.send(&call).await?.expect_data(&[StatusCode::OK]).await?;
        let name = || self.name().at(selector).to_string();
        let bytes = answer.read(MAX_DOCUMENT_SIZE, name).await?;
        let wanted = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(_) => answer.digest(),
        };
        if let Some(expected) = wanted {
            self.check(selector, expected, &bytes)?;
        }
        let declared = answer.header(header::CONTENT_TYPE).map(MediaType::from_content_type);
        let parsed = match wanted {
            Some(digest) => Document::parse_with(bytes, declared, digest.algorithm()),
            None => Document::parse(bytes, declared),
        };
        parsed.map_err(|source| match source {
            DocumentError::Html => Error::Html { url: answer.shown_url() },
            source => Error::Document { what: name(), source },
        })
    }

    /// Stores a manifest or index under a tag or its digest.
    ///
    /// Where it has a subject and the registry does not list referrers itself, the fallback tag of the subject is
    /// updated, too (distribution-spec "Pushing Manifests with Subject").
    pub async fn put_manifest(
        &self,
        document: &Document,
        selector: &Selector,
        precondition: Precondition,
    ) -> Result<(), Error> {
        let listed = self.put_document(document, selector, precondition).await?;
        if !listed && let Some(subject) = subject_of(document) {
            self.add_to_fallback(subject, document).await?;
        }
        Ok(())
    }

    /// Stores a document and nothing else. Returns whether the registry lists it among its subject's referrers.
    pub(crate) async fn put_document(
        &self,
        document: &Document,
        selector: &Selector,
        precondition: Precondition,
    ) -> Result<bool, Error> {
        if let Selector::Digest(digest) = selector {
            self.check(selector, *digest, document.bytes())?;
        }
        let answer = self.send(&self.put_call(document, selector, precondition)?).await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED {
            // A first attempt whose answer was lost may have stored it: then what is found is what was wanted.
            if self.head(selector).await.is_ok_and(|found| found.digest == document.digest()) {
                return Ok(false);
            }
            return Err(Error::PreconditionFailed { what: self.name().at(selector).to_string() });
        }
        let answer = answer.expect_data(&STORED).await?;
        if let Some(stored) = answer.digest() {
            self.check(selector, stored, document.bytes())?;
        }
        Ok(answer.header("oci-subject").is_some())
    }

    /// Whether the registry heeds preconditions: asked by storing what `tag` stands for once more, on condition that there
    /// is nothing. `document` must be what the tag stands for; then nothing changes, whatever the answer is.
    pub async fn heeds_preconditions(&self, document: &Document, tag: &str) -> Result<bool, Error> {
        let selector = Selector::Tag(tag.to_owned());
        let answer = self.send(&self.put_call(document, &selector, Precondition::IfAbsent)?).await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED {
            return Ok(true);
        }
        answer.expect_data(&STORED).await.map(|_| false)
    }

    fn put_call(
        &self,
        document: &Document,
        selector: &Selector,
        precondition: Precondition,
    ) -> Result<Call<'static>, Error> {
        let call = self
            .manifest_call(Method::PUT, selector, Access::Push)?
            .header(header::CONTENT_TYPE, document.media_type().as_str());
        let mut call = match precondition {
            Precondition::None => call,
            Precondition::IfMatch(digest) => call.header(header::IF_MATCH, &format!("\"{digest}\"")),
            Precondition::IfAbsent => call.header(header::IF_NONE_MATCH, "*"),
        };
        call.payload = Payload::Bytes(document.bytes().clone());
        Ok(call)
    }

    /// Deletes a manifest (by digest) or a tag (where the registry can).
    pub async fn delete_manifest(&self, selector: &Selector) -> Result<(), Error> {
        let call = self.call(Method::DELETE, &manifest_path(selector)?, Access::Delete)?;
        self.delete(&call).await
    }

    pub(crate) async fn delete(&self, call: &Call<'_>) -> Result<(), Error> {
        let wanted = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.send(call).await?.expect_data(&wanted).await.map(drop)
    }

    fn manifest_call(
        &self,
        method: Method,
        selector: &Selector,
        access: Access,
    ) -> Result<Call<'static>, Error> {
        let call = self.call(method, &manifest_path(selector)?, access)?;
        let reads = matches!(call.method, Method::GET | Method::HEAD);
        Ok(if reads { call.header(header::ACCEPT, ACCEPT) } else { call })
    }

    fn check(&self, selector: &Selector, expected: Digest, bytes: &Bytes) -> Result<(), Error> {
        let found = expected.algorithm().digest(bytes);
        if found == expected {
            return Ok(());
        }
        Err(self.mismatch(selector, Mismatch::Digest { expected, found }))
    }

    fn mismatch(&self, selector: &Selector, source: Mismatch) -> Error {
        Error::Mismatch { what: self.name().at(selector).to_string(), source }
    }
}

/// Names come from layouts and from registries' own lists: only a tag may become part of a path, nothing that leads
/// elsewhere.
fn manifest_path(selector: &Selector) -> Result<String, Error> {
    if let Selector::Tag(tag) = selector {
        validate_tag(tag)?;
    }
    Ok(format!("manifests/{selector}"))
}

fn subject_of(document: &Document) -> Option<Digest> {
    #[derive(serde::Deserialize)]
    struct View {
        subject: Option<Descriptor>,
    }
    document.view::<View>().ok()?.subject.map(|s| s.digest)
}
