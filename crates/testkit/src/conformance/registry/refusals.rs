//! Manifests that must be refused, and the largest that must not.

use palan_core::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use super::{
    Answer, Check, Http, Stop, Suite,
    manifests::{absent, pull, push},
    sets::{Maker, Node},
};

const LIMIT: usize = 4 * 1024 * 1024;
const INVALID: &[&str] = &["MANIFEST_INVALID"];
const MISSING: &[&str] = &["MANIFEST_BLOB_UNKNOWN"];

pub(super) async fn run(suite: &mut Suite) {
    unknown(suite).await;
    names(suite).await;
    documents(suite).await;
    references(suite).await;
    methods(suite).await;
    for algorithm in Algorithm::ALL {
        digests(suite, algorithm).await;
        sizes(suite, algorithm).await;
    }
}

/// An image whose blobs are in the repository.
async fn image(http: &Http, repository: &str, algorithm: Algorithm) -> Result<Value, Stop> {
    let maker = Maker { seed: repository.to_owned(), algorithm };
    let (blobs, json) = maker.image("image", &MediaType::OCI_LAYER_GZIP, 1);
    for blob in &blobs {
        http.push_blob(repository, blob, algorithm).await?;
    }
    Ok(json)
}

/// A refused manifest leaves nothing behind.
async fn refused(
    http: &Http,
    check: &mut Check,
    repository: &str,
    (media_type, bytes): (&MediaType, &[u8]),
    (statuses, codes): (&[u16], &[&str]),
) -> Result<(), Stop> {
    let digest = Digest::sha256(bytes).to_string();
    for reference in ["refused", &digest] {
        let answer = http.push_manifest(repository, reference, media_type.as_str(), bytes).await?;
        check.error(&answer, statuses, codes);
        absent(http, check, &format!("/v2/{repository}/manifests/{reference}")).await?;
    }
    Ok(())
}

async fn unknown(suite: &mut Suite) {
    let repository = suite.repository("nothing-here");
    suite
        .check("end-3/unknown", "an unknown manifest is unknown", async |http, check| {
            for algorithm in Algorithm::ALL {
                let digest = algorithm.digest(b"never pushed");
                let target = format!("/v2/{repository}/manifests/{digest}");
                absent(http, check, &target).await?;
                let answer = http.delete(&target).send().await?;
                check.error(&answer, &[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]);
            }
            let target = format!("/v2/{repository}/manifests/latest");
            absent(http, check, &target).await?;
            let answer = http.delete(&target).send().await?;
            check.error(&answer, &[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]);
            Ok(())
        })
        .await;
}

async fn names(suite: &mut Suite) {
    let repository = suite.repository("names");
    suite
        .check("end-7/tag-grammar", "tags follow their grammar", async |http, check| {
            let json = image(http, &repository, Algorithm::Sha256).await?;
            let node = Node::new(&MediaType::OCI_MANIFEST, json.to_string().into(), Algorithm::Sha256);
            let longest = "t".repeat(128);
            for tag in ["_", "0", "V1.0-RC.1_x", "latest", "Latest", "LATEST", &longest] {
                push(http, check, &repository, tag, &node).await?;
                pull(http, check, &format!("/v2/{repository}/manifests/{tag}"), &node).await?;
            }
            let too_long = "t".repeat(129);
            for tag in [".dot", "-dash", "a+b", "a~b", "%C3%A9", &too_long] {
                let answer = http.push_manifest(&repository, tag, &node.media_type, &node.bytes).await?;
                check.status(&answer, &[400, 404]);
                let answer = http.get(format!("/v2/{repository}/manifests/{tag}")).send().await?;
                check.status(&answer, &[400, 404]);
            }
            Ok(())
        })
        .await;
    suite
        .check("end-7/case", "tags that differ in case are different tags", async |http, check| {
            let tags = ["LATEST", "Latest", "V1.0-RC.1_x", "latest"];
            let answer = http.get(format!("/v2/{repository}/tags/list")).send().await?;
            let listed = answer.json()?["tags"].clone();
            let listed: Vec<&str> =
                listed.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let found: Vec<&str> = listed.iter().copied().filter(|t| tags.contains(t)).collect();
            check.equal("tags", found, tags);
            let answer = http.delete(format!("/v2/{repository}/manifests/LATEST")).send().await?;
            check.status(&answer, &[202]);
            absent(http, check, &format!("/v2/{repository}/manifests/LATEST")).await?;
            let answer = http.head(format!("/v2/{repository}/manifests/latest")).send().await?;
            check.status(&answer, &[200]);
            Ok(())
        })
        .await;
}

