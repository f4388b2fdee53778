//! Deleting: what was named and nothing else.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use common::{places, repository, server, store};
use palan::{
    Error, Location, Places,
    client::Client,
    delete::{Deleted, Options, delete, look},
    place::{Layout, PutAs, Source, Target},
};
use palan_core::{Digest, Document, MediaType, Selector};
use palan_testkit::{
    fault::{FaultRegistry, Reply, Request},
    image::{Image, ImageSpec, layer},
};
use serde_json::json;

fn image(name: &str) -> Image {
    ImageSpec::new("linux/amd64").layer(layer(&[("name", name.as_bytes())])).build()
}

/// Tags `a` and `b` of one image, `c` of another, and a referrer of the first.
async fn fill(target: &dyn Target) -> (Image, Image) {
    let (one, other) = (image("one"), image("other"));
    for (image, tag) in [(&one, "a"), (&one, "b"), (&other, "c")] {
        store(target, &image.graph(), PutAs::Tag(tag.into())).await.unwrap();
    }
    let referrer = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "example/sbom",
        "config": one.manifest.view::<palan_core::view::Manifest>().unwrap().config, "layers": [],
        "subject": one.manifest.descriptor(),
    });
    let referrer = Document::from_value(&referrer, MediaType::OCI_MANIFEST).unwrap();
    target.put_document(&referrer, &PutAs::Root).await.unwrap();
    (one, other)
}

