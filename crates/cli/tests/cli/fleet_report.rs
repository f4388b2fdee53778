//! `fleet show` and `fleet status`: a plan and its journal on the command line.

use insta::assert_snapshot;
use palan::fleet::Plan;

use crate::TestContext;

/// The library's fixture: everything that plans have.
const PLAN: &str = include_str!("../../../palan/tests/fleet_report/plan.json");
const JOURNAL: &str = include_str!("../../../palan/tests/fleet_report/journal.jsonl");

fn journal(plan: &Plan) -> String {
    JOURNAL.replace("[PLAN]", &plan.digest().to_string())
}

/// The fixture's plan, in a file.
fn context() -> (TestContext, Plan) {
    let (context, plan) = (TestContext::new(), Plan::parse(PLAN).unwrap());
    context.write("plan.json", plan.to_text());
    (context, plan)
}

/// Only images that are to be rebased.
fn good() -> Plan {
    let mut plan = Plan::parse(PLAN).unwrap();
    plan.images.retain(|entry| {
        ["/web", "/mail", "/legacy"].iter().any(|name| entry.image.repository().path().ends_with(name))
    });
    plan
}

#[test]
fn a_plan_is_shown_to_reviewers() {
    let context = TestContext::new();
    context.write("plan.json", good().to_text());
    assert_snapshot!(context.run(&["fleet", "show", "plan.json"]), @r#"
    exit: 0
    --- stdout
    plan sha256:…
    3 images: 1 planned, 1 held, 1 needs a rebuild
    rebase: check = "content", config = "merge", on-conflict = "app", attestations = "drop", referrers = true, attest = false, created = "2026-11-21T00:00:00Z"
    wave canary: 2 images, 1 planned, 1 held
      gates: accept = "shadowed", accept-unassessed = false, max-growth-percent = 10, hook = ["./smoke","--fast"], hook-timeout = 600, signed-base = false
    wave rest <&"'> Übrige: 1 image, 1 needs a rebuild
      gates: accept = "clean", accept-unassessed = false, signed-base = false
    wave never: 0 images
      gates: accept = "clean", accept-unassessed = false, signed-base = false
    base registry.example.com/base/debian:12 → 13: 2 images, 1 planned, 1 held
    base registry.example.com/base/jre:17 → 21: 1 image, 1 needs a rebuild

    registry.example.com/team/legacy:1: needs-rebuild
      because    its verdict is db-shadowed, clean is accepted
      because    /var/lib/dpkg/status is <the old one> & hides "libssl3" of @debian
      wave       rest <&"'> Übrige
      old base   registry.example.com/base/jre:17
      new base   registry.example.com/base/jre:21@sha256:…
      verdict    db-shadowed
      layers     +5.00 MiB (+2 %)
      digest     sha256:…
      becomes    sha256:…
      candidate  registry.example.com/team/legacy:1-candidate-8abe2a443630
      backup     registry.example.com/team/legacy:1-before-c49fea7425fa
      platform   linux/amd64: db-shadowed, 2 layers of registry.example.com/base/jre:17, found by manifest-annotation
      platform   linux/arm64: db-shadowed, 3 layers of registry.example.com/base/jre:17, found by manifest-annotation
      finding    package database: 3 packages <differ>

    registry.example.com/team/mail:1: held
      because    its layers grow by 42 %, 10 % are accepted
      wave       canary
      old base   registry.example.com/base/debian:12
      new base   registry.example.com/base/debian:13@sha256:…
      verdict    clean
      layers     +42.0 MiB (+42 %)
      digest     sha256:…
      becomes    sha256:…
      candidate  registry.example.com/team/mail:1-candidate-796421210944
      backup     registry.example.com/team/mail:1-before-00d8d3f11739
      platform   linux/amd64: clean, 2 layers of registry.example.com/base/debian:12, found by manifest-annotation
      platform   linux/arm64: clean, 3 layers of registry.example.com/base/debian:12, found by manifest-annotation

    registry.example.com/team/web:1: planned
      wave       canary
      old base   registry.example.com/base/debian:12
      new base   registry.example.com/base/debian:13@sha256:…
      verdict    clean
      layers     +2.93 KiB (<1 %)
      digest     sha256:…
      becomes    sha256:…
      candidate  registry.example.com/team/web:1-candidate-0b2a1f2c4484
      backup     registry.example.com/team/web:1-before-4b5e57f6eb2f
      platform   linux/amd64: clean, 2 layers of registry.example.com/base/debian:12, found by manifest-annotation
      platform   linux/arm64: clean, 3 layers of registry.example.com/base/debian:12, found by manifest-annotation

    --- stderr
    "#);
    let ran = context.run(&["fleet", "show", "plan.json", "--format", "markdown"]).ok();
    assert!(ran.text().starts_with("## Fleet: 0 of 3 images promoted\n"), "{ran}");
    let text = ran.text();
    assert!(text.contains(r#"hook = ["./smoke","--fast"], hook-timeout = 600"#), "{text}");
    assert!(text.contains("- rebase: `check = "), "{text}");
    let words = ["fleet", "show", "plan.json", "--format", "markdown", "-o", "summary.md"];
    assert_eq!(context.run(&words).ok().text(), "");
    assert_eq!(std::fs::read_to_string(context.path("summary.md")).unwrap().trim_end(), text);
}

#[test]
fn status_without_a_journal_is_the_plan() {
    let context = TestContext::new();
    context.write("plan.json", good().to_text());
    // What is held did not go wrong.
    assert_snapshot!(context.run(&["fleet", "status", "plan.json"]), @r#"
    exit: 0
    --- stdout
    wave canary: 2 images, 1 planned, 1 held
    IMAGE                             STATE    VERDICT  BASE                                      LAYERS             REASON
    registry.example.com/team/web:1   planned  clean    registry.example.com/base/debian:12 → 13  +2.93 KiB (<1 %)
    registry.example.com/team/mail:1  held     clean    registry.example.com/base/debian:12 → 13  +42.0 MiB (+42 %)  its layers grow by 42 %, 10 % are accepted

    wave rest <&"'> Übrige: 1 image, 1 needs a rebuild
    IMAGE                               STATE          VERDICT      BASE                                   LAYERS            REASON
    registry.example.com/team/legacy:1  needs-rebuild  db-shadowed  registry.example.com/base/jre:17 → 21  +5.00 MiB (+2 %)  its verdict is db-shadowed, clean is accepted (and 1 more)

    BASE                                 IMAGES  STATES
    registry.example.com/base/debian:12  2       1 planned, 1 held
    registry.example.com/base/jre:17     1       1 needs a rebuild

    3 images: 1 planned, 1 held, 1 needs a rebuild

    --- stderr
    "#);
}

#[test]
fn status_reads_the_journal_beside_the_plan() {
    let (context, plan) = context();
    context.write("plan.journal.jsonl", journal(&plan));
    assert_snapshot!(context.run(&["fleet", "status", "plan.json"]), @r#"
    exit: 1
    --- stdout
    wave canary: 6 images, 2 promoted, 1 pushed, 1 held, 1 moved by others, 1 stopped by a gate
    IMAGE                                  STATE        VERDICT   BASE                                                LAYERS             REASON
    registry.example.com/team/base-java:1  promoted     clean     registry.example.com/base/debian:12 → 13            −2.00 MiB (−2 %)
    registry.example.com/team/web:1        promoted     clean     registry.example.com/base/debian:12 → 13            +2.93 KiB (<1 %)
    registry.example.com/team/api:1        pushed       clean     registry.example.com/team/base-java:1 → new digest  −2.00 MiB (−1 %)
    registry.example.com/team/auth:1       gate-failed  shadowed  registry.example.com/base/debian:12 → 13            +6.00 MiB (+10 %)  gate hook: exit code 1
    registry.example.com/team/cart:1       moved        clean     registry.example.com/base/debian:12 → 13            ±0 B               promote: registry.example.com/team/cart:1 was moved by somebody else meanwhile: expected sha256:1c4…
    registry.example.com/team/mail:1       held         clean     registry.example.com/base/debian:12 → 13            +42.0 MiB (+42 %)  its layers grow by 42 %, 10 % are accepted

    wave rest <&"'> Übrige: 10 images, 1 being moved, 1 planned, 1 given back, 1 held, 1 needs a rebuild, 4 failed, 1 with nothing to do
    IMAGE                               STATE          VERDICT       BASE                                                                    LAYERS             REASON
    registry.example.com/team/db:1      failed         clean         registry.example.com/base/debian:12 → 13                                −1.00 MiB (−1 %)   apply: registry.example.com refuses the push of team/db: denied & <gone>
    registry.example.com/team/edge:1    promoting      clean         registry.example.com/base/jre:17 → 21                                   −10.0 MiB (−5 %)
    registry.example.com/team/front:1   restored       clean         registry.example.com/base/jre:17 → 21                                   +1.00 MiB (<1 %)
    registry.example.com/team/job:1     planned        clean         the first 2 layers <cut> & "more" ✂ → registry.example.com/base/jre:21  +1.00 MiB (<1 %)
    registry.example.com/team/legacy:1  needs-rebuild  db-shadowed   registry.example.com/base/jre:17 → 21                                   +5.00 MiB (+2 %)   its verdict is db-shadowed, clean is accepted (and 1 more)
    registry.example.com/team/new:1     nothing                                                                                                                 stands on the new base already
    registry.example.com/team/old:1     failed                                                                                                                  the manifest is gone: <404> & 'not found'
    registry.example.com/team/raw:1     held           not assessed  registry.example.com/base/debian:12 → 13                                +2.00 MiB (+20 %)  nobody assessed it
    registry.example.com/team/shop:1    failed         clean         registry.example.com/base/jre:17 → 21                                   ±0 B               rollback: registry.example.com does not answer
    registry.example.com/team/typo:1    failed         clean         registry.example.com/base/jre:17 → 21                                   ±0 B               its candidate registry.example.com/other/typo:1 is not a tag of the same repository

    BASE                                   IMAGES  STATES
    registry.example.com/base/debian:12    7       2 promoted, 2 held, 1 moved by others, 1 stopped by a gate, 1 failed
    registry.example.com/base/jre:17       5       1 being moved, 1 given back, 1 needs a rebuild, 2 failed
    registry.example.com/team/base-java:1  1       1 pushed
    the first 2 layers <cut> & "more" ✂    1       1 planned
    not known                              1       1 failed

    16 images: 2 promoted, 1 being moved, 1 pushed, 1 planned, 1 given back, 2 held, 1 needs a rebuild, 1 moved by others, 1 stopped by a gate, 4 failed, 1 with nothing to do

    --- stderr
    "#);
}

#[test]
fn a_report_goes_to_a_file_whatever_it_says() {
    let (context, plan) = context();
    context.write("other.jsonl", journal(&plan));
    let forms = [
        ("json", "{\n  \"schema\": \"palan.fleet.report/v1\""),
        ("junit", "<?xml version=\"1.0\""),
        ("markdown", "## Fleet: 2 of 15 images promoted"),
        ("prometheus", "# HELP palan_fleet_images "),
        ("html", "<!doctype html>"),
        ("text", "wave canary: 6 images"),
    ];
    for (form, start) in forms {
        let words = ["fleet", "status", "plan.json", "--journal", "other.jsonl", "--format", form];
        let printed = context.run(&words);
        let ran = context.run(&[&words[..], &["-o", "report"]].concat());
        assert_eq!((ran.code, ran.stdout.len(), ran.stderr.as_str()), (Some(1), 0, ""), "{form}: {ran}");
        assert_eq!(std::fs::read(context.path("report")).unwrap(), printed.stdout);
        assert!(printed.text().starts_with(start), "{form}: {printed}");
    }
    assert_eq!(context.left(), ["other.jsonl", "plan.json", "report"]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let (context, plan) = context();
    assert_snapshot!(context.run(&["fleet", "show", "none.json"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.json
      caused by: No such file or directory (os error 2)
    ");
    context.write("bad.json", "{}");
    assert_snapshot!(context.run(&["fleet", "status", "bad.json"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: cannot use bad.json
      caused by: it is not a plan
      caused by: missing field `schema` at line 1 column 2
    ");
    context.write("v2.json", plan.to_text().replace("plan/v1", "plan/v2"));
    assert_snapshot!(context.run(&["fleet", "show", "v2.json"]), @r#"
    exit: 7
    --- stdout

    --- stderr
    error: cannot use v2.json
      caused by: its schema is "palan.fleet.plan/v2", not "palan.fleet.plan/v1"
    "#);
    assert_snapshot!(context.run(&["fleet", "status", "plan.json", "--journal", "none.jsonl"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.jsonl
      caused by: No such file or directory (os error 2)
    ");
    context.write("foreign.jsonl", journal(&good()));
    assert_snapshot!(context.run(&["fleet", "status", "plan.json", "--journal", "foreign.jsonl"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: the journal foreign.jsonl is of another plan (sha256:…)
    ");
    context.write("damaged.jsonl", format!("not a line\n{}", journal(&plan)));
    assert_snapshot!(context.run(&["fleet", "status", "plan.json", "--journal", "damaged.jsonl"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: line 1 of the journal damaged.jsonl is damaged
      caused by: expected ident at line 1 column 2
    ");
    // A line that a crash has cut does not count.
    context.write("cut.jsonl", "{\"at\": \"2026-");
    let ran = context.run(&["fleet", "status", "plan.json", "--journal", "cut.jsonl"]);
    assert!(ran.text().ends_with("1 with nothing to do") && ran.stderr.is_empty(), "{ran}");
}
