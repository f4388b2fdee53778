//! Manifests: reading them, and putting and removing them as one step each.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use palan_core::{
    Algorithm, Descriptor, Digest, Document, DocumentError, Kind, MediaType, Role, Selector,
    view::{Index, Manifest as Image},
};

use super::{Ledger, Repository, State};
use crate::{
    condition::{Conditions, entity_tag},
    name::Name,
    problem::{Code, Problem},
    store::Fact,
    sync::{lock, read, write},
};

/// Manifests up to this size are kept in memory whatever the store: nearly all are a few KiB.
const KEEP: usize = 128 * 1024;

/// A manifest or index of a repository.
pub(crate) struct Manifest {
    /// What a referrers list says about it: with artifact type and annotations.
    pub(crate) descriptor: Descriptor,
    pub(crate) subject: Option<Digest>,
    /// The bytes, unless they are many and the store has them.
    pub(crate) content: Option<Bytes>,
    pub(crate) headers: Headers,
}

/// Ready-made header values, since most requests to a registry are for these.
pub(crate) struct Headers {
    pub(crate) content_type: HeaderValue,
    pub(crate) digest: HeaderValue,
    pub(crate) entity_tag: HeaderValue,
}

/// A manifest as it was read, with what it needs.
pub(crate) struct Parsed {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Bytes,
    /// Blobs that must be in the repository.
    blobs: Vec<Descriptor>,
    /// Manifests, or (build caches do this) blobs, that must be.
    children: Vec<Descriptor>,
}

impl Parsed {
    /// Reads a manifest as it was pushed.
    pub(crate) fn read(
        bytes: Bytes,
        content_type: Option<MediaType>,
        algorithm: Algorithm,
    ) -> Result<Self, Problem> {
        let document = Document::parse_with(bytes, content_type.clone(), algorithm)?;
        let own: View = document.view()?;
        if let (Some(declared), Some(found)) = (&content_type, own.media_type)
            && *declared != found
        {
            return Err(DocumentError::MediaTypeMismatch { declared: declared.clone(), found }.into());
        }
        let media_type = content_type.filter(|t| !generic(t)).unwrap_or(document.media_type().clone());
        match document.kind() {
            Kind::Manifest => Self::image(&document, media_type),
            Kind::Index => Self::index(&document, media_type),
            Kind::Other => {
                let message = format!("neither a manifest nor an index: {media_type}");
                Err(Problem::new(Code::ManifestInvalid, message))
            }
        }
    }

    fn image(document: &Document, media_type: MediaType) -> Result<Self, Problem> {
        let view: Image = document.view()?;
        let foreign = |d: &Descriptor| {
            matches!(d.media_type.role(), Role::Layer { foreign: true, .. })
                || d.urls.as_ref().is_some_and(|urls| !urls.is_empty())
        };
        let artifact_type = view.artifact_type.filter(|t| !t.is_empty());
        let artifact_type = artifact_type.or_else(|| Some(view.config.media_type.as_str().to_owned()));
        let mut blobs = vec![view.config];
        blobs.extend(view.layers.into_iter().filter(|layer| !foreign(layer)));
        let mut descriptor = document.descriptor();
        descriptor.media_type = media_type;
        descriptor.artifact_type = artifact_type;
        descriptor.annotations = Some(view.annotations).filter(|a| !a.is_empty());
        Self::new(document, descriptor, view.subject, blobs, Vec::new())
    }

    fn index(document: &Document, media_type: MediaType) -> Result<Self, Problem> {
        let view: Index = document.view()?;
        let mut descriptor = document.descriptor();
        descriptor.media_type = media_type;
        descriptor.artifact_type = view.artifact_type.filter(|t| !t.is_empty());
        descriptor.annotations = Some(view.annotations).filter(|a| !a.is_empty());
        Self::new(document, descriptor, view.subject, Vec::new(), view.manifests)
    }

    fn new(
        document: &Document,
        descriptor: Descriptor,
        subject: Option<Descriptor>,
        blobs: Vec<Descriptor>,
        children: Vec<Descriptor>,
    ) -> Result<Self, Problem> {
        let bytes = document.bytes().clone();
        let headers = Headers::of(&descriptor)?;
        let content = (bytes.len() <= KEEP).then(|| bytes.clone());
        let manifest = Manifest { descriptor, subject: subject.map(|s| s.digest), content, headers };
        Ok(Self { manifest, bytes, blobs, children })
    }

