//! Manifests: every data set pushed, tagged, listed, pulled, found by its subject and deleted.

use palan_core::{Algorithm, MediaType};
use serde_json::{Value, json};

use super::{
    Answer, Check, Http, Stop, Suite,
    blobs::{absent as blob_absent, pull as pull_blob},
    sets::{Maker, Node, Set},
};

pub(super) async fn run(suite: &mut Suite) {
    for algorithm in Algorithm::ALL {
        let maker = Maker { seed: "manifests".to_owned(), algorithm };
        for set in maker.all() {
            let repository = suite.repository(&format!("sets-{algorithm}/{}", set.name));
            life(suite, &repository, &set, algorithm).await;
        }
    }
    accept(suite).await;
    several_tags(suite).await;
    moved_tag(suite).await;
}

/// HEAD and GET by one reference, and everything their headers must say.
pub(super) async fn pull(http: &Http, check: &mut Check, target: &str, node: &Node) -> Result<(), Stop> {
    for head in [true, false] {
        let call = if head { http.head(target) } else { http.get(target) };
        let answer = call.header("accept", node.media_type.clone()).send().await?;
        check.must(&answer, 200)?;
        check.header(&answer, "content-type", &node.media_type);
        check.header(&answer, "content-length", &node.bytes.len().to_string());
        check.header(&answer, "docker-content-digest", &node.digest.to_string());
        check.body(&answer, if head { b"" } else { &node.bytes });
    }
    Ok(())
}

/// A manifest that is not there, by both methods.
pub(super) async fn absent(http: &Http, check: &mut Check, target: &str) -> Result<(), Stop> {
    let answer = http.head(target).send().await?;
    check.status(&answer, &[404]);
    let answer = http.get(target).send().await?;
    check.error(&answer, &[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]);
    Ok(())
}

/// Pushes a manifest and pulls it from where the answer says it is.
pub(super) async fn push(
    http: &Http,
    check: &mut Check,
    repository: &str,
    reference: &str,
    node: &Node,
) -> Result<Answer, Stop> {
    let answer = http.push_manifest(repository, reference, &node.media_type, &node.bytes).await?;
    check.must(&answer, 201)?;
    check.header(&answer, "docker-content-digest", &node.digest.to_string());
    pull(http, check, &answer.location()?, node).await?;
    Ok(answer)
}

async fn life(suite: &mut Suite, repository: &str, set: &Set, algorithm: Algorithm) {
    let id = |what: &str| format!("{what}/{}/{algorithm}", set.name);
    suite
        .check(id("end-7/push"), "a graph is pushed, by digest and by tag", async |http, check| {
            for blob in &set.blobs {
                let digest = http.push_blob(repository, blob, algorithm).await?;
                pull_blob(http, check, &format!("/v2/{repository}/blobs/{digest}"), &digest, blob).await?;
            }
            for node in &set.manifests {
                let answer = push(http, check, repository, &node.digest.to_string(), node).await?;
                check_subject(check, &answer, node, set);
            }
            let answer = tag(http, check, repository, set.root(), algorithm).await?;
            check_subject(check, &answer, set.root(), set);
            Ok(())
        })
        .await;
    suite
        .check(id("end-3/pull"), "a graph is pulled, byte for byte", async |http, check| {
            for reference in ["v1".to_owned(), "v2".to_owned(), set.root().digest.to_string()] {
                pull(http, check, &format!("/v2/{repository}/manifests/{reference}"), set.root()).await?;
            }
            for node in &set.manifests {
                pull(http, check, &format!("/v2/{repository}/manifests/{}", node.digest), node).await?;
            }
            Ok(())
        })
        .await;
    suite
        .check(id("end-8/tags"), "its tags are listed", async |http, check| {
            let all = http.get(format!("/v2/{repository}/tags/list")).send().await?;
            check.must(&all, 200)?;
            check.equal("the list", all.json()?, json!({"name": repository, "tags": ["v1", "v2"]}));
            let rest = http.get(format!("/v2/{repository}/tags/list?last=v1")).send().await?;
            check.equal("tags after v1", rest.json()?["tags"].clone(), json!(["v2"]));
            Ok(())
        })
        .await;
    suite
        .check(id("end-12/referrers"), "it is found by its subject", async |http, check| {
            referrers(http, check, repository, set).await
        })
        .await;
    suite
        .check(id("end-9/delete"), "it is deleted, at once", async |http, check| {
            delete(http, check, repository, set, algorithm).await
        })
        .await;
}

