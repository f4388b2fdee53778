//! Documents: identical bytes, roles, tags, referrers.

use palan::{Error, place::PutAs};
use palan_core::{Algorithm, Compression, Digest, Document, Family, MediaType, Selector};
use serde_json::json;

use super::{Check, Feed, Place, store};
use crate::image::{Attestation, Graph, Image, ImageSpec, IndexSpec, LayerSpec};

pub(super) async fn run(place: &dyn Place) {
    images_come_back(place).await;
    bytes_are_kept(place).await;
    if !place.only_sha256_documents() {
        sha512_documents_come_back(place).await;
    }
    roles_are_kept_apart(place).await;
    replacing_looks_first(place).await;
    if place.only_images() {
        what_it_cannot_hold_is_refused(place).await;
    } else {
        indexes_come_back(place).await;
        referrers_are_found(place).await;
    }
}

/// A small image; another one for every number.
pub(super) fn image(n: u32) -> Image {
    let layer = |name: &str, compression| {
        LayerSpec::new().file(name, format!("content {n}")).compression(compression).build()
    };
    ImageSpec::new("linux/amd64")
        .layer(layer("etc/base", Compression::Gzip))
        .layer(layer("etc/app", Compression::None))
        .label("n", n.to_string())
        .build()
}

async fn expect(check: &Check<'_>, graph: &Graph, selectors: &[Selector]) {
    for source in check.finish().await {
        for selector in selectors {
            let resolved = check.ok("resolve", source.resolve(selector).await);
            check.that("the descriptor comes back", resolved == graph.root().descriptor());
            let found = check.ok("document", source.document(selector).await);
            check.that("the bytes come back", found.bytes() == graph.root().bytes());
            check.that("the media type comes back", found.media_type() == graph.root().media_type());
            check.that("the digest comes back", found.digest() == graph.root().digest());
        }
        for document in &graph.documents {
            let found = check.ok("document", source.document(&document.digest().into()).await);
            check.that("every document's bytes come back", found.bytes() == document.bytes());
        }
        for (blob, content) in &graph.blobs {
            let found = check.ok("a blob", check.read(source.as_ref(), blob, 0).await);
            check.that("every blob comes back", found == content);
        }
    }
}

async fn images_come_back(place: &dyn Place) {
    for (id, family) in [("image-oci", Family::Oci), ("image-docker", Family::Docker)] {
        let check = Check::new(place, id);
        let base = image(1);
        let graph = ImageSpec::new("linux/arm64/v8").family(family).on(&base).build().graph();
        let tag = Selector::Tag(check.tag("v1"));
        check.missing("resolving an unknown tag", check.target.resolve(&tag).await);
        check.missing("an unknown document", check.target.document(&graph.root().digest().into()).await);
        check.store(&graph, PutAs::Tag(check.tag("v1"))).await;
        expect(&check, &graph, &[tag, graph.root().digest().into()]).await;
        for source in check.finish_again() {
            check.missing("another tag", source.resolve(&Selector::Tag(check.tag("v2"))).await);
            check.missing("another digest", source.document(&Digest::sha256(b"").into()).await);
            let config = graph.blobs.last().expect("images have a config").0.digest;
            check.fails("a config is not a document", source.document(&config.into()).await);
        }
    }
}

