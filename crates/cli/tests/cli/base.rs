//! What images are built from, on the command line.

use insta::assert_snapshot;
use palan_testkit::image::{ImageSpec, layer};

use crate::{TestContext, context::Ran, families, family};

const NAME: &str = "org.opencontainers.image.base.name";
const DIGEST: &str = "org.opencontainers.image.base.digest";

/// `base:1`, and `app:1` on it, which says nothing.
fn context() -> TestContext {
    let (context, all) = (TestContext::new(), families());
    context.name(context.push("base:1", &all.old.graph()), "OLD");
    context.push("app:1", &all.app.graph());
    for platform in ["linux/amd64", "linux/arm64"] {
        context.name(all.old.image(platform).unwrap().digest(), &format!("OLD {platform}"));
        context.name(all.new.image(platform).unwrap().digest(), &format!("NEW {platform}"));
    }
    context
}

/// `hinted:1`, which names `base:1`.
fn hinted(context: &TestContext) {
    let family = family("linux/amd64");
    let app = ImageSpec::new("linux/amd64").on(&family.old).layer(layer(&[("app/run", b"#!/bin/sh\n")]));
    let app = app.annotation(NAME, format!("{}/base:1", context.host()));
    context.push("hinted:1", &app.annotation(DIGEST, family.old.digest().to_string()).build().graph());
}

