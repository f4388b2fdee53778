//! The demonstration of a fleet checks itself; that it does is checked here.

use insta::assert_snapshot;
use serde_json::Value;

use crate::TestContext;

#[test]
fn a_fleet_is_moved_and_every_image_checked() {
    let context = TestContext::new();
    let ran = context.run(&["demo", "fleet", "--images", "40", "--dir", "kept", "--format", "json"]).ok();
    let story: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(story["faults"], Value::Array(Vec::new()), "{story}");
    let numbers = ["images", "checked", "promoted"].map(|field| story[field].as_u64().unwrap());
    assert_eq!(numbers, [40, 40, 34]);
    assert_eq!(story["verdicts"], serde_json::json!({"clean": 35, "db-shadowed": 3, "shadowed": 2}));
    let lists = ["held", "moved", "restored"].map(|field| story[field].as_array().unwrap().len());
    assert_eq!(lists, [5, 1, 3]);
    let steps = story["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["scan", "plan", "apply", "promote canary", "promote rest", "rollback", "check"]);
    assert!(steps.iter().all(|step| step["requests"].as_u64() > Some(0)), "{story}");
    // No layer is sent: configs and documents are.
    let sent: u64 = steps.iter().map(|step| step["bytes_sent"].as_u64().unwrap()).sum();
    assert!(sent < 40 * 2 * 8_000, "{sent}");

    // What it leaves behind is a plan and a journal like any other.
    let ran = context.run(&["fleet", "status", "kept/plan.json", "--format", "json"]);
    assert_eq!(ran.code, Some(1), "somebody moved a tag: {ran}");
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let count = |state: &str| report["totals"]["states"][state].as_u64().unwrap_or_default();
    assert_eq!(["promoted", "restored", "moved"].map(count), [31, 3, 1], "{}", report["totals"]);
    let left: Vec<_> =
        std::fs::read_dir(context.path("kept")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn the_story_is_told() {
    let ran = TestContext::new().run(&["demo", "fleet", "--images", "41"]).ok();
    assert_eq!(ran.text().lines().count(), 8, "{ran}");
    for words in ["41 images for 77 platform images: ", "5 held", "gave 3 images back", "41 tags read back: "]
    {
        assert!(ran.to_string().contains(words), "{words}\n{ran}");
    }
    let ran = TestContext::new().run(&["demo", "fleet", "--images", "12"]);
    assert_eq!(ran.code, Some(2), "{ran}");
}

/// What measurements are made with.
#[test]
fn a_fleet_is_published_for_who_measures() {
    let context = TestContext::new();
    let host = context.host();
    let made = context.run(&["demo", "--publish-fleet", &host, "--images", "7"]).ok();
    context.write("fleet.toml", &made.stdout);
    assert_snapshot!(context.filter(&made.text()), @r#"
    [images]
    references = [
        "[HOST]/team/svc-0000:1.0",
        "[HOST]/team/svc-0001:1.0",
        "[HOST]/team/svc-0002:1.0",
        "[HOST]/team/svc-0003:1.0",
        "[HOST]/team/svc-0004:1.0",
        "[HOST]/team/svc-0005:1.0",
        "[HOST]/team/svc-0006:1.0",
    ]

    [[base]]
    from = "[HOST]/base/os:1.0"
    to = "[HOST]/base/os:1.1"

    [[base]]
    from = "[HOST]/base/static:1.0"
    to = "[HOST]/base/static:1.1"

    [[base]]
    from = "[HOST]/base/python:1.0"
    to = "[HOST]/base/python:1.1"

    [[base]]
    from = "[HOST]/base/jre:1.0"
    to = "[HOST]/base/jre:1.1"

    [[base]]
    from = "[HOST]/base/node:1.0"
    to = "[HOST]/base/node:1.1"
    "#);
    let scanned = context.run(&["fleet", "scan"]).ok();
    assert!(scanned.to_string().contains("7 images on 5 bases"), "{scanned}");
    let planned = context.run(&["fleet", "plan", "-o", "plan.json"]).ok();
    assert!(planned.to_string().contains("7 of 7 images to rebase"), "{planned}");
}
