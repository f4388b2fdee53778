//! Upload sessions: chunks, their order, resuming, cancelling.

use palan_core::Algorithm;

use super::{
    Answer, Check, Http, Stop, Suite,
    blobs::{absent, pull},
    http::{noise, with_query},
};

const SIZE: usize = 6_000;

pub(super) async fn run(suite: &mut Suite) {
    for algorithm in Algorithm::ALL {
        let repository = suite.repository(&format!("uploads-{algorithm}"));
        chunks(suite, &repository, algorithm).await;
        last_chunk(suite, &repository, algorithm).await;
        streamed(suite, &repository, algorithm).await;
        out_of_order(suite, &repository, algorithm).await;
        cut(suite, &repository, algorithm).await;
        large(suite, &repository, algorithm).await;
    }
    let repository = suite.repository("uploads");
    malformed(suite, &repository).await;
    cancel(suite, &repository).await;
    strangers(suite, &repository).await;
}

/// One chunk with its range.
async fn chunk(http: &Http, location: &str, content: &[u8], first: usize) -> Result<Answer, Stop> {
    let range = format!("{first}-{}", first + content.len() - 1);
    http.patch(location).header("content-range", range).bytes(content).send().await
}

/// An accepted chunk: where to go on.
fn accepted(check: &mut Check, answer: &Answer, offset: usize) -> Result<String, Stop> {
    check.must(answer, 202)?;
    check.header(answer, "range", &format!("0-{}", offset - 1));
    answer.location()
}

async fn finish(
    http: &Http,
    check: &mut Check,
    location: &str,
    content: &[u8],
    algorithm: Algorithm,
) -> Result<(), Stop> {
    let digest = algorithm.digest(content);
    let answer = http.put(with_query(location, &format!("digest={digest}"))).send().await?;
    check.must(&answer, 201)?;
    pull(http, check, &answer.location()?, &digest, content).await
}

async fn chunks(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    for count in [1, 3] {
        let content = noise(&format!("{count} chunks {algorithm}"), SIZE);
        let id = format!("end-5/chunks-{count}/{algorithm}");
        suite
            .check(id, "a blob is pushed in chunks", async |http, check| {
                let mut location = http.session(repository).await?;
                for (i, piece) in content.chunks(SIZE / count).enumerate() {
                    let first = i * SIZE / count;
                    let answer = chunk(http, &location, piece, first).await?;
                    location = accepted(check, &answer, first + piece.len())?;
                    let answer = http.get(&location).send().await?;
                    check.status(&answer, &[204]);
                    check.header(&answer, "range", &format!("0-{}", first + piece.len() - 1));
                    location = answer.location()?;
                }
                finish(http, check, &location, &content, algorithm).await
            })
            .await;
    }
}

async fn last_chunk(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    let content = noise(&format!("last chunk {algorithm}"), SIZE);
    let digest = algorithm.digest(&content);
    for ranged in [true, false] {
        let id = format!("end-6/last-chunk{}/{algorithm}", if ranged { "" } else { "-without-range" });
        suite
            .check(id, "PUT may carry the last chunk", async |http, check| {
                let location = http.session(repository).await?;
                let answer = chunk(http, &location, &content[..4_000], 0).await?;
                let location = accepted(check, &answer, 4_000)?;
                let mut call = http.put(with_query(&location, &format!("digest={digest}")));
                if ranged {
                    call = call.header("content-range", format!("4000-{}", SIZE - 1));
                }
                let answer = call.bytes(&content[4_000..]).send().await?;
                check.must(&answer, 201)?;
                pull(http, check, &answer.location()?, &digest, &content).await
            })
            .await;
    }
}

async fn streamed(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    let content = noise(&format!("streamed {algorithm}"), SIZE);
    let id = format!("end-5/streamed/{algorithm}");
    suite
        .check(id, "PATCH without a range appends what comes", async |http, check| {
            let location = http.session(repository).await?;
            let answer = http.patch(&location).stream(&[&content[..1], &content[1..2_000]]).send().await?;
            let location = accepted(check, &answer, 2_000)?;
            let answer = http.patch(&location).stream(&[&content[2_000..]]).send().await?;
            let location = accepted(check, &answer, SIZE)?;
            finish(http, check, &location, &content, algorithm).await
        })
        .await;
    let id = format!("end-5/switched/{algorithm}");
    suite
        .check(id, "the digest at the end may be of any algorithm", async |http, check| {
            for other in Algorithm::ALL {
                let target = format!("/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}");
                let location = http.post(target).send().await?.location()?;
                let content = noise(&format!("{algorithm} to {other}"), SIZE);
                let answer = http.patch(&location).bytes(&content).send().await?;
                let location = accepted(check, &answer, SIZE)?;
                finish(http, check, &location, &content, other).await?;
            }
            Ok(())
        })
        .await;
}