/// Two tags, in the way that the algorithm allows: a manifest put to a tag has the registry's own algorithm.
async fn tag(
    http: &Http,
    check: &mut Check,
    repository: &str,
    root: &Node,
    algorithm: Algorithm,
) -> Result<Answer, Stop> {
    if algorithm == Algorithm::Sha256 {
        push(http, check, repository, "v2", root).await?;
        return push(http, check, repository, "v1", root).await;
    }
    let answer = push(http, check, repository, &format!("{}?tag=v1&tag=v2", root.digest), root).await?;
    check.header(&answer, "oci-tag", "v1, v2");
    Ok(answer)
}

fn check_subject(check: &mut Check, answer: &Answer, node: &Node, set: &Set) {
    match set.subject.filter(|_| node.digest == set.root().digest) {
        Some(subject) => check.header(answer, "oci-subject", &subject.to_string()),
        None => check.equal("header oci-subject", answer.header("oci-subject"), None::<&str>),
    }
}

async fn referrers(http: &Http, check: &mut Check, repository: &str, set: &Set) -> Result<(), Stop> {
    let root = set.root();
    let Some(subject) = set.subject else {
        let answer = http.get(format!("/v2/{repository}/referrers/{}", root.digest)).send().await?;
        return listed(check, &answer, &json!([]));
    };
    let mut expected = json!({"mediaType": root.media_type, "digest": root.digest, "size": root.bytes.len()});
    if let Some(artifact_type) = set.artifact_type {
        expected["artifactType"] = json!(artifact_type);
    }
    expected["annotations"] = set.annotations.clone();
    let target = format!("/v2/{repository}/referrers/{subject}");
    let answer = http.get(&target).send().await?;
    listed(check, &answer, &json!([expected]))?;
    check.equal("filters applied", answer.header("oci-filters-applied"), None::<&str>);
    let artifact_type = set.artifact_type.unwrap_or("application/vnd.example.none");
    let answer = http.get(format!("{target}?artifactType={artifact_type}")).send().await?;
    check.header(&answer, "oci-filters-applied", "artifactType");
    let filtered = if set.artifact_type.is_some() { json!([expected]) } else { json!([]) };
    listed(check, &answer, &filtered)?;
    let answer = http.get(format!("{target}?artifactType=application%2Fvnd.example.other")).send().await?;
    check.header(&answer, "oci-filters-applied", "artifactType");
    listed(check, &answer, &json!([]))
}

/// A referrers list with exactly these entries.
pub(super) fn listed(check: &mut Check, answer: &Answer, expected: &Value) -> Result<(), Stop> {
    check.must(answer, 200)?;
    check.header(answer, "content-type", MediaType::OCI_INDEX.as_str());
    let json = answer.json()?;
    check.equal("schemaVersion", json["schemaVersion"].clone(), json!(2));
    check.equal("mediaType", json["mediaType"].clone(), json!(MediaType::OCI_INDEX));
    check.equal("referrers", &json["manifests"], expected);
    Ok(())
}

async fn delete(
    http: &Http,
    check: &mut Check,
    repository: &str,
    set: &Set,
    algorithm: Algorithm,
) -> Result<(), Stop> {
    let manifest = |reference: &str| format!("/v2/{repository}/manifests/{reference}");
    let answer = http.delete(manifest("v1")).send().await?;
    check.status(&answer, &[202]);
    absent(http, check, &manifest("v1")).await?;
    pull(http, check, &manifest("v2"), set.root()).await?;
    pull(http, check, &manifest(&set.root().digest.to_string()), set.root()).await?;
    for node in set.manifests.iter().rev() {
        let target = manifest(&node.digest.to_string());
        let answer = http.delete(&target).send().await?;
        check.status(&answer, &[202]);
        absent(http, check, &target).await?;
        let answer = http.delete(&target).send().await?;
        check.error(&answer, &[404], &["MANIFEST_UNKNOWN"]);
    }
    absent(http, check, &manifest("v2")).await?;
    let answer = http.get(format!("/v2/{repository}/tags/list")).send().await?;
    check.must(&answer, 200)?;
    check.equal("tags", answer.json()?["tags"].clone(), json!([]));
    if let Some(subject) = set.subject {
        let answer = http.get(format!("/v2/{repository}/referrers/{subject}")).send().await?;
        listed(check, &answer, &json!([]))?;
    }
    for blob in &set.blobs {
        let digest = algorithm.digest(blob);
        let answer = http.delete(format!("/v2/{repository}/blobs/{digest}")).send().await?;
        check.status(&answer, &[202]);
        blob_absent(http, check, repository, &digest).await?;
    }
    Ok(())
}

