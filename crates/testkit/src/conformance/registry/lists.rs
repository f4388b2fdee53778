//! Lists and their pages: tags, repositories, referrers.

use palan_core::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use super::{
    Check, Http, Stop, Suite,
    conditions::images,
    manifests::{absent, listed, pull, push},
    sets::{Maker, Node},
};

pub(super) async fn run(suite: &mut Suite) {
    empty(suite).await;
    tags(suite).await;
    names(suite).await;
    catalog(suite).await;
    many_referrers(suite).await;
    kinds_of_referrers(suite).await;
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Follows a list from page to page; `key` is where the entries are.
async fn walk(http: &Http, check: &mut Check, start: &str, key: &str) -> Result<Vec<Vec<String>>, Stop> {
    let (mut pages, mut next) = (Vec::new(), Some(start.to_owned()));
    while let Some(target) = next {
        let answer = http.get(&target).send().await?;
        check.must(&answer, 200)?;
        pages.push(strings(&answer.json()?[key]));
        next = answer.next();
        if pages.len() > 10_000 {
            return Err(format!("{start} never ends"));
        }
    }
    Ok(pages)
}

async fn empty(suite: &mut Suite) {
    let repository = suite.repository("nothing-here");
    suite
        .check("end-8a/unknown", "an unknown repository has no tags", async |http, check| {
            let answer = http.get(format!("/v2/{repository}/tags/list")).send().await?;
            check.error(&answer, &[404], &["NAME_UNKNOWN"]);
            Ok(())
        })
        .await;
    suite
        .check("end-12a/unknown", "nothing refers to what is not there", async |http, check| {
            for algorithm in Algorithm::ALL {
                let digest = algorithm.digest(b"never pushed");
                let answer = http.get(format!("/v2/{repository}/referrers/{digest}")).send().await?;
                listed(check, &answer, &json!([]))?;
            }
            for digest in ["sha256:bad", "latest", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
                let answer = http.get(format!("/v2/{repository}/referrers/{digest}")).send().await?;
                check.error(&answer, &[400], &["DIGEST_INVALID"]);
            }
            Ok(())
        })
        .await;
    let blobs_only = suite.repository("blobs-only");
    suite
        .check("end-8a/no-tags", "a repository without tags has an empty list", async |http, check| {
            http.push_blob(&blobs_only, b"x", Algorithm::Sha256).await?;
            let answer = http.get(format!("/v2/{blobs_only}/tags/list")).send().await?;
            check.must(&answer, 200)?;
            check.equal("the list", answer.json()?, json!({"name": blobs_only, "tags": []}));
            Ok(())
        })
        .await;
}

async fn tags(suite: &mut Suite) {
    let repository = suite.repository("tags");
    let list = format!("/v2/{repository}/tags/list");
    // In byte order; some are prefixes of others.
    let all = ["0", "1", "1-a", "1.0", "1.0.0", "10", "A", "B", "_", "a", "a-b", "a.b", "a0", "aa", "b"];
    suite
        .check("end-8a/order", "tags are listed in order", async |http, check| {
            let node = images(http, &repository, 1).await?.remove(0);
            for tag in all.iter().rev() {
                push(http, check, &repository, tag, &node).await?;
            }
            let answer = http.get(&list).send().await?;
            check.must(&answer, 200)?;
            check.equal("tags", strings(&answer.json()?["tags"]), all);
            check.equal("Link", answer.header("link"), None::<&str>);
            Ok(())
        })
        .await;
    suite
        .check("end-8b/pages", "pages of any size make the whole list", async |http, check| {
            for n in [1, 2, 4, 7, all.len() - 1, all.len(), all.len() + 1, 1000] {
                let pages = walk(http, check, &format!("{list}?n={n}"), "tags").await?;
                check.equal("all pages", pages.concat(), all);
                check.equal("number of pages", pages.len(), all.len().div_ceil(n));
                let full = pages[..pages.len() - 1].iter().all(|page| page.len() == n);
                check.that(full, || format!("pages of {n}: {pages:?}"));
            }
            Ok(())
        })
        .await;
    suite
        .check("end-8b/last", "last is where a page starts, there or not", async |http, check| {
            for (last, expected) in [("1.0", 4..), ("1.1", 5..), ("b", 15..), ("zzz", 15..), ("!", 0..)] {
                let answer = http.get(format!("{list}?last={last}")).send().await?;
                check.must(&answer, 200)?;
                let expected: &[&str] = &all[expected];
                check.equal(&format!("tags after {last}"), strings(&answer.json()?["tags"]), expected);
            }
            let answer = http.get(format!("{list}?n=2&last=1.0")).send().await?;
            check.equal("a page after 1.0", strings(&answer.json()?["tags"]), ["1.0.0", "10"]);
            check.that(answer.next().is_some(), || "no Link to the next page".to_owned());
            Ok(())
        })
        .await;
    suite
        .check("end-8b/n", "n may be none, and anything else is refused", async |http, check| {
            let answer = http.get(format!("{list}?n=0")).send().await?;
            check.must(&answer, 200)?;
            check.equal("no tags", answer.json()?["tags"].clone(), json!([]));
            check.equal("Link", answer.header("link"), None::<&str>);
            for n in ["-1", "x", "1.5", ""] {
                let answer = http.get(format!("{list}?n={n}")).send().await?;
                check.status(&answer, &[400]);
            }
            // CVE-2023-2253: nobody allocates what a client merely names.
            for n in ["2147483647", "18446744073709551615", "99999999999999999999999999999"] {
                let answer = http.get(format!("{list}?n={n}")).send().await?;
                check.must(&answer, 200)?;
                check.equal("tags", strings(&answer.json()?["tags"]), all);
            }
            Ok(())
        })
        .await;
}

/// Repositories whose names start with each other's, or hold words of the protocol, are apart.
async fn names(suite: &mut Suite) {
    let base = suite.repository("names-apart");
    let names = [
        "a",
        "a-b",
        "a.b",
        "a/b",
        "a/b/c",
        "a0",
        "a__b",
        "aa",
        "blobs",
        "blobs/uploads",
        "manifests",
        "manifests/tags",
        "referrers/blobs",
        "tags",
        "tags/list",
        "v2",
    ];
    suite
        .check("end-7/names", "repositories are apart, whatever their names", async |http, check| {
            for name in names {
                let repository = format!("{base}/{name}");
                let node = images(http, &repository, 1).await?.remove(0);
                push(http, check, &repository, "latest", &node).await?;
            }
            for name in names {
                let repository = format!("{base}/{name}");
                let list = http.get(format!("/v2/{repository}/tags/list")).send().await?;
                check.equal("the list", list.json()?, json!({"name": repository, "tags": ["latest"]}));
                let node = images(http, &repository, 1).await?.remove(0);
                pull(http, check, &format!("/v2/{repository}/manifests/latest"), &node).await?;
            }
            absent(http, check, &format!("/v2/{base}/manifests/latest")).await
        })
        .await;
}

async fn catalog(suite: &mut Suite) {
    let base = suite.repository("names-apart");
    suite
        .check("catalog/pages", "the catalog lists every repository, page by page", async |http, check| {
            let answer = http.get("/v2/_catalog?n=100000").send().await?;
            check.must(&answer, 200)?;
            let all = walk(http, check, "/v2/_catalog", "repositories").await?.concat();
            check.that(all.is_sorted(), || format!("not in order: {all:?}"));
            let ours = all.iter().filter(|name| name.starts_with(&format!("{base}/"))).count();
            check.equal("repositories of names-apart", ours, 16);
            for n in [1, 3, 1000] {
                let pages = walk(http, check, &format!("/v2/_catalog?n={n}"), "repositories").await?;
                check.equal(&format!("pages of {n}"), pages.concat(), all.as_slice());
                check.that(pages.iter().all(|p| p.len() <= n), || format!("more than {n}: {pages:?}"));
            }
            let last = format!("/v2/_catalog?n=1&last={base}/a");
            let answer = http.get(last).send().await?;
            check.equal("after a", strings(&answer.json()?["repositories"]), [format!("{base}/a-b")]);
            let answer = http.get("/v2/_catalog?n=0").send().await?;
            check.equal("none", answer.json()?["repositories"].clone(), json!([]));
            for n in ["-1", "x"] {
                check.status(&http.get(format!("/v2/_catalog?n={n}")).send().await?, &[400]);
            }
            for n in ["2147483647", "99999999999999999999999999999"] {
                check.status(&http.get(format!("/v2/_catalog?n={n}")).send().await?, &[200]);
            }
            Ok(())
        })
        .await;
}

/// An artifact about `subject`.
fn referrer(maker: &Maker, subject: &Digest, artifact_type: &str, note: &str) -> (Vec<Vec<u8>>, Node) {
    let (blobs, mut json) = maker.artifact("referrer");
    json["artifactType"] = json!(artifact_type);
    json["subject"] = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 7});
    json["annotations"] = json!({"note": note});
    (blobs, Node::new(&MediaType::OCI_MANIFEST, json.to_string().into(), Algorithm::Sha256))
}

