//! The demo is a test of everything together, and itself tested: on both stores, and against what it leaves behind.

use serde_json::Value;

use crate::TestContext;

fn report(context: &TestContext, words: &[&str]) -> Value {
    let ran = context.run(&[&["demo", "--format", "json"], words].concat()).ok();
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn every_image_is_rebased_and_none_is_faulty() {
    let report = report(&TestContext::new(), &[]);
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 12);
    for image in images {
        assert_ne!(image["old_digest"], image["new_digest"], "{image}");
        assert_eq!(image["faults"], Value::Array(Vec::new()), "{image}");
        assert!(image["layers_mounted"].as_u64() > Some(0), "{image}");
        // Configs are the only blobs that a rebase uploads.
        assert!(image["bytes_moved"].as_u64() < Some(10_000), "{image}");
        assert_eq!(image["layers_moved"], 0, "{image}");
    }
    assert_eq!(report["stranger_refused"], true);
}

#[test]
fn every_verdict_has_a_reason_and_every_layer_is_read_once() {
    let report = report(&TestContext::new(), &[]);
    let images = report["images"].as_array().unwrap();
    let graded: Vec<(&str, &str, &str)> = images
        .iter()
        .filter(|image| image["verdict"] != "clean")
        .map(|image| {
            let [name, verdict, reason] =
                ["/image", "/verdict", "/reasons/0"].map(|at| image.pointer(at).unwrap().as_str().unwrap());
            (name, verdict, reason.split_whitespace().nth(1).unwrap())
        })
        .collect();
    let expected = [
        ("team/billing", "shadowed", "/srv/lib/libssl.so"),
        ("team/report", "db-shadowed", "/var/lib/dpkg/status,"),
    ];
    assert_eq!(graded, expected);
    let clean = images.iter().filter(|image| image["verdict"] == "clean");
    assert!(clean.clone().all(|image| image["reasons"] == Value::Array(Vec::new())), "{report}");
    assert_eq!(clean.count(), 10);
    // Of both platforms: 9 of the bases (one is alike on both), 10 of the services, and of one platform 1.
    assert_eq!(report["read"]["layers"], 20);
    let requests = images.iter().map(|image| image["requests"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(report["requests"], requests);
}

#[test]
fn the_table_has_a_line_per_image() {
    let ran = TestContext::new().run(&["demo"]).ok();
    assert_eq!(ran.text().lines().filter(|line| line.ends_with("ok")).count(), 12, "{ran}");
}

#[cfg(unix)]
#[test]
fn what_it_kept_is_served_afterwards() {
    let context = TestContext::new();
    let report = report(&context, &["--dir", "kept"]);
    let (_child, host, _stderr) = crate::serve::serve(&context, &["--dir", "kept"]);
    for image in report["images"].as_array().unwrap() {
        let name =
            format!("{host}/{}@{}", image["image"].as_str().unwrap(), image["new_digest"].as_str().unwrap());
        context.run(&["validate", &name]).ok();
    }
}
