//! What a scripted registry does when it does not fail: the plainest registry there is, in memory.
//!
//! Written from the specification and independent of palan's own server. Faults are put around it: see
//! [`Store::answer`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use palan_core::Digest;

use super::{Reply, Request};
use crate::image::Graph;

/// The content of a registry. Clones share it.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    /// By repository and digest.
    blobs: BTreeMap<(String, Digest), Bytes>,
    /// By repository and digest: media type and bytes.
    manifests: BTreeMap<(String, Digest), (String, Bytes)>,
    tags: BTreeMap<(String, String), Digest>,
    uploads: Vec<Upload>,
    smallest_chunk: Option<usize>,
    largest_body: Option<usize>,
}

#[derive(Default)]
struct Upload {
    bytes: Vec<u8>,
    /// The last piece was smaller than pieces may be: then it has to be the last one.
    ended: bool,
}

impl Store {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bodies larger than `largest` are refused with 413, pieces smaller than `smallest` with 400, and the latter is
    /// said by `OCI-Chunk-Min-Length`.
    #[must_use]
    pub fn with_body_limits(self, smallest: usize, largest: usize) -> Self {
        let mut content = self.content();
        (content.smallest_chunk, content.largest_body) = (Some(smallest), Some(largest));
        drop(content);
        self
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a whole graph into a repository and tags its root.
    pub fn put(&self, repository: &str, tag: &str, graph: &Graph) {
        let mut content = self.content();
        for (blob, bytes) in &graph.blobs {
            content.blobs.insert((repository.to_owned(), blob.digest), bytes.clone());
        }
        for document in &graph.documents {
            let entry = (document.media_type().as_str().to_owned(), document.bytes().clone());
            content.manifests.insert((repository.to_owned(), document.digest()), entry);
        }
        content.tags.insert((repository.to_owned(), tag.to_owned()), graph.root().digest());
    }

    /// What a tag stands for.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.content().tags.get(&(repository.to_owned(), tag.to_owned())).copied()
    }

    /// The first thing that a graph has and a repository has not, or has with other bytes.
    pub fn missing(&self, repository: &str, graph: &Graph) -> Option<Digest> {
        let content = self.content();
        let at = |digest: Digest| (repository.to_owned(), digest);
        let blob = graph.blobs.iter().find(|(d, bytes)| content.blobs.get(&at(d.digest)) != Some(bytes));
        let same = |d: Digest, bytes: &Bytes| content.manifests.get(&at(d)).is_some_and(|m| m.1 == bytes);
        let document = graph.documents.iter().find(|d| !same(d.digest(), d.bytes()));
        blob.map(|(d, _)| d.digest).or_else(|| document.map(palan_core::Document::digest))
    }

    /// Everything stored whose bytes are not what the digest promises.
    pub fn damaged(&self) -> Vec<Digest> {
        let content = self.content();
        let blobs = content.blobs.iter().map(|((_, digest), bytes)| (*digest, bytes));
        let manifests = content.manifests.iter().map(|((_, digest), (_, bytes))| (*digest, bytes));
        blobs
            .chain(manifests)
            .filter(|(d, bytes)| d.algorithm().digest(bytes) != *d)
            .map(|(d, _)| d)
            .collect()
    }

    /// The content of a blob, where it is there.
    pub fn blob(&self, repository: &str, digest: Digest) -> Option<Bytes> {
        self.content().blobs.get(&(repository.to_owned(), digest)).cloned()
    }

    /// The answer of a registry that works. Of an upload that was cut, what arrived is kept.
    pub fn answer(&self, request: &Request) -> Reply {
        let Some(path) = request.path().strip_prefix("/v2/") else { return Reply::error(404, "NOT_FOUND") };
        if path.is_empty() {
            return Reply::json("{}");
        }
        let mut content = self.content();
        if content.largest_body.is_some_and(|most| request.body.len() > most) {
            return Reply::status(413);
        }
        let split = |kind: &str| path.rsplit_once(kind);
        if let Some((repository, session)) = split("/blobs/uploads/") {
            content.upload(repository, session, request)
        } else if let Some((repository, digest)) = split("/blobs/") {
            content.blob(repository, digest, request)
        } else if let Some((repository, reference)) = split("/manifests/") {
            content.manifest(repository, reference, request)
        } else {
            Reply::error(404, "NOT_FOUND")
        }
    }
}

impl Content {
    fn blob(&self, repository: &str, digest: &str, request: &Request) -> Reply {
        let found = digest.parse().ok().and_then(|d| self.blobs.get(&(repository.to_owned(), d)));
        match (request.method.as_str(), found) {
            ("GET", Some(bytes)) => Reply::ranged(request, bytes),
            ("HEAD", Some(bytes)) => Reply::ok(bytes.clone()),
            ("GET" | "HEAD", None) => Reply::error(404, "BLOB_UNKNOWN"),
            _ => Reply::error(405, "UNSUPPORTED"),
        }
    }