async fn bytes_are_kept(place: &dyn Place) {
    let check = Check::new(place, "bytes");
    let plain = image(1);
    let value = json!({
        "z-unknown": {"deep": [1.50, 18_446_744_073_709_551_615u64, null, "é\u{1f9ea}"]},
        "schemaVersion": 2,
        "layers": plain.manifest.object().expect("valid")["layers"],
        "config": plain.manifest.object().expect("valid")["config"],
        "mediaType": MediaType::OCI_MANIFEST,
    });
    let text = serde_json::to_string_pretty(&value).expect("valid").replace("  ", "\t") + "\n\n";
    let odd = Document::parse(text, Some(MediaType::OCI_MANIFEST)).expect("valid");
    // Without a media type of its own, as older tools write it.
    let mut untyped = plain.manifest.object().expect("valid");
    untyped.shift_remove("mediaType");
    let untyped = Document::parse(serde_json::to_vec(&untyped).expect("valid"), None).expect("valid");
    let mut graph = plain.graph();
    graph.documents = vec![untyped, odd];
    for document in &graph.documents.clone() {
        graph.documents = vec![document.clone()];
        check.store(&graph, PutAs::Tag(check.tag(&document.digest().hex()[..12]))).await;
    }
    expect(&check, &graph, &[Selector::Tag(check.tag(&graph.root().digest().hex()[..12]))]).await;
}

async fn sha512_documents_come_back(place: &dyn Place) {
    let check = Check::new(place, "sha512");
    let mut graph = image(1).graph();
    let media_type = Some(MediaType::OCI_MANIFEST);
    let long = Document::parse_with(graph.root().bytes().clone(), media_type, Algorithm::Sha512);
    graph.documents = vec![long.expect("valid")];
    check.store(&graph, PutAs::Root).await;
    expect(&check, &graph, &[]).await;
    // A tag of a registry may stand for the same bytes by another digest; the digest itself must still be known.
    let check = Check::new(place, "sha512-tagged");
    check.store(&graph, PutAs::Tag(check.tag("v1"))).await;
    for source in check.finish().await {
        let by_tag = check.ok("by tag", source.document(&Selector::Tag(check.tag("v1"))).await);
        check.that("the bytes come back", by_tag.bytes() == graph.root().bytes());
        let by_digest = check.ok("by digest", source.document(&graph.root().digest().into()).await);
        check.that("the digest comes back", by_digest.digest() == graph.root().digest());
    }
}

async fn roles_are_kept_apart(place: &dyn Place) {
    let check = Check::new(place, "roles");
    let images: Vec<Graph> = (0..4).map(|n| image(n).graph()).collect();
    let tag = |text: &str| PutAs::Tag(check.tag(text));
    check.store(&images[0], PutAs::Child).await;
    check.store(&images[1], PutAs::Root).await;
    check.store(&images[1], PutAs::Root).await;
    check.store(&images[2], tag("a")).await;
    check.store(&images[2], tag("b")).await;
    check.store(&images[2], tag("b")).await;
    check.store(&images[3], tag("moved")).await;
    check.store(&images[2], tag("moved")).await;
    for source in check.finish().await {
        let mut tags = check.ok("tags", source.tags().await);
        tags.sort();
        let expected: Vec<String> = ["a", "b", "moved"].iter().map(|t| check.tag(t)).collect();
        assert_eq!(tags, expected, "{}", check.what("the tags"));
        for name in &expected {
            let found = check.ok("a tag", source.resolve(&Selector::Tag(name.clone())).await);
            check.that("a tag stands for what it was put on last", found.digest == images[2].root().digest());
        }
        for image in &images {
            check.ok("each is there by digest", source.document(&image.root().digest().into()).await);
        }
    }
}

async fn replacing_looks_first(place: &dyn Place) {
    let check = Check::new(place, "replace");
    let (old, new, other) = (image(0).graph(), image(1).graph(), image(2).graph());
    let replace = |tag: &str, expected: &Graph| PutAs::Replace {
        tag: check.tag(tag),
        expected: expected.root().digest(),
    };
    let moved =
        |error: Error| assert!(matches!(error, Error::Moved { .. }), "{}: {error}", check.what("Moved"));
    for graph in [&old, &other] {
        check.store(graph, PutAs::Root).await;
    }
    check.store(&old, PutAs::Tag(check.tag("v1"))).await;
    moved(check.fails("a tag that stands for something else", {
        store(check.target.as_ref(), &new, replace("v1", &other)).await
    }));
    moved(check.fails("a tag that does not exist", {
        store(check.target.as_ref(), &new, replace("v2", &old)).await
    }));
    let selector = Selector::Tag(check.tag("v1"));
    let found = check.ok("resolve", check.target.resolve(&selector).await);
    check.that("the tag stays where it was", found.digest == old.root().digest());
    check.store(&new, replace("v1", &old)).await;
    for source in check.finish().await {
        let found = check.ok("resolve", source.resolve(&selector).await);
        check.that("the tag is replaced", found.digest == new.root().digest());
        check.missing("the other tag", source.resolve(&Selector::Tag(check.tag("v2"))).await);
    }
}

