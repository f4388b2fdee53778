//! Blobs: pushed in one request or two, pulled whole and in parts, mounted, deleted.

use palan_core::{Algorithm, Digest};

use super::{
    Check, Http, Stop, Suite,
    http::{noise, with_query},
};

pub(super) async fn run(suite: &mut Suite) {
    suite
        .check("end-1/ping", "the API answers to GET and HEAD", async |http, check| {
            let answer = http.get("/v2/").send().await?;
            check.status(&answer, &[200]);
            let answer = http.head("/v2/").send().await?;
            check.status(&answer, &[200]);
            check.body(&answer, b"");
            Ok(())
        })
        .await;
    for algorithm in Algorithm::ALL {
        let repository = suite.repository(&format!("blobs-{algorithm}"));
        let other = suite.repository(&format!("blobs-{algorithm}/mounted"));
        missing(suite, algorithm).await;
        pushes(suite, &repository, algorithm).await;
        small(suite, &repository, algorithm).await;
        ranges(suite, &repository, algorithm).await;
        mounts(suite, &repository, &other, algorithm).await;
        wrong_digests(suite, &repository, algorithm).await;
        deletes(suite, &repository, &other, algorithm).await;
    }
}

/// HEAD and GET, and everything their headers must say.
pub(super) async fn pull(
    http: &Http,
    check: &mut Check,
    location: &str,
    digest: &Digest,
    content: &[u8],
) -> Result<(), Stop> {
    let answer = http.head(location).send().await?;
    check.must(&answer, 200)?;
    check.header(&answer, "content-length", &content.len().to_string());
    check.header(&answer, "docker-content-digest", &digest.to_string());
    check.body(&answer, b"");
    let answer = http.get(location).send().await?;
    check.must(&answer, 200)?;
    check.header(&answer, "content-length", &content.len().to_string());
    check.header(&answer, "docker-content-digest", &digest.to_string());
    check.body(&answer, content);
    Ok(())
}

/// A blob that is not there, by both methods.
pub(super) async fn absent(
    http: &Http,
    check: &mut Check,
    repository: &str,
    digest: &Digest,
) -> Result<(), Stop> {
    let target = format!("/v2/{repository}/blobs/{digest}");
    let answer = http.head(&target).send().await?;
    check.status(&answer, &[404]);
    check.body(&answer, b"");
    let answer = http.get(&target).send().await?;
    check.error(&answer, &[404], &["BLOB_UNKNOWN", "NAME_UNKNOWN"]);
    Ok(())
}

async fn missing(suite: &mut Suite, algorithm: Algorithm) {
    let nowhere = suite.repository("nothing-here");
    let digest = algorithm.digest(b"never pushed");
    suite
        .check(format!("end-2/missing/{algorithm}"), "a missing blob is unknown", async |http, check| {
            absent(http, check, &nowhere, &digest).await
        })
        .await;
}

async fn pushes(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    let content = noise(&format!("push {algorithm}"), 70_000);
    let digest = algorithm.digest(&content);
    suite
        .check(format!("end-4b/single-post/{algorithm}"), "one POST pushes a blob", async |http, check| {
            let content = noise(&format!("post {algorithm}"), 100_000);
            let digest = algorithm.digest(&content);
            let call = http.post(format!("/v2/{repository}/blobs/uploads/?digest={digest}"));
            let answer =
                call.header("content-type", "application/octet-stream").bytes(&content).send().await?;
            check.must(&answer, 201)?;
            check.header(&answer, "docker-content-digest", &digest.to_string());
            pull(http, check, &answer.location()?, &digest, &content).await
        })
        .await;
    suite
        .check(format!("end-6/post-put/{algorithm}"), "POST and PUT push a blob", async |http, check| {
            let location = http.session(repository).await?;
            let call = http.put(with_query(&location, &format!("digest={digest}")));
            let answer =
                call.header("content-type", "application/octet-stream").bytes(&content).send().await?;
            check.must(&answer, 201)?;
            pull(http, check, &answer.location()?, &digest, &content).await?;
            let answer = http.get(&location).send().await?;
            check.error(&answer, &[404], &["BLOB_UPLOAD_UNKNOWN"]);
            Ok(())
        })
        .await;
    suite
        .check(format!("end-4c/hint/{algorithm}"), "an algorithm may be announced", async |http, check| {
            let call = http.post(format!("/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}"));
            let answer = call.send().await?;
            check.must(&answer, 202)?;
            let content = noise(&format!("hint {algorithm}"), 3_000);
            let digest = algorithm.digest(&content);
            let answer = http.patch(answer.location()?).bytes(&content).send().await?;
            check.must(&answer, 202)?;
            let answer =
                http.put(with_query(&answer.location()?, &format!("digest={digest}"))).send().await?;
            check.must(&answer, 201)?;
            pull(http, check, &answer.location()?, &digest, &content).await
        })
        .await;
    suite
        .check(format!("end-6/again/{algorithm}"), "a blob may be pushed again", async |http, check| {
            http.push_blob(repository, &content, algorithm).await?;
            pull(http, check, &format!("/v2/{repository}/blobs/{digest}"), &digest, &content).await
        })
        .await;
}

