//! delete, and lists of what is there.

use insta::assert_snapshot;
use palan_testkit::fault::Reply;

use crate::{TestContext, families, family};

fn context() -> TestContext {
    let context = TestContext::new();
    context.name(context.push("app:1", &families().app.graph()), "APP");
    context.run(&["tag", "@@app:1", "2"]).ok();
    context.name(context.push("app:3", &family("linux/arm64").app.graph()), "THREE");
    context
}

#[test]
fn a_tag_goes_alone() {
    let context = context();
    assert_snapshot!(context.run(&["delete", "--dry-run", "@@app:1"]), @"
    exit: 0
    --- stdout
    would delete [HOST]/app:1 ([APP])

    --- stderr
    ");
    assert_snapshot!(context.run(&["delete", "@@app:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    deleted the tag [HOST]/app:1
    ");
    assert_eq!(context.run(&["ls", "@@app"]).ok().text(), "2\n3");
    assert_snapshot!(context.run(&["delete", "@@app:1"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: 1 was not found in [HOST]/app
    ");
    // crane #1862.
    assert_snapshot!(context.run(&["delete", "--ignore-missing", "@@app:1", "@@none:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    [HOST]/app:1 is not there
    [HOST]/none:1 is not there
    ");
    assert_eq!(context.run(&["delete", "@@app:1", "@@app:2"]).code, Some(3));
    assert_eq!(context.run(&["ls", "@@app"]).ok().text(), "3", "the others are deleted all the same");
}

#[test]
fn a_digest_takes_its_tags_along() {
    let context = context();
    let app = context.run(&["digest", "--full-ref", "@@app:1"]).ok().text();
    assert_snapshot!(context.run(&["delete", "--dry-run", &app]), @"
    exit: 0
    --- stdout
    would delete [HOST]/app@[APP] ([APP])

    --- stderr
    note: 2 tags of [APP] will be gone, too: 1, 2
    ");
    assert_eq!(context.run(&["ls", "@@app"]).ok().text(), "1\n2\n3");
    assert_snapshot!(context.run(&["delete", &app]), @"
    exit: 0
    --- stdout

    --- stderr
    note: 2 tags of [APP] will be gone, too: 1, 2
    deleted [HOST]/app@[APP]
    ");
    assert_eq!(context.run(&["ls", "@@app"]).ok().text(), "3");
    assert_snapshot!(context.run(&["delete", &app]), @"
    exit: 3
    --- stdout

    --- stderr
    error: [APP] was not found in [HOST]/app
    ");
    context.run(&["delete", "--ignore-missing", &app]).ok();
}

#[test]
fn layouts_and_archives() {
    let context = context();
    context.run(&["copy", "-a", "@@app", "oci:layout"]).ok();
    assert_snapshot!(context.run(&["delete", "oci:layout:1"]), @"
    exit: 0
    --- stdout

    --- stderr
    deleted the tag oci:layout:1
    ");
    assert_eq!(context.run(&["ls", "oci:layout"]).ok().text(), "2\n3");
    context.run(&["validate", "oci:layout:2"]).ok();
    assert_snapshot!(context.run(&["delete", "oci:layout"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: oci:layout does not say which image to delete
    hint: name its tag: oci:layout:TAG
    ");
    assert_snapshot!(context.run(&["delete", "oci-archive:x.tar:1"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: not supported yet: deleting inside an archive
    hint: copy what is to stay to another archive: palan copy --tags
    ");
    assert_snapshot!(context.run(&["delete"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      <IMAGE>...

    Usage: palan delete <IMAGE>...

    For more information, try '--help'.
    ");
}

#[test]
fn a_registry_without_tag_delete() {
    let context = context();
    let registry = context.faulty(|request| match (request.method.as_str(), request.path()) {
        (_, "/v2/") => Reply::json("{}"),
        _ => Reply::error(405, "UNSUPPORTED"),
    });
    context.name(registry.host(), "OTHER");
    assert_snapshot!(context.run(&["delete", &format!("{}/app:1", registry.host())]), @"
    exit: 1
    --- stdout

    --- stderr
    error: [OTHER]/app cannot delete the tag 1 alone
      caused by: DELETE http://[OTHER]/v2/app/manifests/1 answered 405 Method Not Allowed: UNSUPPORTED: scripted
    hint: --untag deletes the tag by way of an empty image, and leaves its other tags alone
    ");
    assert_eq!(registry.count("DELETE"), 1, "nothing else was tried");
    // Some call it a digest that is none, or say that nobody made it.
    for (status, code) in [(400, "DIGEST_INVALID"), (501, "UNSUPPORTED")] {
        let registry = context.faulty(move |request| match request.path() {
            "/v2/" => Reply::json("{}"),
            _ => Reply::error(status, code),
        });
        let ran = context.run(&["delete", &format!("{}/app:1", registry.host())]);
        assert!(ran.code == Some(1) && ran.stderr.contains("hint: --untag"), "{ran}");
    }
}

#[test]
fn lists_come_in_pages() {
    // crane #2062.
    let context = context();
    assert_snapshot!(context.run(&["ls", "--page-size", "2", "--full-ref", "@@app"]), @"
    exit: 0
    --- stdout
    [HOST]/app:1
    [HOST]/app:2
    [HOST]/app:3

    --- stderr
    ");
    assert_snapshot!(context.run(&["ls", "--page-size", "0", "@@app"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value '0' for '--page-size <N>': 0 is not in 1..=4294967295

    For more information, try '--help'.
    ");
    context.push("other/app:1", &family("linux/arm64").app.graph());
    assert_snapshot!(context.run(&["catalog", "--page-size", "1", &context.host()]), @"
    exit: 0
    --- stdout
    app
    other/app

    --- stderr
    ");
    assert_snapshot!(context.run(&["catalog", "--full-ref", &context.host()]), @"
    exit: 0
    --- stdout
    [HOST]/app
    [HOST]/other/app

    --- stderr
    ");
    let asked = context.requests();
    let pages = |of: &str| asked.iter().filter(|line| line.contains(of)).count();
    assert_eq!((pages("/v2/app/tags/list?"), pages("/v2/_catalog?")), (2, 3), "{asked:?}");
}

#[test]
fn what_was_listed_before_a_failure_is_printed() {
    let context = context();
    let registry = context.faulty(|request| match request.target.as_str() {
        "/v2/" => Reply::json("{}"),
        "/v2/app/tags/list?n=2" => {
            Reply::json(r#"{"tags":["1","2"]}"#).header("link", "</v2/app/tags/list?n=2&last=2>; rel=next")
        }
        _ => Reply::error(403, "DENIED"),
    });
    let ran = context.run(&["ls", "--page-size", "2", &format!("{}/app", registry.host())]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(4), "1\n2"), "{ran}");
}