    fn manifest(&mut self, repository: &str, reference: &str, request: &Request) -> Reply {
        let tag = (repository.to_owned(), reference.to_owned());
        let named: Option<Digest> = reference.parse().ok();
        let digest = named.or_else(|| self.tags.get(&tag).copied());
        match request.method.as_str() {
            "GET" | "HEAD" => {
                let found = digest.and_then(|d| Some((d, self.manifests.get(&(repository.to_owned(), d))?)));
                let Some((digest, (media_type, bytes))) = found else {
                    return Reply::error(404, "MANIFEST_UNKNOWN");
                };
                let reply = Reply::ok(bytes.clone()).header("content-type", media_type);
                reply.header("docker-content-digest", &digest.to_string())
            }
            "PUT" if request.cut => Reply::status(500),
            "PUT" => {
                let found = Digest::sha256(&request.body);
                if named.is_some_and(|named| named != found) {
                    return Reply::error(400, "DIGEST_INVALID");
                }
                let entry = (request.header("content-type").to_owned(), request.body.clone());
                self.manifests.insert((repository.to_owned(), found), entry);
                if named.is_none() {
                    self.tags.insert(tag, found);
                }
                Reply::status(201).header("docker-content-digest", &found.to_string())
            }
            _ => Reply::error(405, "UNSUPPORTED"),
        }
    }

    fn upload(&mut self, repository: &str, session: &str, request: &Request) -> Reply {
        let id = session.parse::<usize>().ok().filter(|id| *id < self.uploads.len());
        match (request.method.as_str(), id) {
            ("POST", _) => self.open(repository, request),
            ("GET", Some(id)) => self.status(repository, id, 204),
            ("PATCH", Some(id)) => self.append(repository, id, request),
            ("PUT", Some(id)) => self.close(repository, id, request),
            ("DELETE", Some(_)) => Reply::status(204),
            _ => Reply::error(404, "BLOB_UPLOAD_UNKNOWN"),
        }
    }

    fn open(&mut self, repository: &str, request: &Request) -> Reply {
        let query = |key: &str| {
            let (_, query) = request.target.split_once('?')?;
            query.split('&').find_map(|pair| pair.strip_prefix(key))
        };
        if let (Some(digest), Some(from)) = (query("mount="), query("from=")) {
            let found = digest.parse().ok().and_then(|d: Digest| {
                let bytes = self.blobs.get(&(from.to_owned(), d))?;
                Some((d, bytes.clone()))
            });
            if let Some((digest, bytes)) = found {
                self.blobs.insert((repository.to_owned(), digest), bytes);
                return Reply::status(201).header("location", &format!("/v2/{repository}/blobs/{digest}"));
            }
        }
        if let Some(digest) = query("digest=").filter(|_| !request.body.is_empty()) {
            return self.take(repository, digest, request);
        }
        self.uploads.push(Upload::default());
        let reply = self.status(repository, self.uploads.len() - 1, 202);
        match self.smallest_chunk {
            Some(length) => reply.header("oci-chunk-min-length", &length.to_string()),
            None => reply,
        }
    }

    /// A blob in one request.
    fn take(&mut self, repository: &str, named: &str, request: &Request) -> Reply {
        let digest = Digest::sha256(&request.body);
        if request.cut {
            return Reply::abort();
        }
        if named.replace("%3A", ":") != digest.to_string() {
            return Reply::error(400, "DIGEST_INVALID");
        }
        self.blobs.insert((repository.to_owned(), digest), request.body.clone());
        Reply::status(201).header("location", &format!("/v2/{repository}/blobs/{digest}"))
    }

    fn status(&self, repository: &str, id: usize, status: u16) -> Reply {
        let length = self.uploads[id].bytes.len();
        Reply::status(status)
            .header("location", &format!("/v2/{repository}/blobs/uploads/{id}?_state={length}"))
            .header("range", &format!("0-{}", length.max(1) - 1))
    }

    /// Whether a piece begins where the upload has got to.
    fn fits(&self, id: usize, request: &Request) -> bool {
        match request.header("content-range").split_once('-') {
            Some((start, _)) => start.parse() == Ok(self.uploads[id].bytes.len()),
            None => self.uploads[id].bytes.is_empty() || request.body.is_empty(),
        }
    }

    fn append(&mut self, repository: &str, id: usize, request: &Request) -> Reply {
        if !self.fits(id, request) {
            return self.status(repository, id, 416);
        }
        let least = self.smallest_chunk.unwrap_or_default();
        let upload = &mut self.uploads[id];
        if upload.ended {
            return Reply::error(400, "SIZE_INVALID");
        }
        upload.ended = request.body.len() < least && !request.cut;
        upload.bytes.extend_from_slice(&request.body);
        self.status(repository, id, 202)
    }

    fn close(&mut self, repository: &str, id: usize, request: &Request) -> Reply {
        if !self.fits(id, request) {
            return self.status(repository, id, 416);
        }
        self.uploads[id].bytes.extend_from_slice(&request.body);
        if request.cut {
            return Reply::abort();
        }
        let bytes = Bytes::from(self.uploads[id].bytes.clone());
        let digest = Digest::sha256(&bytes);
        if !request.target.replace("%3A", ":").ends_with(&format!("digest={digest}")) {
            return Reply::error(400, "DIGEST_INVALID");
        }
        self.blobs.insert((repository.to_owned(), digest), bytes);
        Reply::status(201).header("location", &format!("/v2/{repository}/blobs/{digest}"))
    }
}