async fn indexes_come_back(place: &dyn Place) {
    let check = Check::new(place, "index");
    let arm = ImageSpec::new("linux/arm64").on(&image(1)).build();
    let inner = IndexSpec::new().image(arm).build();
    let index = IndexSpec::new().image(image(0)).attest(Attestation::Artifact).nested(&inner);
    let graph = index.annotation("org.example/k", "v").field("/x-unknown", json!([1])).build().graph();
    check.store(&graph, PutAs::Tag(check.tag("v1"))).await;
    expect(&check, &graph, &[Selector::Tag(check.tag("v1")), graph.root().digest().into()]).await;
}

async fn referrers_are_found(place: &dyn Place) {
    let check = Check::new(place, "referrers");
    let image = image(0);
    check.store(&image.graph(), PutAs::Tag(check.tag("v1"))).await;
    let mut feed = Feed::new(10);
    let empty = feed.add(Algorithm::Sha256, "{}");
    check.ok("put_blob", check.target.put_blob(&empty, &feed).await);
    let mut expected = Vec::new();
    for (n, kind) in ["text/sbom", "text/sbom", "text/signature"].into_iter().enumerate() {
        let artifact = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": kind,
            "config": {"mediaType": MediaType::OCI_EMPTY, "digest": empty.digest, "size": 2},
            "layers": [],
            "subject": image.manifest.descriptor(),
            "annotations": {"n": n.to_string()},
        });
        let artifact = Document::from_value(&artifact, MediaType::OCI_MANIFEST).expect("valid");
        check.ok("put_document", check.target.put_document(&artifact, &PutAs::Root).await);
        expected.push((artifact.digest(), kind, n.to_string()));
    }
    expected.sort_by_key(|(digest, ..)| *digest);
    for source in check.finish().await {
        for filter in [None, Some("text/sbom"), Some("text/signature"), Some("text/none")] {
            let mut found = check.ok("referrers", source.referrers(image.digest(), filter).await);
            found.sort_by_key(|d| d.digest);
            let found: Vec<_> = found
                .iter()
                .map(|d| {
                    (d.digest, d.artifact_type.as_deref().unwrap_or("-"), d.annotation("n").unwrap_or("-"))
                })
                .collect();
            let expected = expected.iter().filter(|(_, kind, _)| filter.is_none_or(|f| f == *kind));
            let expected: Vec<_> = expected.map(|(d, kind, n)| (*d, *kind, n.as_str())).collect();
            assert_eq!(found, expected, "{}", check.what(&format!("referrers of type {filter:?}")));
        }
        let none = check.ok("referrers", source.referrers(Digest::sha256(b""), None).await);
        check.that("nothing refers to what is not there", none.is_empty());
    }
}

async fn what_it_cannot_hold_is_refused(place: &dyn Place) {
    let check = Check::new(place, "refused");
    let index = IndexSpec::new().image(image(0)).build();
    let artifact = Attestation::Artifact.about(&image(0)).manifest;
    for document in [&index.document, &artifact] {
        for error in [
            check.fails("accepts", check.target.accepts(document)),
            check.fails("put_document", check.target.put_document(document, &PutAs::Root).await),
        ] {
            check.that("it says what it wants", matches!(&error, Error::WrongKind { .. }));
            check.that("it names the way out", error.to_string().contains("oci-archive:"));
        }
    }
}