async fn tags(source: &dyn Source) -> Vec<String> {
    let mut tags = source.tags().await.unwrap();
    tags.sort();
    tags
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_and_layouts() {
    let (folder, server) = (tempfile::tempdir().unwrap(), server().await);
    let layout = format!("oci:{}", folder.path().join("layout").display());
    let registry = format!("{}/app", server.host());
    for name in [registry, layout] {
        let target = places().target(&format!("{name}:a").parse().unwrap()).unwrap().place;
        let (one, other) = fill(target.as_ref()).await;
        let at = |end: String| format!("{name}{end}").parse::<Location>().unwrap();
        let (places, plain) = (places(), Options::default());
        let by_digest = at(format!("@{}", one.digest()));

        let found = look(&places, &by_digest, 100).await.unwrap();
        assert_eq!((found.digest, found.tags, found.unseen), (one.digest(), vec!["a".into(), "b".into()], 0));
        assert_eq!(found.referrers, 1, "{name}");
        let found = look(&places, &by_digest, 1).await.unwrap();
        assert_eq!((found.tags.len(), found.unseen), (1, 2), "{name}");

        let done = delete(&places, &at(":a".into()), plain).await.unwrap();
        assert_eq!(done, Deleted::Tag { emulated: false });
        assert_eq!(tags(target.as_ref()).await, ["b", "c"], "{name}");
        assert!(target.document(&one.digest().into()).await.is_ok(), "{name}: the image went with its tag");

        assert_eq!(delete(&places, &by_digest, plain).await.unwrap(), Deleted::Manifest);
        assert_eq!(tags(target.as_ref()).await, ["c"], "{name}");
        assert!(target.document(&other.digest().into()).await.is_ok());
        // crane #1862: what is not there.
        for missing in [by_digest, at(":a".into())] {
            let error = delete(&places, &missing, plain).await.unwrap_err();
            assert!(error.is_not_found(), "{missing}: {error}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn archives_are_left_alone() {
    let location: Location = "oci-archive:x.tar:v1".parse().unwrap();
    let error = delete(&places(), &location, Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    let location: Location = "oci:nowhere".parse().unwrap();
    let error = delete(&places(), &location, Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::ChooseOne { .. }), "{error}");
}

#[tokio::test]
async fn a_layout_keeps_its_blobs_and_its_other_entries() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let (one, _) = fill(&layout).await;
    let before = layout.entries().unwrap();
    let location: Location = format!("oci:{}:a", folder.path().display()).parse().unwrap();
    delete(&places(), &location, Options::default()).await.unwrap();
    let after = layout.entries().unwrap();
    assert_eq!(after, before[1..]);
    assert!(layout.blob_path(one.digest()).exists());
}

/// A registry that deletes manifests, but no tags.
#[derive(Default)]
struct NoTags {
    tags: BTreeMap<String, Digest>,
    manifests: BTreeMap<Digest, (String, palan_core::Bytes)>,
    /// Nor manifests.
    read_only: bool,
    /// What was deleted leaves its tags behind.
    keeps_tags: bool,
}

impl NoTags {
    fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path().to_owned();
        if path == "/v2/" {
            return Reply::json("{}");
        }
        if let Some((_, upload)) = path.split_once("/blobs/uploads/") {
            return match upload {
                "" => Reply::status(202).header("location", "/v2/app/blobs/uploads/1"),
                _ => Reply::status(201),
            };
        }
        let Some((_, name)) = path.split_once("/manifests/") else {
            return Reply::error(404, "BLOB_UNKNOWN");
        };
        let digest = name.parse::<Digest>().ok().or_else(|| self.tags.get(name).copied());
        match request.method.as_str() {
            "PUT" => {
                let digest = Digest::sha256(&request.body);
                self.manifests.insert(digest, (request.header("content-type").into(), request.body.clone()));
                self.tags.insert(name.to_owned(), digest);
                Reply::status(201)
            }
            "DELETE" if self.read_only || !name.starts_with("sha256:") => Reply::error(405, "UNSUPPORTED"),
            "DELETE" => match digest.filter(|d| self.keeps_tags || self.manifests.remove(d).is_some()) {
                Some(digest) => {
                    self.tags.retain(|_, d| self.keeps_tags || *d != digest);
                    Reply::status(202)
                }
                None => Reply::error(404, "MANIFEST_UNKNOWN"),
            },
            _ => match digest.and_then(|d| Some((d, self.manifests.get(&d)?))) {
                Some((digest, (kind, bytes))) => Reply::ok(bytes.clone())
                    .header("content-type", kind)
                    .header("docker-content-digest", &digest.to_string()),
                None => Reply::error(404, "MANIFEST_UNKNOWN"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_alone_where_the_registry_cannot() {
    // regctl's way; crane #999, #1578, skopeo #1432, oras #1752.
    let one = image("one");
    for (read_only, keeps_tags) in [(false, false), (true, false), (false, true)] {
        let mut state = NoTags { read_only, keeps_tags, ..NoTags::default() };
        for tag in ["a", "b"] {
            state.tags.insert(tag.into(), one.digest());
        }
        let entry = (one.manifest.media_type().to_string(), one.manifest.bytes().clone());
        state.manifests.insert(one.digest(), entry);
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let registry = FaultRegistry::start(move |request| shared.lock().unwrap().answer(request)).await;
        let places = Places::new(Client::builder().build().unwrap());
        let location: Location = format!("{}/app:a", registry.host()).parse().unwrap();

        let error = delete(&places, &location, Options::default()).await.unwrap_err();
        assert!(matches!(error, Error::NoTagDelete { .. }), "{error}");
        assert_eq!(state.lock().unwrap().tags.len(), 2, "nothing was deleted in another way");

        let result = delete(&places, &location, Options { untag: true }).await;
        let after = state.lock().unwrap();
        let tags: Vec<(&str, Digest)> = after
            .tags
            .iter()
            .filter(|(tag, _)| !tag.starts_with("sha256:"))
            .map(|(tag, digest)| (tag.as_str(), *digest))
            .collect();
        let whole = [("a", one.digest()), ("b", one.digest())];
        if read_only || keeps_tags {
            assert!(result.is_err());
            assert_eq!(tags, whole, "the tag is what it was");
        } else {
            assert_eq!(result.unwrap(), Deleted::Tag { emulated: true });
            assert_eq!(tags, whole[1..]);
        }
        assert!(after.manifests.contains_key(&one.digest()), "the image is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_not_there_is_not_made() {
    let server = server().await;
    let target = repository(&server, "app");
    fill(target.as_ref()).await;
    let location: Location = format!("{}/app:none", server.host()).parse().unwrap();
    let error = delete(&places(), &location, Options { untag: true }).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(tags(target.as_ref()).await, ["a", "b", "c"]);
    assert!(target.resolve(&Selector::Tag("none".into())).await.is_err());
    server.stop().await;
}