/// Digests have names or dots, and those differ in width: tables with one space between columns.
fn narrow(ran: &Ran) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    ran.to_string().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_base_is_found_with_evidence() {
    let context = context();
    hinted(&context);
    assert_snapshot!(narrow(&context.run(&["base", "detect", "@@hinted:1"])), @"
    exit: 0
    --- stdout
    IMAGE PLATFORM BASE LAYERS CONFIDENCE EVIDENCE DIGEST
    [HOST]/hinted:1 linux/amd64 [HOST]/base:1 2 of 3 verified manifest-annotation [OLD linux/amd64]

    --- stderr
    ");
    assert_snapshot!(narrow(&context.run(&["base", "detect", "@@app:1", "@@hinted:1"])), @"
    exit: 6
    --- stdout
    IMAGE PLATFORM BASE LAYERS CONFIDENCE EVIDENCE DIGEST
    [HOST]/app:1 linux/amd64 unknown ? of 3
    [HOST]/app:1 linux/arm64 unknown ? of 3
    [HOST]/hinted:1 linux/amd64 [HOST]/base:1 2 of 3 verified manifest-annotation [OLD linux/amd64]

    --- stderr
    note: images that say nothing are recognised by the bases that palan knows: palan base index add REPO
    ");
    let ran = context.run(&["base", "detect", "@@hinted:1", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let base = &json[0]["platforms"][0]["base"];
    assert_eq!(
        (base["evidence"].as_str(), base["confidence"].as_str()),
        (Some("manifest-annotation"), Some("verified"))
    );
    assert_eq!((base["boundary"].as_u64(), json[0]["platforms"][0]["layers"].as_u64()), (Some(2), Some(3)));
    assert_eq!(base["digest"], family("linux/amd64").old.digest().to_string());
}

#[test]
fn what_fails_does_not_end_the_others() {
    let context = context();
    hinted(&context);
    assert_snapshot!(narrow(&context.run(&["base", "detect", "@@gone:1", "@@hinted:1"])), @"
    exit: 3
    --- stdout
    IMAGE PLATFORM BASE LAYERS CONFIDENCE EVIDENCE DIGEST
    [HOST]/hinted:1 linux/amd64 [HOST]/base:1 2 of 3 verified manifest-annotation [OLD linux/amd64]

    --- stderr
    warning: [HOST]/gone:1: 1 was not found in [HOST]/gone
    ");
}

#[test]
fn an_index_of_known_bases_is_kept() {
    let context = context();
    assert_snapshot!(context.run(&["base", "index", "add", "@@base:?"]), @"
    exit: 0
    --- stdout

    --- stderr
    read 1 tag: 2 bases new, 2 known in home/.local/share/palan/bases.jsonl
    ");
    assert!(context.home(".local/share/palan/bases.jsonl").exists() || cfg!(not(target_os = "linux")));
    assert_snapshot!(narrow(&context.run(&["base", "detect", "@@app:1"])), @"
    exit: 0
    --- stdout
    IMAGE PLATFORM BASE LAYERS CONFIDENCE EVIDENCE DIGEST
    [HOST]/app:1 linux/amd64 [HOST]/base:1 2 of 3 verified known-base [OLD linux/amd64]
    [HOST]/app:1 linux/arm64 [HOST]/base:1 2 of 3 verified known-base [OLD linux/arm64]

    --- stderr
    ");
    context.push("base:1", &families().new.graph());
    assert_snapshot!(context.run(&["base", "index", "update"]), @"
    exit: 0
    --- stdout

    --- stderr
    read 1 tag: 2 bases new, 4 known in home/.local/share/palan/bases.jsonl
    ");
    let ls = context.run(&["base", "index", "ls", "--format", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_slice(&ls.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert_eq!((listed[0]["layers"].as_u64(), listed[0].get("config")), (Some(2), None));
    let ls = context.run(&["base", "index", "ls", "@@base:1"]).ok();
    assert_eq!(ls.text().lines().count(), 5, "{ls}");
    context.run(&["base", "index", "push", "@@team/bases:1"]).ok();
    assert_snapshot!(context.run(&["base", "index", "rm", "@@base"]), @"
    exit: 0
    --- stdout

    --- stderr
    forgot 4 bases, 0 known in home/.local/share/palan/bases.jsonl
    ");
    assert_eq!(context.run(&["base", "index", "ls"]).ok().text(), "");
    assert_snapshot!(context.run(&["base", "index", "pull", "@@team/bases:1", "--known", "pulled"]), @"
    exit: 0
    --- stdout

    --- stderr
    pulled is now what [HOST]/team/bases:1 holds
    ");
    context.run(&["base", "detect", "@@app:1", "--known", "pulled"]).ok();
    assert_eq!(context.run(&["base", "detect", "@@app:1"]).code, Some(6));
    assert_eq!(context.left(), ["pulled"]);
}

#[test]
fn an_index_that_is_not_there_or_is_something_else() {
    let context = context();
    assert_snapshot!(context.run(&["base", "detect", "@@app:1", "--known", "none"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none
      caused by: No such file or directory (os error 2)
    ");
    context.write("other", "something else\n");
    assert_snapshot!(context.run(&["base", "detect", "@@app:1", "--known", "other"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: other: it is not an index of known bases: the first line: expected value at line 1 column 1
    ");
    assert_snapshot!(context.run(&["base", "index", "update", "--known", "none"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(context.run(&["base", "index", "add", "Not A Name"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'Not A Name' for '<REPO[:TAG-PATTERN]>...': invalid reference "Not A Name": repository (at position 0): 'N' is upper case, repository names are lower case

    For more information, try '--help'.
    "#);
    assert_snapshot!(context.run(&["base", "index", "add", "@@base:9", "--known", "none"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: 9 was not found in [HOST]/base
    ");
    assert_eq!(context.left(), ["other"]);
}

#[test]
fn stale_bases_end_with_a_code_of_their_own() {
    let context = context();
    hinted(&context);
    assert_snapshot!(narrow(&context.run(&["base", "stale", "@@hinted:1"])), @"
    exit: 0
    --- stdout
    IMAGE PLATFORM STATUS BASE NEWER TAGS NOW
    [HOST]/hinted:1 linux/amd64 current [HOST]/base:1

    --- stderr
    ");
    let list = format!("# ours\n\n{}/hinted:1 # one\n", context.host());
    context.write("list", &list);
    context.run(&["base", "stale", "--from", "list"]).ok();
    context.push("base:2", &families().new.graph());
    assert_snapshot!(narrow(&context.run(&["base", "stale", "--from", "list"])), @"
    exit: 10
    --- stdout
    IMAGE PLATFORM STATUS BASE NEWER TAGS NOW
    [HOST]/hinted:1 linux/amd64 newer-tag [HOST]/base:1 2

    --- stderr
    ");
    context.run(&["base", "stale", "--from", "list", "--same-tag"]).ok();
    context.push("base:1", &families().new.graph());
    assert_snapshot!(narrow(&context.run_input(&["base", "stale", "--from", "-", "@@app:1"], list.as_bytes())), @"
    exit: 10
    --- stdout
    IMAGE PLATFORM STATUS BASE NEWER TAGS NOW
    [HOST]/app:1 linux/amd64 unknown
    [HOST]/app:1 linux/arm64 unknown
    [HOST]/hinted:1 linux/amd64 moved [HOST]/base:1 2 [NEW linux/amd64]

    --- stderr
    ");
    assert_eq!(context.run(&["base", "stale", "@@app:1"]).code, Some(6));
    let ran = context.run(&["base", "stale", "@@hinted:1", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.code, json[0]["platforms"][0]["status"].as_str()), (Some(10), Some("moved")));
    assert_snapshot!(context.run(&["base", "stale"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      <IMAGE>...

    Usage: palan base stale <IMAGE>...

    For more information, try '--help'.
    ");
}