async fn documents(suite: &mut Suite) {
    let repository = suite.repository("documents");
    let oci = MediaType::OCI_MANIFEST;
    suite
        .check("end-7/not-a-manifest", "what is not a manifest is refused", async |http, check| {
            let deep = "[".repeat(100_000);
            let bodies =
                ["", "{", "null", "[]", "\"x\"", "<html></html>", "{} {}", "\u{feff}{}", "{\"a\":1,}", &deep];
            for body in bodies {
                let pushed = (&oci, body.as_bytes());
                refused(http, check, &repository, pushed, (&[400], INVALID)).await?;
            }
            Ok(())
        })
        .await;
    suite
        .check("end-7/contradiction", "a manifest that contradicts itself is refused", async |http, check| {
            let json = image(http, &repository, Algorithm::Sha256).await?;
            let changed = |change: &dyn Fn(&mut Value)| {
                let mut json = json.clone();
                change(&mut json);
                json.to_string()
            };
            let text = json.to_string();
            let double_key = text.replacen('{', "{\"schemaVersion\":2,", 1);
            let cases = [
                // Content-Type and mediaType disagree.
                (MediaType::DOCKER_MANIFEST, text.clone()),
                (MediaType::OCI_INDEX, text.clone()),
                (oci.clone(), changed(&|json| json["mediaType"] = json!(MediaType::OCI_INDEX))),
                (oci.clone(), changed(&|json| json["mediaType"] = json!(7))),
                // A manifest to one reader and an index to another (CVE-2021-41190).
                (oci.clone(), changed(&|json| json["manifests"] = json!([]))),
                (oci.clone(), double_key),
                (oci.clone(), changed(&|json| json["layers"] = json!("none"))),
                (oci.clone(), changed(&|json| json["config"] = Value::Null)),
                (oci.clone(), changed(&|json| json["config"]["size"] = json!(-1))),
                (oci.clone(), changed(&|json| json["config"]["size"] = json!("1"))),
                (oci.clone(), changed(&|json| json["config"]["digest"] = json!("sha256:bad"))),
                (oci.clone(), changed(&|json| json["layers"][0]["digest"] = json!("../../etc/passwd"))),
                (oci.clone(), changed(&|json| json["subject"] = json!({"digest": "sha256:bad"}))),
            ];
            for (media_type, body) in &cases {
                let pushed = (media_type, body.as_bytes());
                refused(http, check, &repository, pushed, (&[400], INVALID)).await?;
            }
            Ok(())
        })
        .await;
}

async fn references(suite: &mut Suite) {
    let repository = suite.repository("references");
    let oci = MediaType::OCI_MANIFEST;
    suite
        .check("end-7/missing-blob", "what a manifest needs must be there", async |http, check| {
            let json = image(http, &repository, Algorithm::Sha256).await?;
            let nowhere = json!(Digest::sha256(b"never pushed"));
            for pointer in ["/config/digest", "/layers/0/digest"] {
                let mut json = json.clone();
                if let Some(digest) = json.pointer_mut(pointer) {
                    *digest = nowhere.clone();
                }
                let text = json.to_string();
                let pushed = (&oci, text.as_bytes());
                refused(http, check, &repository, pushed, (&[400, 404], MISSING)).await?;
            }
            let child = json!({"mediaType": oci, "digest": nowhere, "size": 7});
            let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [child]});
            let text = index.to_string();
            let pushed = (&MediaType::OCI_INDEX, text.as_bytes());
            refused(http, check, &repository, pushed, (&[400, 404], MISSING)).await
        })
        .await;
    suite
        .check("end-7/elsewhere", "a blob of another repository is not there", async |http, check| {
            let other = format!("{repository}/other");
            let json = image(http, &other, Algorithm::Sha256).await?;
            let text = json.to_string();
            let pushed = (&oci, text.as_bytes());
            refused(http, check, &format!("{repository}/third"), pushed, (&[400, 404], MISSING)).await
        })
        .await;
    suite
        .check("end-7/wrong-size", "a blob has the size that is stated", async |http, check| {
            let json = image(http, &repository, Algorithm::Sha256).await?;
            for pointer in ["/config/size", "/layers/0/size"] {
                let mut json = json.clone();
                if let Some(size) = json.pointer_mut(pointer) {
                    *size = json!(1);
                }
                let text = json.to_string();
                let codes: &[&str] = &["SIZE_INVALID", "MANIFEST_INVALID"];
                let pushed = (&oci, text.as_bytes());
                refused(http, check, &repository, pushed, (&[400], codes)).await?;
            }
            Ok(())
        })
        .await;
}