async fn out_of_order(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    let content = noise(&format!("order {algorithm}"), SIZE);
    let digest = algorithm.digest(&content);
    let id = format!("end-5/out-of-order/{algorithm}");
    suite
        .check(id, "a chunk out of order is 416 and the session goes on", async |http, check| {
            let location = http.session(repository).await?;
            let answer = chunk(http, &location, &content[2_000..4_000], 2_000).await?;
            check.error(&answer, &[416], &["BLOB_UPLOAD_INVALID", "SIZE_INVALID", "RANGE_INVALID"]);
            let answer = chunk(http, &location, &content[..2_000], 0).await?;
            let location = accepted(check, &answer, 2_000)?;
            for first in [0, 1_999, 2_001, 4_000] {
                let answer = chunk(http, &location, &content[first..first + 100], first).await?;
                check.status(&answer, &[416]);
                let answer = http.get(&location).send().await?;
                check.status(&answer, &[204]);
                check.header(&answer, "range", "0-1999");
            }
            let last = format!("5000-{}", SIZE - 1);
            let call = http.put(with_query(&location, &format!("digest={digest}")));
            let answer = call.header("content-range", last).bytes(&content[5_000..]).send().await?;
            check.status(&answer, &[416]);
            let answer = http.get(&location).send().await?;
            check.status(&answer, &[204]);
            check.header(&answer, "range", "0-1999");
            let answer = chunk(http, &answer.location()?, &content[2_000..], 2_000).await?;
            let location = accepted(check, &answer, SIZE)?;
            finish(http, check, &location, &content, algorithm).await
        })
        .await;
}

/// A client that dies in the middle finds out how far it came, and goes on from there.
async fn cut(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    let content = noise(&format!("cut {algorithm}"), SIZE);
    let id = format!("end-13/resume-after-cut/{algorithm}");
    suite
        .check(id, "an upload goes on after a cut connection", async |http, check| {
            let location = http.session(repository).await?;
            let path = location.trim_start_matches("http://").trim_start_matches(http.host()).to_owned();
            // With its range: should it be read after what follows, it is out of order and not appended.
            let lengths = format!("Content-Range: 0-{}\r\nContent-Length: {SIZE}", SIZE - 1);
            let text = format!("PATCH {path} HTTP/1.1\r\nHost: {}\r\n{lengths}\r\n\r\n", http.host());
            let mut text = text.into_bytes();
            text.extend_from_slice(&content[..2_500]);
            http.raw_cut(&text).await?;
            // The server may still be reading what was sent: then the offset moves once more.
            for _ in 0..100 {
                let status = http.get(&location).send().await?;
                check.must(&status, 204)?;
                let offset = offset(&status)?;
                check.that(offset <= 2_500, || format!("{offset} bytes held, 2500 were sent"));
                let answer = chunk(http, &location, &content[offset..], offset).await?;
                if answer.status == 416 {
                    continue;
                }
                let location = accepted(check, &answer, SIZE)?;
                return finish(http, check, &location, &content, algorithm).await;
            }
            Err("the offset never settled".to_owned())
        })
        .await;
}

/// How many bytes a status says are held; `0-0` is also how none is written, and one byte was never sent here.
fn offset(status: &Answer) -> Result<usize, Stop> {
    let last = status.header("range").and_then(|range| range.strip_prefix("0-"));
    match last.and_then(|last| last.parse::<usize>().ok()) {
        Some(0) => Ok(0),
        Some(last) => Ok(last + 1),
        None => Err(format!("no Range: {}", status.summary())),
    }
}

async fn large(suite: &mut Suite, repository: &str, algorithm: Algorithm) {
    const LARGE: usize = 5 * 1024 * 1024 + 17;
    let content = noise(&format!("large {algorithm}"), LARGE);
    let digest = algorithm.digest(&content);
    let id = format!("end-5/large/{algorithm}");
    suite
        .check(id, "blobs larger than any buffer", async |http, check| {
            let mut location = http.session(repository).await?;
            let mut first = 0;
            for piece in content.chunks(2 * 1024 * 1024) {
                let answer = chunk(http, &location, piece, first).await?;
                first += piece.len();
                location = accepted(check, &answer, first)?;
            }
            finish(http, check, &location, &content, algorithm).await?;
            let target = format!("/v2/{repository}/blobs/{digest}");
            let range = format!("bytes=1000000-{}", LARGE - 2);
            let answer = http.get(target).header("range", range).send().await?;
            check.status(&answer, &[206]);
            check.body(&answer, &content[1_000_000..LARGE - 1]);
            Ok(())
        })
        .await;
}