async fn several_tags(suite: &mut Suite) {
    let repository = suite.repository("tag-param");
    let maker = Maker { seed: "tag-param".to_owned(), algorithm: Algorithm::Sha256 };
    let (blobs, json) = maker.image("image", &MediaType::OCI_LAYER_GZIP, 1);
    let node = Node::new(&MediaType::OCI_MANIFEST, json.to_string().into_bytes(), Algorithm::Sha256);
    suite
        .check("end-7b/tags", "a manifest is put by digest with a dozen tags", async |http, check| {
            for blob in &blobs {
                http.push_blob(&repository, blob, Algorithm::Sha256).await?;
            }
            let tags: Vec<String> = (10..22).map(|n| format!("t{n}")).collect();
            let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
            let reference = format!("{}?{}", node.digest, query.join("&"));
            let answer = push(http, check, &repository, &reference, &node).await?;
            check.header(&answer, "oci-tag", &tags.join(", "));
            for tag in &tags {
                pull(http, check, &format!("/v2/{repository}/manifests/{tag}"), &node).await?;
            }
            let answer = http.get(format!("/v2/{repository}/tags/list")).send().await?;
            check.equal("tags", answer.json()?["tags"].clone(), json!(tags));
            let answer = http.delete(format!("/v2/{repository}/manifests/{}", node.digest)).send().await?;
            check.status(&answer, &[202]);
            for tag in &tags {
                absent(http, check, &format!("/v2/{repository}/manifests/{tag}")).await?;
            }
            Ok(())
        })
        .await;
    suite
        .check("end-7b/bad-tag", "one bad tag and nothing is put", async |http, check| {
            let reference = format!("{}?tag=good&tag=..%2Fbad", node.digest);
            let answer = http.push_manifest(&repository, &reference, &node.media_type, &node.bytes).await?;
            check.status(&answer, &[400]);
            absent(http, check, &format!("/v2/{repository}/manifests/good")).await?;
            absent(http, check, &format!("/v2/{repository}/manifests/{}", node.digest)).await
        })
        .await;
}

/// What a client says it accepts is a hint: conversion would change the digest.
async fn accept(suite: &mut Suite) {
    let repository = suite.repository("accept");
    let maker = Maker { seed: "accept".to_owned(), algorithm: Algorithm::Sha256 };
    let sets = maker.all();
    suite
        .check("end-3/accept", "nothing is converted", async |http, check| {
            for set in
                sets.iter().filter(|set| matches!(set.name, "image" | "docker" | "index" | "docker-list"))
            {
                for blob in &set.blobs {
                    http.push_blob(&repository, blob, Algorithm::Sha256).await?;
                }
                for node in &set.manifests {
                    push(http, check, &repository, set.name, node).await?;
                }
                let types =
                    ["*/*", "application/json", "text/html", "application/vnd.oci.image.manifest.v1+json"];
                for accepted in types {
                    let target = format!("/v2/{repository}/manifests/{}", set.name);
                    let answer = http.get(target).header("accept", accepted).send().await?;
                    check.must(&answer, 200)?;
                    check.header(&answer, "content-type", &set.root().media_type);
                    check.body(&answer, &set.root().bytes);
                }
            }
            Ok(())
        })
        .await;
}

async fn moved_tag(suite: &mut Suite) {
    let repository = suite.repository("moved-tag");
    let maker = Maker { seed: "moved-tag".to_owned(), algorithm: Algorithm::Sha256 };
    suite
        .check("end-7/move", "a tag moves, what it pointed to stays", async |http, check| {
            let mut nodes = Vec::new();
            for what in ["one", "two"] {
                let (blobs, json) = maker.image(what, &MediaType::OCI_LAYER_GZIP, 1);
                for blob in &blobs {
                    http.push_blob(&repository, blob, Algorithm::Sha256).await?;
                }
                let bytes = json.to_string().into_bytes();
                nodes.push(Node::new(&MediaType::OCI_MANIFEST, bytes, Algorithm::Sha256));
                push(http, check, &repository, "latest", &nodes[nodes.len() - 1]).await?;
            }
            let manifest = |reference: &str| format!("/v2/{repository}/manifests/{reference}");
            pull(http, check, &manifest("latest"), &nodes[1]).await?;
            pull(http, check, &manifest(&nodes[0].digest.to_string()), &nodes[0]).await?;
            let answer = http.delete(manifest(&nodes[0].digest.to_string())).send().await?;
            check.status(&answer, &[202]);
            pull(http, check, &manifest("latest"), &nodes[1]).await
        })
        .await;
}