async fn small(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    for (what, content) in [("empty", b"".as_slice()), ("empty-object", b"{}"), ("one-byte", b"x")] {
        suite
            .check(format!("end-6/{what}/{algorithm}"), "small blobs are blobs", async |http, check| {
                let digest = http.push_blob(repository, content, algorithm).await?;
                pull(http, check, &format!("/v2/{repository}/blobs/{digest}"), &digest, content).await?;
                let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
                let answer = http.post(target).bytes(content).send().await?;
                check.must(&answer, 201)?;
                pull(http, check, &answer.location()?, &digest, content).await
            })
            .await;
    }
}

async fn ranges(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    const SIZE: usize = 4_000;
    let content = noise(&format!("ranges {algorithm}"), SIZE);
    let digest = algorithm.digest(&content);
    let target = format!("/v2/{repository}/blobs/{digest}");
    let parts = [
        ("500-1499", 500..1500),
        ("500-", 500..SIZE),
        ("-500", SIZE - 500..SIZE),
        ("2000-5000", 2000..SIZE),
        ("0-0", 0..1),
        ("0-", 0..SIZE),
        ("3999-3999", 3999..SIZE),
        ("-9000", 0..SIZE),
    ];
    suite
        .check(format!("end-2/range/{algorithm}"), "a part of a blob is 206", async |http, check| {
            http.push_blob(repository, &content, algorithm).await?;
            for (range, part) in parts {
                let answer = http.get(&target).header("range", format!("bytes={range}")).send().await?;
                check.status(&answer, &[206]);
                check.body(&answer, &content[part.clone()]);
                check.header(&answer, "content-length", &part.len().to_string());
                let expected = format!("bytes {}-{}/{SIZE}", part.start, part.end - 1);
                check.header(&answer, "content-range", &expected);
            }
            Ok(())
        })
        .await;
    suite
        .check(format!("end-2/range-416/{algorithm}"), "no part of a blob is 416", async |http, check| {
            for range in ["5000-10000", "4000-", "500-0", "99999999999999999999-"] {
                let answer = http.get(&target).header("range", format!("bytes={range}")).send().await?;
                check.status(&answer, &[416]);
                check.header(&answer, "content-range", &format!("bytes */{SIZE}"));
            }
            Ok(())
        })
        .await;
    suite
        .check(format!("end-2/range-ignored/{algorithm}"), "other ranges are ignored", async |http, check| {
            for range in ["lines=0-1", "bytes=x-y", "bytes=0-1,5-6", "bytes"] {
                let answer = http.get(&target).header("range", range).send().await?;
                check.status(&answer, &[200]);
                check.body(&answer, &content);
            }
            let answer = http.head(&target).header("range", "bytes=0-9").send().await?;
            check.status(&answer, &[200]);
            check.header(&answer, "content-length", &SIZE.to_string());
            Ok(())
        })
        .await;
}

async fn mounts(suite: &mut Suite, repository: &str, other: &str, algorithm: Algorithm) {
    let content = noise(&format!("mount {algorithm}"), 9_000);
    let digest = algorithm.digest(&content);
    suite
        .check(
            format!("end-11/scoped/{algorithm}"),
            "a blob is only where it was pushed",
            async |http, check| {
                http.push_blob(repository, &content, algorithm).await?;
                absent(http, check, other, &digest).await
            },
        )
        .await;
    suite
        .check(format!("end-11/mount/{algorithm}"), "a blob is mounted", async |http, check| {
            let target = format!("/v2/{other}/blobs/uploads/?mount={digest}&from={repository}");
            let answer = http.post(&target).send().await?;
            check.must(&answer, 201)?;
            pull(http, check, &answer.location()?, &digest, &content).await?;
            let answer = http.post(&target).send().await?;
            check.status(&answer, &[201]);
            Ok(())
        })
        .await;
    let third = format!("{other}/anonymous");
    suite
        .check(format!("end-11/anonymous/{algorithm}"), "a mount needs no source", async |http, check| {
            let answer = http.post(format!("/v2/{third}/blobs/uploads/?mount={digest}")).send().await?;
            check.must(&answer, 201)?;
            pull(http, check, &answer.location()?, &digest, &content).await
        })
        .await;
    let nowhere = suite.repository("nothing-here");
    suite
        .check(format!("end-11/missing/{algorithm}"), "a failed mount is a session", async |http, check| {
            let content = noise(&format!("unmounted {algorithm}"), 500);
            let digest = algorithm.digest(&content);
            for from in [format!("&from={repository}"), format!("&from={nowhere}"), String::new()] {
                let target = format!("/v2/{other}/blobs/uploads/?mount={digest}{from}");
                let answer = http.post(target).send().await?;
                check.must(&answer, 202)?;
                absent(http, check, other, &digest).await?;
                let answer = http.delete(answer.location()?).send().await?;
                check.status(&answer, &[204]);
            }
            let target = format!("/v2/{other}/blobs/uploads/?mount={digest}&from={repository}");
            let answer = http.post(target).send().await?;
            let target = with_query(&answer.location()?, &format!("digest={digest}"));
            let answer = http.put(target).bytes(&content).send().await?;
            check.must(&answer, 201)?;
            pull(http, check, &answer.location()?, &digest, &content).await
        })
        .await;
}

