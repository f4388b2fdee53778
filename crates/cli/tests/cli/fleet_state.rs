//! Fleets that several machines work on: parts of a plan, journals that are merged, and journals in a registry.

use insta::assert_snapshot;
use palan::fleet::{Plan, Shard};
use palan_core::{
    Digest,
    annotation::{BASE_DIGEST, BASE_NAME},
};
use palan_testkit::image::{ImageSpec, layer};

use crate::{TestContext, context::Ran, family};

/// The library's fixture: everything that plans have.
const PLAN: &str = include_str!("../../../palan/tests/fleet_report/plan.json");

fn line(second: u8, run: &str, plan: &str) -> String {
    let plan = Digest::sha256(plan.as_bytes());
    format!(
        "{{\"at\":\"2026-01-01T00:00:0{second}Z\",\"run\":\"{run}\",\"plan\":\"{plan}\",\"event\":\"start\",\"command\":\"apply\"}}\n"
    )
}

#[test]
fn journals_are_merged() {
    let context = TestContext::new();
    context.write("a.jsonl", line(1, "a", "plan") + &line(3, "a", "plan"));
    // Half a line of a machine that was killed.
    context.write("b.jsonl", line(2, "b", "plan") + &line(1, "a", "plan") + "{\"at\":");
    context.write("other.jsonl", line(1, "a", "other"));
    context.write("empty.jsonl", "");
    assert_snapshot!(context.run(&["fleet", "merge", "a.jsonl", "b.jsonl", "-o", "all.jsonl"]), @"
    exit: 0
    --- stdout

    --- stderr
    3 lines of 2 journals
    ");
    let all = std::fs::read_to_string(context.path("all.jsonl")).unwrap();
    assert_eq!(all, [line(1, "a", "plan"), line(2, "b", "plan"), line(3, "a", "plan")].concat());
    let words = ["fleet", "merge", "all.jsonl", "b.jsonl", "all.jsonl", "a.jsonl", "-o", "all.jsonl"];
    context.run(&words).ok();
    assert_eq!(std::fs::read_to_string(context.path("all.jsonl")).unwrap(), all);
    assert_snapshot!(context.run(&["fleet", "merge", "a.jsonl", "other.jsonl", "-o", "new.jsonl"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: the journal other.jsonl is of another plan (sha256:…)
    ");
    assert_snapshot!(context.run(&["fleet", "merge", "empty.jsonl", "-o", "new.jsonl"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: there is no line in any of these journals
    ");
    assert_snapshot!(context.run(&["fleet", "merge", "a.jsonl", "none.jsonl", "-o", "new.jsonl"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.jsonl
      caused by: No such file or directory (os error 2)
    ");
    assert!(!context.path("new.jsonl").exists());
}

#[test]
fn a_journal_that_is_there_is_added_to_and_never_replaced() {
    let context = TestContext::new();
    let (one, two, three) = (line(1, "a", "plan"), line(2, "b", "plan"), line(3, "a", "plan"));
    context.write("a.jsonl", one.clone() + &three);
    context.write("b.jsonl", two.clone());
    context.write("other.jsonl", line(1, "a", "other"));
    let merge = ["fleet", "merge", "a.jsonl", "-o", "b.jsonl"];
    // A run has it open: what that writes must be found afterwards.
    let mut file = std::fs::File::options().append(true).open(context.path("b.jsonl")).unwrap();
    file.lock().unwrap();
    assert_snapshot!(context.run(&merge), @"
    exit: 8
    --- stdout

    --- stderr
    error: the journal b.jsonl is being written by another run
    ");
    let four = line(4, "b", "plan");
    std::io::Write::write_all(&mut file, four.as_bytes()).unwrap();
    drop(file);
    context.run(&merge).ok();
    let read = |name: &str| std::fs::read_to_string(context.path(name)).unwrap();
    assert_eq!(read("b.jsonl"), [two, four, one, three].concat());
    // The way back of another plan.
    assert_snapshot!(context.run(&["fleet", "merge", "a.jsonl", "-o", "other.jsonl"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: the journal other.jsonl is of another plan (sha256:…)
    ");
    assert_eq!(read("other.jsonl"), line(1, "a", "other"));
}

#[test]
fn parts_of_a_plan() {
    let context = TestContext::new();
    let plan = Plan::parse(PLAN).unwrap();
    context.write("plan.json", plan.to_text());
    for bad in ["0/3", "4/3", "x"] {
        for verb in ["apply", "promote", "show"] {
            let ran = context.run(&["fleet", verb, "plan.json", "--shard", bad]);
            assert_eq!(ran.code, Some(2), "{ran}");
        }
    }
    assert_snapshot!(context.run(&["fleet", "show", "plan.json", "--shard", "4/3"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value '4/3' for '--shard <I/N>': "4/3" is not a shard: I/N, with I from 1 to N

    For more information, try '--help'.
    "#);
    let of = |shard: &str| {
        let ran = context.run(&["fleet", "show", "plan.json", "--format", "json", "--shard", shard]).ok();
        let report: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
        assert_eq!(report["plan"], plan.digest().to_string());
        report["images"].as_array().unwrap().iter().map(|i| i["image"].as_str().unwrap().to_owned()).collect()
    };
    let parts: [Vec<String>; 3] = ["1/3", "2/3", "3/3"].map(of);
    for (n, part) in parts.iter().enumerate() {
        let shard: Shard = format!("{}/3", n + 1).parse().unwrap();
        let expected: Vec<String> = shard.part(&plan).images.iter().map(|e| e.image.to_string()).collect();
        assert_eq!(*part, expected);
    }
    assert_eq!(parts.concat().len(), plan.images.len());
}

/// Hosts have ports of different widths: tables with one space between columns.
fn narrow(ran: &Ran) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    ran.to_string().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Four images on a base that has moved, and the plan for them.
fn fleet(context: &TestContext) {
    let family = family("linux/amd64");
    context.push("base:1", &family.old.graph());
    let base = format!("{}/base:1", context.host());
    for name in ["api", "cart", "mail", "web"] {
        let app = ImageSpec::new("linux/amd64").on(&family.old).layer(layer(&[("app/run", name.as_bytes())]));
        let app = app.annotation(BASE_NAME, &base).annotation(BASE_DIGEST, family.old.digest().to_string());
        context.push(&format!("team/{name}:1"), &app.build().graph());
    }
    context.push("base:1", &family.new.graph());
    let settings = "[images]\nrepositories = [\"HOST/team/*:1\"]\n[[base]]\nfrom = \"HOST/base:*\"\n[gates]\naccept = \"broken\"\n";
    context.write("fleet.toml", settings.replace("HOST", &context.host()));
    context.run(&["fleet", "plan", "-o", "plan.json"]).ok();
}

#[test]
fn the_journal_is_in_a_registry() {
    let context = TestContext::new();
    fleet(&context);
    let state = ["--state", "@@team-state/journal"];
    let run = |words: &[&str]| context.run(&[&["fleet"], words, &state].concat());
    let applied = ["1/2", "2/2"].map(|shard| run(&["apply", "plan.json", "--shard", shard]).ok().text());
    let mut applied: Vec<&str> = applied.iter().flat_map(|text| text.lines()).collect();
    applied.sort_unstable();
    assert_eq!(applied.len(), 4, "{applied:?}");
    // Nothing is beside the plan.
    assert_eq!(context.left(), ["fleet.toml", "plan.json"]);
    assert_snapshot!(narrow(&run(&["status", "plan.json"])), @"
    exit: 0
    --- stdout
    wave rest: 4 images, 4 pushed
    IMAGE STATE VERDICT BASE LAYERS REASON
    [HOST]/team/api:1 pushed clean [HOST]/base:1 → new digest ±0 B
    [HOST]/team/cart:1 pushed clean [HOST]/base:1 → new digest ±0 B
    [HOST]/team/mail:1 pushed clean [HOST]/base:1 → new digest ±0 B
    [HOST]/team/web:1 pushed clean [HOST]/base:1 → new digest ±0 B

    BASE IMAGES STATES
    [HOST]/base:1 4 4 pushed

    4 images: 4 pushed

    --- stderr
    ");
    // Another machine, which has nothing but the plan.
    assert_snapshot!(run(&["promote", "plan.json", "--dry-run"]), @"
    exit: 0
    --- stdout
    [HOST]/team/api:1@sha256:…
    [HOST]/team/cart:1@sha256:…
    [HOST]/team/mail:1@sha256:…
    [HOST]/team/web:1@sha256:…

    --- stderr
    4 of 4 images would be promoted
    ");
    assert_snapshot!(run(&["promote", "plan.json"]), @"
    exit: 0
    --- stdout
    [HOST]/team/api:1@sha256:…
    [HOST]/team/cart:1@sha256:…
    [HOST]/team/mail:1@sha256:…
    [HOST]/team/web:1@sha256:…

    --- stderr
    promoted 4 of 4 images
    ");
    assert_snapshot!(run(&["rollback", "--plan", "plan.json", "--only", "*/web"]), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1@sha256:…

    --- stderr
    given back 1 of 1 image
    ");
    assert_snapshot!(context.run(&["fleet", "rollback", "--plan", "plan.json"]), @"
    exit: 0
    --- stdout
    [HOST]/team/mail:1@sha256:…
    [HOST]/team/cart:1@sha256:…
    [HOST]/team/api:1@sha256:…

    --- stderr
    given back 3 of 3 images
    ");
    assert_snapshot!(run(&["rollback", "--plan", "plan.json"]), @"
    exit: 0
    --- stdout

    --- stderr
    given back 0 of 0 images
    ");
    assert_snapshot!(context.run(&["fleet", "rollback"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: neither a journal nor a plan is named
    hint: palan fleet rollback plan.journal.jsonl, or --plan plan.json
    ");
    assert_snapshot!(run(&["rollback"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: it is not said which plan is rolled back: --state keeps the journals of many
    hint: name it by --plan plan.json
    ");
}

/// Somebody edited it, or a disk lost a block: that does not bar the way back.
#[test]
fn a_damaged_journal_and_its_plan_are_enough_for_a_rollback() {
    let context = TestContext::new();
    fleet(&context);
    let journal = "plan.journal.jsonl";
    context.run(&["fleet", "apply", "plan.json"]).ok();
    context.run(&["fleet", "promote", "plan.json"]).ok();
    let text = std::fs::read_to_string(context.path(journal)).unwrap();
    let is_lost = |line: &str| line.contains("/team/web:1\",\"step\":\"promote\"");
    let lines = text.lines().map(|line| if is_lost(line) { &line[..line.len() / 2] } else { line });
    let damaged = lines.collect::<Vec<_>>().join("\n") + "\n";
    context.write(journal, &damaged);
    // Images are done in any order, and so are the lines.
    let refused = context.run(&["fleet", "rollback", journal]);
    assert_eq!(refused.code, Some(7), "{refused}");
    assert!(refused.stderr.contains("of the journal plan.journal.jsonl is damaged\n"), "{refused}");
    assert!(refused.stderr.contains("\nhint: with --plan PLAN, "), "{refused}");
    let words = ["fleet", "rollback", journal, "--plan", "plan.json"];
    let would = context.run(&[&words[..], &["--dry-run"]].concat());
    assert_eq!((would.code, would.text().lines().count()), (Some(12), 4), "{would}");
    assert_eq!(std::fs::read_to_string(context.path(journal)).unwrap(), damaged);
    let back = context.run(&[&words[..], &["--state", "@@team-state/journal"]].concat());
    assert_eq!((back.code, back.text().lines().count()), (Some(12), 4), "{back}");
    let said: Vec<&str> = back.stderr.lines().map(|line| line.split_once(" of ").unwrap().1).collect();
    assert_snapshot!(said.join("\n"), @"
    plan.journal.jsonl is damaged, and was skipped
    plan.journal.jsonl is damaged, and was skipped
    4 images
    ");
    for name in ["api", "cart", "mail", "web"] {
        let image = format!("@@team/{name}:1");
        let backup = context.run(&["ls", &format!("@@team/{name}")]).ok().text();
        let backup = backup.lines().find(|tag| tag.contains("-before-")).unwrap().to_owned();
        let was = context.run(&["digest", &format!("@@team/{name}:{backup}")]).ok().stdout;
        assert_eq!(context.run(&["digest", &image]).ok().stdout, was, "{name}");
    }
    // Another plan's journal is not read as one that has nothing to say.
    context.write("other.jsonl", line(1, "a", "other") + "{\n");
    let ran = context.run(&["fleet", "rollback", "other.jsonl", "--plan", "plan.json"]);
    assert_eq!(ran.code, Some(7), "{ran}");
}

#[cfg(unix)]
#[test]
fn what_was_done_is_kept_when_a_run_is_ended() {
    let context = TestContext::new();
    fleet(&context);
    // The service manager's request comes while the third image is tried.
    let settings = std::fs::read_to_string(context.path("fleet.toml")).unwrap();
    context.write("fleet.toml", settings + "hook = [\"./hook\"]\n");
    let hook = context
        .write("hook", "#!/bin/sh\ncase $PALAN_IMAGE in */mail:1) kill -TERM $PPID; exec sleep 60;; esac\n");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    context.run(&["fleet", "plan", "-o", "plan.json"]).ok();
    let state = ["--state", "@@team-state/journal"];
    let run = |words: &[&str]| context.run(&[&["fleet"], words, &state].concat());
    assert_snapshot!(run(&["apply", "plan.json", "--at-once", "1"]), @"
    exit: 130
    --- stdout

    --- stderr
    error: interrupted
    ");
    assert_snapshot!(narrow(&run(&["status", "plan.json"])), @"
    exit: 0
    --- stdout
    wave rest: 4 images, 3 pushed, 1 planned
    IMAGE STATE VERDICT BASE LAYERS REASON
    [HOST]/team/api:1 pushed clean [HOST]/base:1 → new digest ±0 B
    [HOST]/team/cart:1 pushed clean [HOST]/base:1 → new digest ±0 B
    [HOST]/team/mail:1 pushed clean [HOST]/base:1 → new digest ±0 B
    [HOST]/team/web:1 planned clean [HOST]/base:1 → new digest ±0 B

    BASE IMAGES STATES
    [HOST]/base:1 4 3 pushed, 1 planned

    4 images: 3 pushed, 1 planned

    --- stderr
    ");
}

#[test]
fn a_journal_that_cannot_be_pushed_is_said() {
    let context = TestContext::new();
    fleet(&context);
    let plan = context.path("plan.json");
    let registry = context.faulty(|request| match request.method.as_str() {
        "GET" | "HEAD" if request.path() != "/v2/" => palan_testkit::fault::Reply::error(404, "NAME_UNKNOWN"),
        "GET" => palan_testkit::fault::Reply::json("{}"),
        _ => palan_testkit::fault::Reply::error(403, "DENIED"),
    });
    let state = format!("{}/state", registry.host());
    context.name(registry.host(), "STATE");
    let ran = context.run(&["fleet", "apply", plan.to_str().unwrap(), "--state", &state]);
    assert_eq!((ran.text().lines().count(), ran.code), (4, Some(4)));
    assert_snapshot!(ran.stderr, @"
    warning: the journal could not be pushed: POST http://[STATE]/v2/state/blobs/uploads/ answered 403 Forbidden: DENIED: scripted (no credentials were found)
    pushed 4 of 4 images
    ");
}
