//! Referrers: who says something about a manifest. distribution-spec "Listing Referrers" and, for registries that
//! cannot do it, "Referrers Tag Schema".

use std::sync::atomic::Ordering::Relaxed;

use http::{Method, StatusCode, header};
use palan_core::{
    Descriptor, Digest, Document, Kind, MAX_DOCUMENT_SIZE, MediaType, Selector,
    view::{Index, Manifest},
};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{Error, Precondition, Repo, listing::Pages, repo::Access, response::Response};

/// How often the fallback tag is written again after somebody else changed it meanwhile.
const FALLBACK_ATTEMPTS: u32 = 5;

impl Repo {
    /// The manifests whose subject is `subject`, of one artifact type or of all.
    ///
    /// Asks the referrers API, else reads the fallback tag. A fallback tag that is not an index, or that answers the
    /// subject itself (some registries do), counts as empty.
    pub async fn referrers(
        &self,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut all = match self.referrers_api(subject, artifact_type).await? {
            Some(all) => all,
            None => match self.fallback(subject).await? {
                Some(index) => self.entries(subject, &index)?,
                None => Vec::new(),
            },
        };
        all.retain(|d| artifact_type.is_none_or(|wanted| d.artifact_type.as_deref() == Some(wanted)));
        Ok(all)
    }

    /// `None`: the registry does not have the API.
    async fn referrers_api(
        &self,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let registry = self.registry()?;
        if !registry.has_referrers() {
            return Ok(None);
        }
        let query = artifact_type.map_or_else(String::new, |t| {
            let mut query = form_urlencoded::Serializer::new("?".to_owned());
            query.append_pair("artifactType", t).finish()
        });
        let call = self.call(Method::GET, &format!("referrers/{subject}{query}"), Access::Pull)?;
        let mut call = call.header(header::ACCEPT, MediaType::OCI_INDEX.as_str());
        let (mut all, mut pages) = (Vec::new(), Pages::default());
        loop {
            let answer = self.send(&call).await?;
            if is_missing(&answer) {
                let error = answer.into_error().await;
                if !matches!(&error, Error::Status(e) if e.has_code("NAME_UNKNOWN")) {
                    registry.no_referrers.store(true, Relaxed);
                }
                return Ok(None);
            }
            let mut answer = answer.expect(&[StatusCode::OK]).await?;
            let what = || format!("the list of referrers of {}", self.name().with_digest(subject));
            let bytes = answer.read(MAX_DOCUMENT_SIZE, what).await?;
            let index = Document::parse(bytes, Some(MediaType::OCI_INDEX))
                .map_err(|source| Error::Document { what: what(), source })?;
            all.extend(self.entries(subject, &index)?);
            match pages.next(&registry, &answer)? {
                Some(target) => call.target = target,
                None => return Ok(Some(all)),
            }
        }
    }

    /// The entries of a list that can be referrers.
    fn entries(&self, subject: Digest, index: &Document) -> Result<Vec<Descriptor>, Error> {
        let what = || format!("the list of referrers of {}", self.name().with_digest(subject));
        let view: Index = index.view().map_err(|source| Error::Document { what: what(), source })?;
        let mut entries = view.manifests;
        entries.retain(|d| d.digest != subject && d.media_type.is_document());
        Ok(entries)
    }

    /// The index under the fallback tag, if there is one and if it is one.
    async fn fallback(&self, subject: Digest) -> Result<Option<Document>, Error> {
        let tag = Selector::Tag(subject.referrers_tag());
        match self.manifest(&tag).await {
            Ok(document) if document.kind() != Kind::Index || document.digest() == subject => Ok(None),
            Ok(document) => Ok(Some(document)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds `referrer` to the fallback tag of `subject`: reads, changes, writes on condition that nobody else did
    /// meanwhile, and reads again, because many registries ignore the condition.
    pub(crate) async fn add_to_fallback(&self, subject: Digest, referrer: &Document) -> Result<(), Error> {
        let registry = self.registry()?;
        let _alone = registry.fallback.lock().await;
        let tag = Selector::Tag(subject.referrers_tag());
        let what = || self.name().at(&tag).to_string();
        for _ in 0..FALLBACK_ATTEMPTS {
            let old = self.fallback_to_change(&tag).await?;
            let index = match &old {
                Some(index) => with_entry(index, referrer),
                None => new_index(referrer),
            };
            let index = index.map_err(|source| Error::Document { what: what(), source })?;
            let condition = match &old {
                Some(old) if old.digest() == index.digest() => return Ok(()),
                Some(old) => Precondition::IfMatch(old.digest()),
                None => Precondition::IfAbsent,
            };
            match self.put_document(&index, &tag, condition).await {
                Ok(_) | Err(Error::PreconditionFailed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::PreconditionFailed { what: what() })
    }

    /// The index to be changed. Anything else under that tag is not ours to replace.
    async fn fallback_to_change(&self, tag: &Selector) -> Result<Option<Document>, Error> {
        match self.manifest(tag).await {
            Ok(document) if document.kind() == Kind::Index => Ok(Some(document)),
            Ok(document) => Err(Error::Document {
                what: format!("the referrers in {}", self.name().at(tag)),
                source: palan_core::DocumentError::MediaTypeMismatch {
                    declared: MediaType::OCI_INDEX,
                    found: document.media_type().clone(),
                },
            }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Registries without the API answer one of these, or something that is not an index.
fn is_missing(answer: &Response) -> bool {
    let kind = answer.header(header::CONTENT_TYPE).map(MediaType::from_content_type);
    match answer.status() {
        StatusCode::OK => kind != Some(MediaType::OCI_INDEX),
        status => matches!(status.as_u16(), 400 | 404 | 405 | 406 | 501),
    }
}

fn new_index(referrer: &Document) -> Result<Document, palan_core::DocumentError> {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX.as_str(),
        "manifests": [entry(referrer)?],
    });
    Document::from_value(&index, MediaType::OCI_INDEX)
}

fn with_entry(index: &Document, referrer: &Document) -> Result<Document, palan_core::DocumentError> {
    let digest = referrer.digest().to_string();
    let entry = entry(referrer)?;
    index.edit(|json| {
        let Some(Value::Array(entries)) = json.get_mut("manifests") else { return };
        let known = |e: &Value| e.get("digest").and_then(Value::as_str) == Some(&digest);
        if !entries.iter().any(known) {
            entries.push(entry);
        }
    })
}

/// The descriptor as the referrers API would list it.
fn entry(referrer: &Document) -> Result<Value, palan_core::DocumentError> {
    let mut descriptor = referrer.descriptor();
    let annotations = if referrer.kind() == Kind::Index {
        let view: Index = referrer.view()?;
        descriptor.artifact_type = view.artifact_type;
        view.annotations
    } else {
        let view: Manifest = referrer.view()?;
        descriptor.artifact_type =
            view.artifact_type.or_else(|| Some(view.config.media_type.as_str().to_owned()));
        view.annotations
    };
    descriptor.annotations = Some(annotations).filter(|a| !a.is_empty());
    serde_json::to_value(&descriptor).map_err(|e| palan_core::DocumentError::Json(e.to_string()))
}