async fn malformed(suite: &mut Suite, repository: &str) {
    let content = noise("malformed", 100);
    suite
        .check("end-5/malformed-range", "a chunk that contradicts itself is refused", async |http, check| {
            let location = http.session(repository).await?;
            for range in ["99-0", "0", "a-b", "0-", "-99", "0-98", "0-100"] {
                let answer =
                    http.patch(&location).header("content-range", range).bytes(&content).send().await?;
                check.status(&answer, &[400, 416]);
            }
            for (range, pieces) in [("0-49", 100), ("0-149", 100)] {
                let call = http.patch(&location).header("content-range", range);
                let answer = call.stream(&[&content[..10], &content[10..pieces]]).send().await?;
                check.status(&answer, &[400, 416]);
            }
            let answer = chunk(http, &location, &content, 0).await?;
            let location = accepted(check, &answer, content.len())?;
            finish(http, check, &location, &content, Algorithm::Sha256).await
        })
        .await;
    suite
        .check("end-4c/unknown-hint", "an unknown algorithm is refused", async |http, check| {
            let target = format!("/v2/{repository}/blobs/uploads/?digest-algorithm=md5");
            let answer = http.post(target).send().await?;
            check.error(&answer, &[400], &["DIGEST_INVALID", "UNSUPPORTED"]);
            Ok(())
        })
        .await;
    suite
        .check("end-13/empty", "a session that received nothing has a status", async |http, check| {
            let location = http.session(repository).await?;
            let answer = http.get(&location).send().await?;
            check.must(&answer, 204)?;
            let range = answer.header("range").unwrap_or_default().to_owned();
            check.that(range.starts_with("0-"), || format!("Range is \"{range}\""));
            check.that(answer.header("location").is_some(), || "no Location".to_owned());
            Ok(())
        })
        .await;
}

async fn cancel(suite: &mut Suite, repository: &str) {
    let content = noise("cancel", 1_000);
    suite
        .check("end-14/cancel", "a cancelled session is gone with what it had", async |http, check| {
            let location = http.session(repository).await?;
            let answer = chunk(http, &location, &content, 0).await?;
            let location = accepted(check, &answer, content.len())?;
            let answer = http.delete(&location).send().await?;
            check.status(&answer, &[204]);
            let digest = Algorithm::Sha256.digest(&content);
            let gone = [
                http.get(&location),
                http.delete(&location),
                http.patch(&location).bytes(&content),
                http.put(with_query(&location, &format!("digest={digest}"))),
            ];
            for call in gone {
                let answer = call.send().await?;
                check.error(&answer, &[404], &["BLOB_UPLOAD_UNKNOWN"]);
            }
            absent(http, check, repository, &digest).await
        })
        .await;
}

async fn strangers(suite: &mut Suite, repository: &str) {
    let other = format!("{repository}/other");
    suite
        .check("end-13/bound", "a session belongs to its repository", async |http, check| {
            let location = http.session(repository).await?;
            let foreign = location.replacen(repository, &other, 1);
            let digest = Algorithm::Sha256.digest(b"x");
            let refused = [
                http.get(&foreign),
                http.patch(&foreign).bytes(b"x"),
                http.put(with_query(&foreign, &format!("digest={digest}"))).bytes(b"x"),
                http.delete(&foreign),
            ];
            for call in refused {
                let answer = call.send().await?;
                check.error(&answer, &[404], &["BLOB_UPLOAD_UNKNOWN", "NAME_UNKNOWN"]);
            }
            let answer = http.get(&location).send().await?;
            check.status(&answer, &[204]);
            Ok(())
        })
        .await;
    suite
        .check("end-13/unknown", "an unknown session is unknown", async |http, check| {
            let ids = ["00000000-0000-4000-8000-000000000000", "x", "00000000000040008000000000000000"];
            for id in ids {
                let answer = http.get(format!("/v2/{repository}/blobs/uploads/{id}")).send().await?;
                check.error(&answer, &[404], &["BLOB_UPLOAD_UNKNOWN"]);
            }
            Ok(())
        })
        .await;
    suite
        .check("end-4a/unique", "sessions do not share bytes", async |http, check| {
            let (one, two) = (http.session(repository).await?, http.session(repository).await?);
            check.that(one != two, || format!("both sessions are {one}"));
            let (a, b) = (noise("one", 500), noise("two", 500));
            let answer = chunk(http, &one, &a[..250], 0).await?;
            let one = accepted(check, &answer, 250)?;
            let answer = chunk(http, &two, &b, 0).await?;
            let two = accepted(check, &answer, 500)?;
            let answer = chunk(http, &one, &a[250..], 250).await?;
            let one = accepted(check, &answer, 500)?;
            finish(http, check, &one, &a, Algorithm::Sha256).await?;
            finish(http, check, &two, &b, Algorithm::Sha256).await
        })
        .await;
}
