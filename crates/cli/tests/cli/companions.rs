//! What is said about an image that is replaced stays with it, and that is said.

use palan_testkit::fault::{Reply, Store};

use crate::{TestContext, copy, family};

fn notes(ran: &crate::context::Ran) -> Vec<&str> {
    ran.stderr.lines().filter(|line| line.contains("what was said about")).collect()
}

#[test]
fn every_change_of_an_image_says_what_stays_with_the_old_one() {
    let context = copy::context();
    context.write("layer.tar", &family("linux/amd64").app.layers[0].tar);
    let root = "note: what was said about the old image stays with it, and is not said about the result: \
                1 × signature ([APP])";
    let all = "note: what was said about the old images stays with them, and is not said about the result: \
               1 × example/sbom, 1 × signature ([APP])";
    for (words, note) in [
        (&["mutate", "@@app:1", "-l", "a=b", "-t", "@@app:new"][..], all),
        (&["mutate", "@@app:1", "-l", "a=b", "--dry-run"], all),
        (&["mutate", "@@app:1", "-l", "a=b", "--platform", "linux/s390x", "-t", "@@app:new"], root),
        (&["append", "-b", "@@app:1", "-f", "layer.tar", "-t", "@@new:1"], all),
        (&["convert", "@@app:1", "--compression", "zstd", "-t", "@@app:new"], all),
        (&["index", "append", "@@app:1", "-m", "@@app:new", "-t", "@@app:more"], root),
        (&["index", "filter", "@@app:1", "--platform", "linux/arm64", "-t", "@@app:less"], root),
        (&["index", "remove", "@@app:1", "--platform", "linux/arm64", "-t", "@@app:less"], root),
    ] {
        assert_eq!(notes(&context.run(words).ok()), [note], "{words:?}");
    }
    // One layer is flat already.
    let several = family("linux/amd64").app;
    context.push("several:1", &several.graph());
    context.push(&format!("several:{}.att", several.digest().referrers_tag()), &several.graph());
    let ran = context.run(&["flatten", "@@several:1"]).ok();
    assert!(notes(&ran)[0].contains("is not said about the result: 1 × attestation (sha256:…)"), "{ran}");
    let edit = ["edit", "fs", "@@app:1", "--platform", "linux/amd64", "-f", "note"];
    assert_eq!(notes(&context.run_input(&edit, b"text").ok()), [all]);
    // The new image has nothing of the kind; what changes nothing asks for nothing.
    assert_eq!(notes(&context.run(&["mutate", "@@app:1", "-l", "c=d"]).ok()), [""; 0]);
    let before = context.requests().len();
    context.run(&["mutate", "@@app:1", "-l", "c=d"]).ok();
    let asked = context.requests().split_off(before);
    assert!(!asked.iter().any(|line| line.contains("referrers") || line.contains("sha256-")), "{asked:?}");
}

#[test]
fn archives_are_not_asked() {
    let context = copy::context();
    context.run(&["copy", "--referrers", "@@app:1", "oci-archive:app.tar:1"]).ok();
    let before = context.requests().len();
    let ran = context.run(&["mutate", "oci-archive:app.tar:1", "-l", "a=b", "-t", "oci:layout:1"]).ok();
    assert_eq!(notes(&ran), [""; 0]);
    assert_eq!(context.requests().len(), before);
}

#[test]
fn a_registry_that_does_not_know_referrers_is_no_reason_to_fail() {
    for status in [400, 403, 404, 500] {
        let context = TestContext::new();
        let store = Store::new();
        store.put("app", "v1", &family("linux/amd64").app.graph());
        let registry = context.faulty(move |request| {
            match request.path().contains("/referrers/") || request.path().contains("manifests/sha256-") {
                true => Reply::error(status, "UNSUPPORTED"),
                false => store.answer(request),
            }
        });
        let image = format!("{}/app:v1", registry.host());
        let ran = context.run(&["--retries", "0", "mutate", &image, "-l", "a=b"]).ok();
        assert_eq!(notes(&ran), [""; 0], "{status}");
        let asked = registry.requests();
        let about = |line: &String| line.contains("/referrers/") || line.contains("manifests/sha256-");
        let about = asked.iter().map(palan_testkit::fault::Request::line).filter(about).count();
        assert!(about <= 5, "{about} for {status}");
    }
}