async fn methods(suite: &mut Suite) {
    let repository = suite.repository("methods");
    let digest = Digest::sha256(b"x");
    suite
        .check("end-1/methods", "other methods are not allowed", async |http, check| {
            let cases = [
                http.put("/v2/"),
                http.post("/v2/_catalog"),
                http.delete(format!("/v2/{repository}/tags/list")),
                http.post(format!("/v2/{repository}/manifests/latest")),
                http.patch(format!("/v2/{repository}/manifests/latest")),
                http.put(format!("/v2/{repository}/blobs/{digest}")),
                http.put(format!("/v2/{repository}/referrers/{digest}")),
                http.put(format!("/v2/{repository}/blobs/uploads/")),
            ];
            for call in cases {
                let answer = call.send().await?;
                check.status(&answer, &[404, 405]);
                if answer.status == 405 {
                    check.that(answer.header("allow").is_some(), || "405 without Allow".to_owned());
                }
            }
            Ok(())
        })
        .await;
}

async fn digests(suite: &mut Suite, algorithm: Algorithm) {
    let repository = suite.repository(&format!("digests-{algorithm}"));
    let wrong = algorithm.digest(b"something else");
    suite
        .check(
            format!("end-7/wrong-digest/{algorithm}"),
            "a manifest is what it is called",
            async |http, check| {
                let text = image(http, &repository, algorithm).await?.to_string();
                let push = async |reference: &str| -> Result<Answer, Stop> {
                    let media_type = MediaType::OCI_MANIFEST;
                    http.push_manifest(&repository, reference, media_type.as_str(), text.as_bytes()).await
                };
                let answer = push(&wrong.to_string()).await?;
                check.error(&answer, &[400], &["DIGEST_INVALID"]);
                absent(http, check, &format!("/v2/{repository}/manifests/{wrong}")).await?;
                for malformed in [format!("{algorithm}:baddigeststring"), format!("{algorithm}:")] {
                    let answer = push(&malformed).await?;
                    check.error(&answer, &[400], &["DIGEST_INVALID"]);
                    let target = format!("/v2/{repository}/manifests/{malformed}");
                    check.status(&http.get(&target).send().await?, &[400, 404]);
                    check.status(&http.head(&target).send().await?, &[400, 404]);
                    check.status(&http.delete(&target).send().await?, &[400, 404]);
                    let target = format!("/v2/{repository}/blobs/{malformed}");
                    check.status(&http.get(&target).send().await?, &[400, 404]);
                    check.status(&http.delete(&target).send().await?, &[400, 404]);
                }
                Ok(())
            },
        )
        .await;
}

async fn sizes(suite: &mut Suite, algorithm: Algorithm) {
    let repository = suite.repository(&format!("sizes-{algorithm}"));
    let padded = |json: &Value, size: usize| {
        let mut text = json.to_string();
        let padding = "x".repeat(size - text.len() - "\"padding\":\"\",".len());
        text.insert_str(1, &format!("\"padding\":\"{padding}\","));
        Node::new(&MediaType::OCI_MANIFEST, text.into_bytes(), algorithm)
    };
    suite
        .check(format!("end-7/4-mib/{algorithm}"), "a manifest of 4 MiB is accepted", async |http, check| {
            let json = image(http, &repository, algorithm).await?;
            for size in [LIMIT, 200_000] {
                let node = padded(&json, size);
                check.equal("the size of the manifest", node.bytes.len(), size);
                push(http, check, &repository, &node.digest.to_string(), &node).await?;
                pull(http, check, &format!("/v2/{repository}/manifests/{}", node.digest), &node).await?;
            }
            Ok(())
        })
        .await;
    suite
        .check(format!("end-7/413/{algorithm}"), "a larger manifest is 413", async |http, check| {
            let json = image(http, &repository, algorithm).await?;
            for size in [LIMIT + 1, LIMIT + 1_000_000] {
                let node = padded(&json, size);
                let target = format!("/v2/{repository}/manifests/{}", node.digest);
                let put = || http.put(&target).header("content-type", node.media_type.clone());
                let answer = put().bytes(&node.bytes).send().await?;
                check.status(&answer, &[413]);
                let answer = put().stream(&[&node.bytes[..LIMIT], &node.bytes[LIMIT..]]).send().await?;
                check.status(&answer, &[413]);
                absent(http, check, &target).await?;
            }
            Ok(())
        })
        .await;
}
