use http::Method;
use proptest::prelude::*;

use super::*;
use crate::query::MAX_PAGE;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ID: &str = "0b1c2d3e-4f50-4a6b-8c7d-0123456789ab";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn digest() -> Digest {
    DIGEST.parse().unwrap()
}

fn tag(text: &str) -> Selector {
    Selector::Tag(text.to_owned())
}

fn page(limit: usize, last: Option<&str>) -> Page {
    Page { limit, last: last.map(str::to_owned) }
}

/// A method with a path and query, `DIGEST` and `ID` standing for those above.
fn routed(request: &str) -> Result<Operation, Problem> {
    let request = request.replace("DIGEST", DIGEST).replace("ID", ID);
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    route(&Method::from_bytes(method.as_bytes()).unwrap(), path, query)
}

#[test]
fn every_endpoint_has_its_operation() {
    use Operation::{
        AppendUpload, CancelUpload, Catalog, DeleteBlob, DeleteManifest, FinishUpload, GetBlob, GetManifest,
        Ping, PutManifest, Referrers, StartUpload, Tags, UploadStatus,
    };
    let a = || name("a/b");
    let d = digest();
    let by_digest = || Selector::Digest(d);
    let id = || ID.to_owned();
    let session = |algorithm| StartUpload(a(), Start::Session(algorithm));
    let put =
        |selector, tags: &[&str]| PutManifest(a(), selector, tags.iter().map(|t| (*t).to_owned()).collect());
    let kind = |text: &str| Some(text.to_owned());
    let table = [
        ("GET /v2/", Ping),
        ("HEAD /v2", Ping),
        ("GET /v2/_catalog", Catalog(page(MAX_PAGE, None))),
        ("GET /v2/_catalog?n=5&last=x/y", Catalog(page(5, Some("x/y")))),
        ("GET /v2/a/b/tags/list", Tags(a(), page(MAX_PAGE, None))),
        ("HEAD /v2/a/b/tags/list?n=0", Tags(a(), page(0, None))),
        ("GET /v2/a/b/manifests/v1", GetManifest(a(), tag("v1"))),
        ("HEAD /v2/a/b/manifests/DIGEST", GetManifest(a(), by_digest())),
        (
            "GET /v2/a/b/manifests/sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            GetManifest(a(), by_digest()),
        ),
        ("GET /v2/%61/b/manifests/v1?ns=docker.io", GetManifest(a(), tag("v1"))),
        ("PUT /v2/a/b/manifests/v1", put(tag("v1"), &[])),
        ("PUT /v2/a/b/manifests/DIGEST?tag=x&tag=y", put(by_digest(), &["x", "y"])),
        ("DELETE /v2/a/b/manifests/v1", DeleteManifest(a(), tag("v1"))),
        ("DELETE /v2/a/b/manifests/DIGEST", DeleteManifest(a(), by_digest())),
        ("GET /v2/a/b/blobs/DIGEST", GetBlob(a(), d)),
        ("HEAD /v2/a/b/blobs/DIGEST", GetBlob(a(), d)),
        ("DELETE /v2/a/b/blobs/DIGEST", DeleteBlob(a(), d)),
        ("POST /v2/a/b/blobs/uploads/", session(Algorithm::Sha256)),
        ("POST /v2/a/b/blobs/uploads", session(Algorithm::Sha256)),
        ("POST /v2/a/b/blobs/uploads/?digest-algorithm=sha512", session(Algorithm::Sha512)),
        ("POST /v2/a/b/blobs/uploads/?digest=DIGEST", StartUpload(a(), Start::Monolithic(d))),
        ("POST /v2/a/b/blobs/uploads/?mount=DIGEST", StartUpload(a(), Start::Mount(d, None))),
        ("POST /v2/a/b/blobs/uploads/?mount=DIGEST&from=", StartUpload(a(), Start::Mount(d, None))),
        (
            "POST /v2/a/b/blobs/uploads/?mount=DIGEST&from=c%2Fd",
            StartUpload(a(), Start::Mount(d, Some(name("c/d")))),
        ),
        ("POST /v2/a/b/blobs/uploads/?mount=DIGEST&from=../x", session(Algorithm::Sha256)),
        ("GET /v2/a/b/blobs/uploads/ID", UploadStatus(a(), id())),
        ("PATCH /v2/a/b/blobs/uploads/ID", AppendUpload(a(), id())),
        ("PUT /v2/a/b/blobs/uploads/ID?digest=DIGEST", FinishUpload(a(), id(), d)),
        (
            "PUT /v2/a/b/blobs/uploads/ID?x=1&digest=sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            FinishUpload(a(), id(), d),
        ),
        ("DELETE /v2/a/b/blobs/uploads/ID", CancelUpload(a(), id())),
        ("GET /v2/a/b/referrers/DIGEST", Referrers(a(), d, None, None)),
        ("GET /v2/a/b/referrers/DIGEST?artifactType=", Referrers(a(), d, None, None)),
        ("GET /v2/a/b/referrers/DIGEST?artifactType=x/y+json", Referrers(a(), d, kind("x/y+json"), None)),
        (
            "GET /v2/a/b/referrers/DIGEST?artifactType=x%2Fy%2Bjson&last=DIGEST",
            Referrers(a(), d, kind("x/y+json"), Some(d)),
        ),
        // Names made of the protocol's words: the end of the path decides.
        ("GET /v2/blobs/uploads/manifests/v1", GetManifest(name("blobs/uploads"), tag("v1"))),
        ("GET /v2/manifests/tags/list", Tags(name("manifests"), page(MAX_PAGE, None))),
        ("GET /v2/tags/list/tags/list", Tags(name("tags/list"), page(MAX_PAGE, None))),
        ("GET /v2/x/blobs/manifests/uploads", GetManifest(name("x/blobs"), tag("uploads"))),
        (
            "POST /v2/blobs/uploads/blobs/uploads/",
            StartUpload(name("blobs/uploads"), Start::Session(Algorithm::Sha256)),
        ),
        ("GET /v2/v2/referrers/referrers/DIGEST", Referrers(name("v2/referrers"), d, None, None)),
    ];
    for (request, expected) in table {
        assert_eq!(routed(request).map_err(|p| format!("{p:?}")), Ok(expected), "{request}");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let many = format!("PUT /v2/a/manifests/DIGEST?{}", vec!["tag=x"; 101].join("&"));
    let long = format!("GET /v2/{}/tags/list", "a".repeat(300));
    let table = [
        ("GET /", 404, Code::Unsupported),
        ("GET /v2x", 404, Code::Unsupported),
        ("GET /v1/", 404, Code::Unsupported),
        ("GET /v2/a", 404, Code::Unsupported),
        ("GET /v2/a/manifests", 404, Code::Unsupported),
        ("GET /v2/a/tags", 404, Code::Unsupported),
        ("GET /v2/manifests/v1", 404, Code::Unsupported),
        ("GET /v2/tags/list", 404, Code::Unsupported),
        ("GET /v2/_catalog/", 404, Code::Unsupported),
        ("PUT /v2/", 405, Code::Unsupported),
        ("DELETE /v2/_catalog", 405, Code::Unsupported),
        ("POST /v2/a/manifests/v1", 405, Code::Unsupported),
        ("GET /v2/a/blobs/uploads/", 405, Code::Unsupported),
        ("PATCH /v2/a/blobs/DIGEST", 405, Code::Unsupported),
        ("OPTIONS /v2/", 405, Code::Unsupported),
        ("BREW /v2/a/manifests/v1", 405, Code::Unsupported),
        ("GET /v2/A/tags/list", 400, Code::NameInvalid),
        ("GET /v2//tags/list", 400, Code::NameInvalid),
        ("GET /v2/a//b/tags/list", 400, Code::NameInvalid),
        ("GET /v2/../a/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a/../b/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%2fb/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%2Fb/tags/list", 400, Code::NameInvalid),
        ("GET /v2/%2e%2e/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%00/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%5cb/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a\\b/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%252fb/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%ff/tags/list", 400, Code::NameInvalid),
        ("GET /v2/a%/tags/list", 400, Code::NameInvalid),
        ("GET /v2/_blobs/tags/list", 400, Code::NameInvalid),
        (&long, 400, Code::NameInvalid),
        ("GET /v2/a/manifests/.v1", 400, Code::ManifestInvalid),
        ("GET /v2/a/manifests/", 400, Code::ManifestInvalid),
        ("GET /v2/a/manifests/sha256:x", 400, Code::DigestInvalid),
        ("PUT /v2/a/manifests/v1?tag=-x", 400, Code::ManifestInvalid),
        (&many, 414, Code::Unsupported),
        ("GET /v2/a/blobs/latest", 400, Code::DigestInvalid),
        ("GET /v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400, Code::DigestInvalid),
        ("POST /v2/a/blobs/uploads/?digest=x", 400, Code::DigestInvalid),
        ("POST /v2/a/blobs/uploads/?mount=x&from=b", 400, Code::DigestInvalid),
        ("POST /v2/a/blobs/uploads/?digest-algorithm=md5", 400, Code::DigestInvalid),
        ("PUT /v2/a/blobs/uploads/ID", 400, Code::DigestInvalid),
        ("PUT /v2/a/blobs/uploads/ID?digest=x", 400, Code::DigestInvalid),
        ("GET /v2/a/blobs/uploads/x", 404, Code::BlobUploadUnknown),
        ("GET /v2/a/blobs/uploads/../../../../../../../../../etc/passwd", 404, Code::Unsupported),
        ("GET /v2/a/referrers/latest", 400, Code::DigestInvalid),
        ("GET /v2/a/referrers/DIGEST?last=x", 400, Code::DigestInvalid),
        ("GET /v2/a/tags/list?n=x", 400, Code::Unsupported),
    ];
    for (request, status, code) in table {
        let problem = routed(request).expect_err(request);
        assert_eq!((problem.status.as_u16(), problem.code), (status, code), "{request}");
    }
}

/// Every string of an operation that came from outside.
fn strings(operation: &Operation) -> Vec<String> {
    match operation {
        Operation::GetManifest(name, selector) | Operation::DeleteManifest(name, selector) => {
            vec![name.to_string(), selector.to_string()]
        }
        Operation::PutManifest(name, selector, tags) => {
            [name.to_string(), selector.to_string()].into_iter().chain(tags.clone()).collect()
        }
        Operation::UploadStatus(name, id)
        | Operation::AppendUpload(name, id)
        | Operation::FinishUpload(name, id, _)
        | Operation::CancelUpload(name, id) => vec![name.to_string(), id.clone()],
        Operation::Tags(name, _)
        | Operation::GetBlob(name, _)
        | Operation::DeleteBlob(name, _)
        | Operation::StartUpload(name, _)
        | Operation::Referrers(name, ..) => vec![name.to_string()],
        Operation::Ping | Operation::Catalog(_) => Vec::new(),
    }
}

fn harmless(text: &str) -> bool {
    text.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_path_panics_or_leads_out(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "X"]),
        parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "v2", "a", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_catalog", "..", ".",
                    "", "%2f", "%2e%2e", "%00", "\\", "_tags", "latest", DIGEST, ID, "%3A", "ü",
                ]).prop_map(str::to_owned),
                "\\PC{0,12}",
                "[a-z0-9._-]{1,8}",
            ],
            0..8,
        ),
        rooted in any::<bool>(),
        query in prop::option::of("[a-zA-Z0-9=&%+:./-]{0,40}"),
    ) {
        let path = format!("{}{}", if rooted { "/v2/" } else { "/" }, parts.join("/"));
        if let Ok(operation) = route(&Method::from_bytes(method.as_bytes()).unwrap(), &path, query.as_deref()) {
            for text in strings(&operation) {
                prop_assert!(harmless(&text), "{path}: {text}");
            }
        }
    }

    #[test]
    fn ranges_stay_inside(header in "(bytes=)?[0-9a-z,-]{0,30}", size in any::<u64>()) {
        if let crate::range::Selected::Part(from, to) = crate::range::select(Some(&header), size) {
            prop_assert!(from < to && to <= size);
        }
        let _ = crate::range::chunk(&header);
    }
}
