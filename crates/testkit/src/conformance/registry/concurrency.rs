//! Many clients at once.

use futures_util::future::{join, join_all, try_join_all};
use palan_core::Algorithm;

use super::{
    Answer, Suite,
    blobs::{absent, pull as pull_blob},
    conditions::{images, put},
    http::{noise, with_query},
    manifests::pull,
};

const CLIENTS: usize = 16;

pub(super) async fn run(suite: &mut Suite) {
    for algorithm in Algorithm::ALL {
        same_blob(suite, algorithm).await;
    }
    one_session(suite).await;
    tags(suite).await;
    one_winner(suite).await;
    deletes(suite).await;
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

async fn same_blob(suite: &mut Suite, algorithm: Algorithm) {
    let repository = suite.repository(&format!("concurrent-{algorithm}"));
    let content = noise(&format!("concurrent {algorithm}"), 1_000_003);
    let digest = algorithm.digest(&content);
    suite
        .check(
            format!("concurrent/blob/{algorithm}"),
            "one blob pushed by many is one blob",
            async |http, check| {
                let push = |i: usize| {
                    let (repository, content) = (&repository, &content);
                    async move {
                        let uploads = format!("/v2/{repository}/blobs/uploads/");
                        let parameter = format!("digest={digest}");
                        let call = match i % 2 {
                            0 => http.post(with_query(&uploads, &parameter)),
                            _ => http.put(with_query(&http.session(repository).await?, &parameter)),
                        };
                        call.bytes(content).send().await
                    }
                };
                for answer in try_join_all((0..CLIENTS).map(push)).await? {
                    check.status(&answer, &[201]);
                }
                pull_blob(http, check, &format!("/v2/{repository}/blobs/{digest}"), &digest, &content)
                    .await?;
                let target =
                    |i| format!("/v2/{repository}/{i}/blobs/uploads/?mount={digest}&from={repository}");
                let mounts = (0..CLIENTS).map(|i| http.post(target(i % 4)).send());
                for answer in try_join_all(mounts).await? {
                    check.status(&answer, &[201]);
                }
                for i in 0..4 {
                    let location = format!("/v2/{repository}/{i}/blobs/{digest}");
                    pull_blob(http, check, &location, &digest, &content).await?;
                }
                Ok(())
            },
        )
        .await;
}

/// Chunks that race for the same place: one is taken, the others are told that they are out of order.
async fn one_session(suite: &mut Suite) {
    let repository = suite.repository("concurrent-session");
    let content = noise("one session", 300_000);
    suite
        .check("concurrent/session", "racing chunks do not mix", async |http, check| {
            let location = http.session(&repository).await?;
            let chunk = || {
                let call = http.patch(&location).header("content-range", "0-299999");
                call.bytes(&content).send()
            };
            let answers = try_join_all((0..CLIENTS).map(|_| chunk())).await?;
            check.equal("chunks taken", count(&answers, 202), 1);
            check.equal("chunks refused", count(&answers, 416), CLIENTS - 1);
            let digest = Algorithm::Sha256.digest(&content);
            let finish = || http.put(with_query(&location, &format!("digest={digest}"))).send();
            let answers = try_join_all((0..CLIENTS).map(|_| finish())).await?;
            check.equal("finished", count(&answers, 201), 1);
            check.equal("too late", count(&answers, 404), CLIENTS - 1);
            pull_blob(http, check, &format!("/v2/{repository}/blobs/{digest}"), &digest, &content).await
        })
        .await;
}

async fn tags(suite: &mut Suite) {
    let repository = &suite.repository("concurrent-tags");
    suite
        .check("concurrent/tags", "no tag is lost, and one tag is one manifest", async |http, check| {
            let nodes = images(http, repository, CLIENTS).await?;
            let own = nodes.iter().enumerate().map(|(i, node)| {
                let tag = format!("t{i:02}");
                async move { http.push_manifest(repository, &tag, &node.media_type, &node.bytes).await }
            });
            let shared = nodes
                .iter()
                .map(|node| http.push_manifest(repository, "shared", &node.media_type, &node.bytes));
            let (own, shared) = join(join_all(own), join_all(shared)).await;
            for answer in own.into_iter().chain(shared) {
                check.status(&answer?, &[201]);
            }
            for (i, node) in nodes.iter().enumerate() {
                pull(http, check, &format!("/v2/{repository}/manifests/t{i:02}"), node).await?;
            }
            let answer = http.get(format!("/v2/{repository}/tags/list")).send().await?;
            let listed = answer.json()?["tags"].as_array().map_or(0, Vec::len);
            check.equal("tags", listed, CLIENTS + 1);
            let answer = http.get(format!("/v2/{repository}/manifests/shared")).send().await?;
            let digest = answer.header("docker-content-digest").unwrap_or_default().to_owned();
            let node = nodes.iter().find(|node| node.digest.to_string() == digest);
            let node = node.ok_or_else(|| format!("the tag points to {digest}"))?;
            check.body(&answer, &node.bytes);
            Ok(())
        })
        .await;
}

async fn one_winner(suite: &mut Suite) {
    let repository = suite.repository("concurrent-winner");
    suite
        .check("concurrent/if-none-match", "of many who create a tag, one does", async |http, check| {
            let nodes = images(http, &repository, CLIENTS).await?;
            let target = format!("/v2/{repository}/manifests/once");
            let puts = nodes.iter().map(|node| put(http, &target, node, ("if-none-match", "*")));
            let answers = try_join_all(puts).await?;
            check.equal("winners", count(&answers, 201), 1);
            check.equal("losers", count(&answers, 412), CLIENTS - 1);
            let winner = answers.iter().position(|answer| answer.status == 201).unwrap_or_default();
            pull(http, check, &target, &nodes[winner]).await?;
            let seen = format!("\"{}\"", nodes[winner].digest);
            let puts = nodes.iter().enumerate().filter(|(i, _)| *i != winner);
            let puts = puts.map(|(_, node)| put(http, &target, node, ("if-match", &seen)));
            let answers = try_join_all(puts).await?;
            check.equal("movers", count(&answers, 201), 1);
            check.equal("late movers", count(&answers, 412), CLIENTS - 2);
            Ok(())
        })
        .await;
}

/// Pushes, pulls and deletes of one blob: whatever the order, what is acknowledged is true at the end.
async fn deletes(suite: &mut Suite) {
    let repository = suite.repository("concurrent-deletes");
    let content = noise("concurrent deletes", 10_000);
    let digest = Algorithm::Sha256.digest(&content);
    suite
        .check("concurrent/delete", "pushes and deletes do not tear", async |http, check| {
            let target = format!("/v2/{repository}/blobs/{digest}");
            let post = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
            for _ in 0..8 {
                let work = (0..CLIENTS).map(|i| match i % 3 {
                    0 => http.post(&post).bytes(&content).send(),
                    1 => http.delete(&target).send(),
                    _ => http.get(&target).send(),
                });
                for answer in try_join_all(work).await? {
                    check.status(&answer, &[200, 201, 202, 404]);
                }
                let answer = http.get(&target).send().await?;
                check.status(&answer, &[200, 404]);
                if answer.status == 200 {
                    check.body(&answer, &content);
                }
            }
            http.post(&post).bytes(&content).send().await?;
            pull_blob(http, check, &target, &digest, &content).await?;
            check.status(&http.delete(&target).send().await?, &[202]);
            absent(http, check, &repository, &digest).await
        })
        .await;
}
