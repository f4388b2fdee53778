//! Requests that no honest client makes: paths that want out, lengths that lie.

use palan_core::Digest;

use super::{Check, Http, Stop, Suite};

pub(super) async fn run(suite: &mut Suite) {
    let repository = suite.repository("abuse");
    paths(suite, &repository).await;
    names(suite).await;
    lengths(suite, &repository).await;
    heads(suite).await;
}

/// The statuses of all answers in what a connection sent.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

async fn raw(http: &Http, method: &str, target: &str, rest: &str) -> Result<Vec<u16>, Stop> {
    let text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{rest}", http.host());
    Ok(statuses(&http.raw(text.as_bytes()).await?))
}

/// A request that is refused by status, or by closing the connection without a word.
fn refused(check: &mut Check, what: &str, statuses: &[u16]) {
    let fine = statuses.len() <= 1 && statuses.iter().all(|status| (400..500).contains(status));
    check.that(fine, || format!("{what:?} was answered {statuses:?}"));
}

async fn paths(suite: &mut Suite, repository: &str) {
    let digest = Digest::sha256(b"x");
    let targets = [
        "/v2/../../etc/passwd".to_owned(),
        "/v2/../v2/".to_owned(),
        "/v2//".to_owned(),
        "/../v2/".to_owned(),
        format!("/v2/../{repository}/tags/list"),
        format!("/v2/{repository}/../x/tags/list"),
        format!("/v2/{repository}//tags/list"),
        format!("/v2//{repository}/tags/list"),
        format!("/v2/{repository}/./tags/list"),
        format!("/v2/{repository}%2f..%2f..%2fetc/tags/list"),
        format!("/v2/{repository}%2Fx/tags/list"),
        format!("/v2/{repository}/%2e%2e/x/tags/list"),
        format!("/v2/{repository}%00/tags/list"),
        format!("/v2/{repository}%5c..%5cx/tags/list"),
        format!("/v2/{repository}\\..\\x/tags/list"),
        format!("/v2/{repository}%252f..%252fx/tags/list"),
        format!("/v2/{repository}%/tags/list"),
        format!("/v2/{repository}%zz/tags/list"),
        format!("/v2/{repository}%ff%fe/tags/list"),
        format!("/v2/{repository}%0d%0aX-Injected:%20yes/tags/list"),
        format!("/v2/{repository}/manifests/../../etc/passwd"),
        format!("/v2/{repository}/manifests/..%2f..%2fetc%2fpasswd"),
        format!("/v2/{repository}/manifests/"),
        format!("/v2/{repository}/manifests/.."),
        format!("/v2/{repository}/blobs/"),
        format!("/v2/{repository}/blobs/../../etc/passwd"),
        format!("/v2/{repository}/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd"),
        format!("/v2/{repository}/blobs/{digest}/.."),
        format!("/v2/{repository}/blobs/{digest}%00"),
        format!("/v2/{repository}/blobs/uploads/../../../etc/passwd"),
        format!("/v2/{repository}/blobs/uploads/..%2f..%2fetc%2fpasswd"),
        format!("/v2/{repository}/referrers/../{digest}"),
        "/v2/_uploads/tags/list".to_owned(),
        "/v2/a/_tags/tags/list".to_owned(),
        "/v1/".to_owned(),
        "/".to_owned(),
        "/v2x/".to_owned(),
        "/etc/passwd".to_owned(),
    ];
    suite
        .check("abuse/paths", "no path leads out", async |http, check| {
            for target in &targets {
                for method in ["GET", "PUT", "DELETE"] {
                    let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
                    let found = raw(http, method, target, rest).await?;
                    refused(check, &format!("{method} {target}"), &found);
                }
            }
            Ok(())
        })
        .await;
    suite
        .check("abuse/escapes", "an escape that hides nothing is understood", async |http, check| {
            let digest = http.push_blob(repository, b"x", palan_core::Algorithm::Sha256).await?;
            let escaped = digest.to_string().replace(':', "%3A");
            let answer = http.get(format!("/v2/{repository}/blobs/{escaped}")).send().await?;
            check.status(&answer, &[200]);
            check.body(&answer, b"x");
            Ok(())
        })
        .await;
}

