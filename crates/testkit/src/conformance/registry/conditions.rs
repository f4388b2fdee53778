//! Conditional requests, RFC 9110 §13: caches that ask whether they are current, and tags that nobody moves unseen.

use palan_core::{Algorithm, Digest, MediaType};

use super::{
    Answer, Http, Stop, Suite,
    manifests::{absent, pull},
    sets::{Maker, Node},
};

pub(super) async fn run(suite: &mut Suite) {
    let repository = suite.repository("conditions");
    reads(suite, &repository).await;
    writes(suite, &repository).await;
    if_range(suite, &repository).await;
}

/// Images that differ, their blobs pushed.
pub(super) async fn images(http: &Http, repository: &str, count: usize) -> Result<Vec<Node>, Stop> {
    let maker = Maker { seed: repository.to_owned(), algorithm: Algorithm::Sha256 };
    let mut nodes = Vec::new();
    for i in 0..count {
        let (blobs, json) = maker.image(&format!("image {i}"), &MediaType::OCI_LAYER_GZIP, 1);
        for blob in &blobs {
            http.push_blob(repository, blob, Algorithm::Sha256).await?;
        }
        nodes.push(Node::new(&MediaType::OCI_MANIFEST, json.to_string().into(), Algorithm::Sha256));
    }
    Ok(nodes)
}

/// Puts a manifest under a condition.
pub(super) async fn put(
    http: &Http,
    target: &str,
    node: &Node,
    (name, value): (&str, &str),
) -> Result<Answer, Stop> {
    let call = http.put(target).header("content-type", node.media_type.clone());
    call.header(name, value).bytes(&node.bytes).send().await
}

async fn reads(suite: &mut Suite, repository: &str) {
    suite
        .check("end-3/if-none-match", "what a cache has is not sent again", async |http, check| {
            let node = images(http, repository, 1).await?.remove(0);
            let manifest = format!("/v2/{repository}/manifests/reads");
            http.push_manifest(repository, "reads", &node.media_type, &node.bytes).await?;
            let blob = http.push_blob(repository, b"conditional", Algorithm::Sha256).await?;
            let blob = format!("/v2/{repository}/blobs/{blob}");
            for target in [&manifest, &blob] {
                let current = http.get(target).send().await?;
                check.must(&current, 200)?;
                let tag = current.header("etag").unwrap_or_default().to_owned();
                check.that(tag.starts_with('"'), || format!("ETag is {tag}"));
                let many = format!("\"x\", W/{tag}");
                for (condition, expected) in [(&tag, 304), (&many, 304), (&"\"x\"".to_owned(), 200)] {
                    for head in [false, true] {
                        let call = if head { http.head(target) } else { http.get(target) };
                        let answer = call.header("if-none-match", condition).send().await?;
                        check.status(&answer, &[expected]);
                        check.header(&answer, "etag", &tag);
                        let sent = if head || expected == 304 { b"" } else { &current.body[..] };
                        check.body(&answer, sent);
                    }
                }
            }
            Ok(())
        })
        .await;
}

async fn writes(suite: &mut Suite, repository: &str) {
    suite
        .check("end-7/if-match", "a tag moves only from where its mover saw it", async |http, check| {
            let nodes = images(http, repository, 3).await?;
            let target = format!("/v2/{repository}/manifests/moving");
            let tag = |node: &Node| format!("\"{}\"", node.digest);
            let steps = [
                // From nothing.
                (&nodes[0], "if-match", tag(&nodes[0]), 412),
                (&nodes[0], "if-match", "*".to_owned(), 412),
                (&nodes[0], "if-none-match", "*".to_owned(), 201),
                // From the first.
                (&nodes[1], "if-none-match", "*".to_owned(), 412),
                (&nodes[1], "if-match", tag(&nodes[2]), 412),
                (&nodes[1], "if-match", tag(&nodes[0]), 201),
                // From the second.
                (&nodes[2], "if-match", tag(&nodes[0]), 412),
                (&nodes[2], "if-none-match", tag(&nodes[1]), 412),
                (&nodes[2], "if-match", format!("{}, {}", tag(&nodes[0]), tag(&nodes[1])), 201),
            ];
            let mut now: Option<&Node> = None;
            for (node, name, value, expected) in &steps {
                let answer = put(http, &target, node, (name, value)).await?;
                check.status(&answer, &[*expected]);
                if *expected == 201 {
                    check.header(&answer, "etag", &tag(node));
                    now = Some(node);
                }
                match now {
                    None => absent(http, check, &target).await?,
                    Some(now) => pull(http, check, &target, now).await?,
                }
            }
            Ok(())
        })
        .await;
}

async fn if_range(suite: &mut Suite, repository: &str) {
    suite
        .check("end-2/if-range", "a part is of the content its asker knows", async |http, check| {
            let content = b"0123456789";
            let digest = http.push_blob(repository, content, Algorithm::Sha256).await?;
            let target = format!("/v2/{repository}/blobs/{digest}");
            let get = |validator: String| {
                http.get(&target).header("range", "bytes=2-3").header("if-range", validator).send()
            };
            let answer = get(format!("\"{digest}\"")).await?;
            check.status(&answer, &[206]);
            check.body(&answer, b"23");
            let answer = get(format!("\"{}\"", Digest::sha256(b"other"))).await?;
            check.status(&answer, &[200]);
            check.body(&answer, content);
            Ok(())
        })
        .await;
}