async fn many_referrers(suite: &mut Suite) {
    const COUNT: usize = 26;
    let repository = suite.repository("many-referrers");
    suite
        .check("end-12a/pages", "a list of more than 4 MiB has pages", async |http, check| {
            let maker = Maker { seed: repository.clone(), algorithm: Algorithm::Sha256 };
            let subject = Digest::sha256(b"a subject that is not there");
            let mut expected = Vec::new();
            for i in 0..COUNT {
                let note = format!("{i} {}", "n".repeat(200_000));
                let (blobs, node) = referrer(&maker, &subject, "application/x", &note);
                for blob in blobs.iter().filter(|_| i == 0) {
                    http.push_blob(&repository, blob, Algorithm::Sha256).await?;
                }
                let digest = node.digest.to_string();
                let answer = http.push_manifest(&repository, &digest, &node.media_type, &node.bytes).await?;
                check.status(&answer, &[201]);
                expected.push(digest);
            }
            expected.sort();
            for filter in ["", "?artifactType=application/x"] {
                let start = format!("/v2/{repository}/referrers/{subject}{filter}");
                let (mut found, mut next, mut pages) = (Vec::new(), Some(start), 0);
                while let Some(target) = next {
                    let answer = http.get(&target).send().await?;
                    check.must(&answer, 200)?;
                    check.that(answer.body.len() <= 4 * 1024 * 1024, || {
                        format!("a page of {} bytes", answer.body.len())
                    });
                    let list = answer.json()?["manifests"].clone();
                    found.extend(list.as_array().into_iter().flatten().map(|d| d["digest"].clone()));
                    next = answer.next();
                    pages += 1;
                    check.that(pages <= COUNT, || "the pages never end".to_owned());
                }
                check.that(pages > 1, || "everything on one page".to_owned());
                let mut found: Vec<String> =
                    found.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                found.sort();
                check.equal("referrers", &found, &expected);
            }
            Ok(())
        })
        .await;
}