    /// Whether everything needed is in the repository, with the sizes stated.
    fn check(&self, state: &State) -> Result<(), Problem> {
        let blob = |d: &Descriptor| state.blobs.get(&d.digest).copied();
        let manifest = |d: &Descriptor| state.manifests.get(&d.digest).map(|m| m.descriptor.size);
        for needed in &self.blobs {
            check_size(needed, blob(needed), "blob")?;
        }
        for needed in &self.children {
            check_size(needed, manifest(needed).or_else(|| blob(needed)), "manifest")?;
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct View {
    #[serde(rename = "mediaType")]
    media_type: Option<MediaType>,
}

/// Types that say no more than "bytes" or "JSON".
fn generic(media_type: &MediaType) -> bool {
    matches!(media_type.as_str(), "" | "application/json" | "application/octet-stream" | "text/plain")
}

fn check_size(needed: &Descriptor, found: Option<u64>, what: &str) -> Result<(), Problem> {
    let Descriptor { digest, size, .. } = needed;
    match found {
        None => {
            let message = format!("{what} {digest} is not in this repository");
            Err(Problem::new(Code::ManifestBlobUnknown, message))
        }
        Some(found) if found != *size => {
            let message = format!("{what} {digest} has {found} bytes, the manifest states {size}");
            Err(Problem::new(Code::SizeInvalid, message))
        }
        Some(_) => Ok(()),
    }
}

impl Headers {
    fn of(descriptor: &Descriptor) -> Result<Self, Problem> {
        let invalid = |_| Problem::new(Code::ManifestInvalid, "the media type is not a header value");
        Ok(Self {
            content_type: HeaderValue::from_str(descriptor.media_type.as_str()).map_err(invalid)?,
            digest: HeaderValue::from_str(&descriptor.digest.to_string()).map_err(invalid)?,
            entity_tag: HeaderValue::from_str(&entity_tag(&descriptor.digest)).map_err(invalid)?,
        })
    }
}

/// A manifest to be put.
pub(crate) struct Put {
    pub(crate) parsed: Parsed,
    /// What the request names: the conditions are about this.
    pub(crate) selector: Selector,
    pub(crate) tags: Vec<String>,
    pub(crate) conditions: Conditions,
}

impl Put {
    pub(crate) fn new(parsed: Parsed, selector: Selector, tags: Vec<String>, conditions: Conditions) -> Self {
        Self { parsed, selector, tags, conditions }
    }

    /// Whether the conditions hold and everything needed is there.
    fn check(&self, state: &State) -> Result<(), Problem> {
        let current = state.resolve(&self.selector);
        if !self.conditions.allow_write(current.as_ref()) {
            let now = current.map_or("nothing".to_owned(), |d| d.to_string());
            return Err(Problem::precondition(format!("{} is {now} now", self.selector)));
        }
        self.parsed.check(state)
    }
}

impl Ledger {
    /// Puts a manifest and sets its tags, if the conditions hold and everything it needs is there.
    pub(crate) fn put_manifest(&self, name: &Name, put: Put) -> Result<Arc<Manifest>, Problem> {
        // Refused manifests leave no trace: what is not there yet is made after the checks.
        let repository = match self.repository(name) {
            Some(repository) => repository,
            None => {
                put.check(&State::default())?;
                self.repository_or_new(name)
            }
        };
        let _writing = lock(&repository.writing);
        put.check(&read(&repository.state))?;
        let manifest = self.keep_manifest(&repository, put.parsed)?;
        let named = match &put.selector {
            Selector::Tag(tag) => Some(tag),
            Selector::Digest(_) => None,
        };
        for tag in named.into_iter().chain(&put.tags) {
            self.store.record(&Fact::Tag(name, tag, &manifest.descriptor.digest))?;
            write(&repository.state).tags.insert(tag.clone(), manifest.descriptor.digest);
        }
        Ok(manifest)
    }

    fn keep_manifest(&self, repository: &Repository, parsed: Parsed) -> Result<Arc<Manifest>, Problem> {
        let Descriptor { digest, ref media_type, .. } = parsed.manifest.descriptor;
        let mut contents = self.stripe(&digest);
        let held = self.publish(&mut contents, &digest, parsed.bytes.len() as u64, || {
            let mut staged = self.store.stage()?;
            staged.append(&parsed.bytes)?;
            Ok(staged)
        })?;
        let known = read(&repository.state).manifests.get(&digest).cloned();
        if let Some(known) = &known
            && known.descriptor.media_type == *media_type
        {
            return Ok(Arc::clone(known));
        }
        self.store.record(&Fact::Manifest(&repository.name, &digest, media_type))?;
        if known.is_none() {
            held.manifests += 1;
        }
        let manifest = Arc::new(parsed.manifest);
        write(&repository.state).insert(Arc::clone(&manifest));
        Ok(manifest)
    }

    /// Removes a tag, or a manifest with all its tags.
    pub(crate) fn delete_manifest(&self, name: &Name, selector: &Selector) -> Result<(), Problem> {
        let unknown = || Problem::new(Code::ManifestUnknown, format!("{selector} is not in this repository"));
        let repository = self.repository(name).ok_or_else(unknown)?;
        let _writing = lock(&repository.writing);
        let digest = read(&repository.state).resolve(selector).ok_or_else(unknown)?;
        if let Selector::Tag(tag) = selector {
            self.store.forget(&Fact::Tag(name, tag, &digest))?;
            write(&repository.state).tags.remove(tag);
            return Ok(());
        }
        for tag in read(&repository.state).tags_of(&digest) {
            self.store.forget(&Fact::Tag(name, &tag, &digest))?;
        }
        let mut contents = self.stripe(&digest);
        let Some(manifest) = read(&repository.state).manifests.get(&digest).cloned() else {
            return Err(unknown());
        };
        self.store.forget(&Fact::Manifest(name, &digest, &manifest.descriptor.media_type))?;
        write(&repository.state).remove(&digest);
        self.release(&mut contents, &digest, |held| held.manifests -= 1)
    }
}