async fn names(suite: &mut Suite) {
    let long = "a".repeat(300);
    let names = [
        "A", "a/B", "a..b", ".a", "a.", "-a", "a-", "_a", "a_", "a___b", "a._b", "a/", "a b", "a+b", "a@b",
        "a:b", "a*", "~a", "%C3%A4", "a,b", "a;b", "a'b", "a\"b", &long,
    ];
    suite
        .check("end-4a/name", "a name that is none is refused", async |http, check| {
            for name in names {
                let target = format!("/v2/{name}/blobs/uploads/").replace(' ', "%20").replace('"', "%22");
                let answer = http.post(target).send().await?;
                check.error(&answer, &[400, 404], &["NAME_INVALID", "NAME_UNKNOWN"]);
            }
            Ok(())
        })
        .await;
    let base = suite.repository("names");
    suite
        .check("end-4a/long-name", "deep names and all separators are allowed", async |http, check| {
            for name in ["a.b", "a_b", "a__b", "a-b", "a---b", "0", "a/b/c/d/e/f/g/h/i/j/k/l/m", "a0.1-2_3"] {
                let answer = http.post(format!("/v2/{base}/{name}/blobs/uploads/")).send().await?;
                check.status(&answer, &[202]);
            }
            Ok(())
        })
        .await;
}

/// Two readers of one stream must not see different requests in it.
async fn lengths(suite: &mut Suite, repository: &str) {
    let target = format!("/v2/{repository}/blobs/uploads/");
    let smuggled = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let close = "Connection: close\r\n";
    let cases = [
        format!("Content-Length: 3\r\nContent-Length: 4\r\n{close}\r\nabcd"),
        format!("Content-Length: +3\r\n{close}\r\nabc"),
        format!("Content-Length: -1\r\n{close}\r\n"),
        format!("Content-Length: 0x3\r\n{close}\r\nabc"),
        format!("Content-Length: 3, 4\r\n{close}\r\nabcd"),
        format!("Content-Length: 99999999999999999999999\r\n{close}\r\n"),
        format!("Transfer-Encoding: identity\r\n{close}\r\nabc"),
        format!("Transfer-Encoding: chunked, identity\r\n{close}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: xchunked\r\n{close}\r\n0\r\n\r\n"),
        format!("Content-Length : 3\r\n{close}\r\nabc"),
        format!("Bad Header: x\r\n{close}\r\n"),
        format!("X: a\0b\r\n{close}\r\n"),
    ];
    suite
        .check("abuse/lengths", "a length that is none is refused", async |http, check| {
            for case in &cases {
                let found = raw(http, "POST", &target, case).await?;
                refused(check, case, &found);
            }
            Ok(())
        })
        .await;
    let target = target.clone();
    suite
        .check("abuse/smuggling", "two lengths are never two requests", async |http, check| {
            let both = [
                format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
                format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"),
            ];
            for case in &both {
                let found = raw(http, "POST", &target, case).await?;
                // Refusing is best; taking the chunks and closing is what RFC 9112 §6.3 also allows.
                check.that(found.len() <= 1, || format!("{case:?} was answered {found:?}"));
            }
            Ok(())
        })
        .await;
    let digest = Digest::sha256(b"abc");
    let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    suite
        .check("abuse/chunks", "a chunk that lies is not a blob", async |http, check| {
            let bodies = [
                "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
                "zz\r\nabc\r\n0\r\n\r\n",
                "-3\r\nabc\r\n0\r\n\r\n",
                "3\r\nabcdef\r\n0\r\n\r\n",
            ];
            for body in bodies {
                let rest = format!("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}");
                let found = raw(http, "POST", &target, &rest).await?;
                refused(check, body, &found);
                let answer = http.head(format!("/v2/{repository}/blobs/{digest}")).send().await?;
                check.status(&answer, &[404]);
            }
            Ok(())
        })
        .await;
}

async fn heads(suite: &mut Suite) {
    suite
        .check("abuse/headers", "headers have an end", async |http, check| {
            let many: String = (0..5_000).map(|i| format!("X-{i}: y\r\n")).collect();
            let long = format!("X: {}\r\n", "y".repeat(2_000_000));
            for headers in [many, long] {
                let found = raw(http, "GET", "/v2/", &format!("{headers}Connection: close\r\n\r\n")).await?;
                refused(check, &headers[..20], &found);
            }
            let target = format!("/v2/{}", "a/".repeat(40_000));
            let found = raw(http, "GET", &target, "Connection: close\r\n\r\n").await?;
            refused(check, "a long path", &found);
            Ok(())
        })
        .await;
    suite
        .check("abuse/garbage", "what is not HTTP is not answered with success", async |http, check| {
            for text in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET /v2/\r\n\r\n", "GET /v2/ HTTP/9.9\r\n\r\n"] {
                let found = statuses(&http.raw(text.as_bytes()).await?);
                refused(check, text, &found);
            }
            let answer = http.get("/v2/").send().await?;
            check.status(&answer, &[200]);
            Ok(())
        })
        .await;
}