async fn kinds_of_referrers(suite: &mut Suite) {
    let repository = suite.repository("kinds-of-referrers");
    suite
        .check("end-12b/filter", "referrers are filtered by type", async |http, check| {
            let maker = Maker { seed: repository.clone(), algorithm: Algorithm::Sha256 };
            let (one, two) = (Digest::sha256(b"subject one"), Digest::sha256(b"subject two"));
            let kinds = ["application/vnd.example.a+json", "application/vnd.example.b", "a"];
            for (i, kind) in kinds.iter().enumerate() {
                for subject in [&one, &two] {
                    let (blobs, node) = referrer(&maker, subject, kind, &i.to_string());
                    for blob in &blobs {
                        http.push_blob(&repository, blob, Algorithm::Sha256).await?;
                    }
                    push(http, check, &repository, &node.digest.to_string(), &node).await?;
                }
            }
            for subject in [&one, &two] {
                let target = format!("/v2/{repository}/referrers/{subject}");
                let answer = http.get(&target).send().await?;
                let all = answer.json()?["manifests"].as_array().map_or(0, Vec::len);
                check.equal("all referrers", all, kinds.len());
                for kind in kinds {
                    for written in [kind.to_owned(), kind.replace('/', "%2F").replace('+', "%2B")] {
                        let answer = http.get(format!("{target}?artifactType={written}")).send().await?;
                        check.must(&answer, 200)?;
                        check.header(&answer, "oci-filters-applied", "artifactType");
                        let list = answer.json()?["manifests"].clone();
                        check.equal("filtered", list.as_array().map_or(0, Vec::len), 1);
                        check.equal("type", list[0]["artifactType"].clone(), json!(kind));
                    }
                }
            }
            Ok(())
        })
        .await;
}