async fn wrong_digests(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    let content = noise(&format!("wrong {algorithm}"), 5_000);
    let wrong = algorithm.digest(b"something else");
    let right = algorithm.digest(&content);
    let malformed = [
        "sha256:baddigeststring",
        "sha256",
        "",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:../../../../etc/passwd",
        "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    ];
    let id = format!("end-6/wrong-digest/{algorithm}");
    suite
        .check(id, "content that is not what it is called is refused", async |http, check| {
            let uploads = format!("/v2/{repository}/blobs/uploads/");
            let answer = http.post(format!("{uploads}?digest={wrong}")).bytes(&content).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID"]);
            let location = http.session(repository).await?;
            let target = with_query(&location, &format!("digest={wrong}"));
            let answer = http.put(target).bytes(&content).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID"]);
            let location = http.session(repository).await?;
            let answer = http.patch(&location).bytes(&content).send().await?;
            check.must(&answer, 202)?;
            let target = with_query(&answer.location()?, &format!("digest={wrong}"));
            let answer = http.put(target).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID"]);
            let location = http.session(repository).await?;
            let call = http.patch(&location).header("content-range", "0-2499");
            let answer = call.bytes(&content[..2500]).send().await?;
            check.must(&answer, 202)?;
            let target = with_query(&answer.location()?, &format!("digest={wrong}"));
            let call = http.put(target).header("content-range", "2500-4999");
            let answer = call.bytes(&content[2500..]).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID"]);
            let location = http.session(repository).await?;
            let target = with_query(&location, &format!("digest={wrong}"));
            let answer = http.put(target).stream(&[&content[..100], &content[100..]]).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID"]);
            absent(http, check, repository, &wrong).await?;
            absent(http, check, repository, &right).await
        })
        .await;
    let id = format!("end-6/malformed-digest/{algorithm}");
    suite
        .check(id, "a malformed digest is refused and the session survives", async |http, check| {
            let location = http.session(repository).await?;
            let answer = http.patch(&location).bytes(&content).send().await?;
            let location = answer.location()?;
            for digest in malformed {
                let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
                let answer = http.post(target).bytes(&content).send().await?;
                check.error(&answer, &[400], &["DIGEST_INVALID"]);
                let answer = http.put(with_query(&location, &format!("digest={digest}"))).send().await?;
                check.error(&answer, &[400], &["DIGEST_INVALID"]);
            }
            let answer = http.put(&location).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID"]);
            let answer = http.put(with_query(&location, &format!("digest={right}"))).send().await?;
            check.must(&answer, 201)?;
            pull(http, check, &answer.location()?, &right, &content).await
        })
        .await;
}

async fn deletes(suite: &mut Suite, repository: &str, other: &str, algorithm: Algorithm) {
    let content = noise(&format!("delete {algorithm}"), 2_000);
    let digest = algorithm.digest(&content);
    let id = format!("end-10/delete/{algorithm}");
    suite
        .check(id, "a deleted blob is gone at once, from its repository only", async |http, check| {
            http.push_blob(repository, &content, algorithm).await?;
            http.push_blob(other, &content, algorithm).await?;
            let target = format!("/v2/{repository}/blobs/{digest}");
            let answer = http.delete(&target).send().await?;
            check.status(&answer, &[202]);
            absent(http, check, repository, &digest).await?;
            let answer = http.delete(&target).send().await?;
            check.error(&answer, &[404], &["BLOB_UNKNOWN"]);
            pull(http, check, &format!("/v2/{other}/blobs/{digest}"), &digest, &content).await?;
            let answer = http.delete(format!("/v2/{other}/blobs/{digest}")).send().await?;
            check.status(&answer, &[202]);
            let mount = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={other}");
            let answer = http.post(mount).send().await?;
            check.status(&answer, &[202]);
            http.push_blob(repository, &content, algorithm).await?;
            pull(http, check, &target, &digest, &content).await
        })
        .await;
}
