//! `fleet plan`, `apply`, `promote` and `rollback` as people and scripts see them.

use insta::assert_snapshot;
use palan_testkit::image::{ImageSpec, layer};

use crate::{TestContext, context::Ran, family};

const NAME: &str = "org.opencontainers.image.base.name";

/// `base:1` and `base:2`; on `base:1` `mid:1`, `web:1` and `old:1`, which hides a file of it; on `mid:1` `api:1`.
fn context() -> TestContext {
    let (context, family) = (TestContext::new(), family("linux/amd64"));
    context.push("base:1", &family.old.graph());
    context.push("base:2", &family.new.graph());
    let host = context.host();
    let on =
        |base, name: &str| ImageSpec::new("linux/amd64").on(base).annotation(NAME, format!("{host}/{name}"));
    let mid = on(&family.old, "base:1").layer(layer(&[("usr/lib/mid", b"1")])).build();
    context.push("team/mid:1", &mid.graph());
    let web = on(&family.old, "base:1").layer(layer(&[("app/run", b"web")])).build();
    context.push("team/web:1", &web.graph());
    let old = on(&family.old, "base:1").layer(layer(&[("usr/lib/runtime", b"mine")])).build();
    context.push("team/old:1", &old.graph());
    let api = on(&mid, "team/mid:1").layer(layer(&[("app/run", b"api")])).build();
    context.push("team/api:1", &api.graph());
    settings(&context, "");
    context
}

/// A `fleet.toml` in which `web` goes first.
fn settings(context: &TestContext, hook: &str) {
    let host = context.host();
    let gates = if hook.is_empty() { String::new() } else { format!("gates = {{ {hook} }}\n") };
    let text = format!(
        "[images]\nrepositories = [\"{host}/team/*\"]\n\n[[base]]\nfrom = \"{host}/base:1\"\nto = \"{host}/base:2\"\n\n\
         [[wave]]\nname = \"canary\"\nimages = [\"*/web\"]\n{gates}"
    );
    context.write("fleet.toml", text);
}

fn planned(hook: &str) -> TestContext {
    let context = context();
    settings(&context, hook);
    context.run(&["fleet", "plan", "-o", "plan.json"]).ok();
    context
}

/// Digits of digests in tags depend on the registry's port.
fn shown(ran: &Ran) -> String {
    let mut out = String::new();
    let text = ran.to_string();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("-palan-").or_else(|| rest.find("-before-")) {
        let start = at + rest[at + 1..].find('-').unwrap() + 2;
        out.push_str(&rest[..start]);
        out.push('…');
        rest = &rest[start + 12..];
    }
    out + rest
}

#[test]
fn a_plan_is_computed_and_says_what_is_held() {
    let context = context();
    assert_snapshot!(context.run(&["fleet", "plan", "-o", "plan.json"]), @"
    exit: 0
    --- stdout

    --- stderr
    3 of 4 images to rebase, 1 held
    ");
    let first = std::fs::read(context.path("plan.json")).unwrap();
    let again = context.run(&["fleet", "plan"]).ok();
    assert_eq!(again.stdout, first);
    assert_eq!(context.left(), ["fleet.toml", "plan.json"]);
    // An inventory that was kept gives the same.
    context.run(&["fleet", "scan", "@@team/*", "--format", "json", "-o", "inventory.json"]).ok();
    let again = context.run(&["fleet", "plan", "--inventory", "inventory.json"]).ok();
    assert_eq!(again.stdout, first);
}

#[test]
fn without_settings_there_is_no_plan() {
    let context = TestContext::new();
    assert_snapshot!(context.run(&["fleet", "plan"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read fleet.toml
      caused by: No such file or directory (os error 2)
    hint: palan fleet init writes one
    ");
    context.write("fleet.toml", "[images]\nrefs = []\n");
    assert_snapshot!(context.run(&["fleet", "plan"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: fleet.toml, line 2: images.refs: there is no such key, known are references, files, manifests, repositories, exclude
    ");
    context.write("fleet.toml", "[gates]\nsigned-base = true\n");
    assert_snapshot!(context.run(&["fleet", "plan"]), @"
    exit: 1
    --- stdout

    --- stderr
    error: not supported yet: the gate signed-base: signatures are not checked yet
    ");
}

#[test]
fn what_fails_is_in_the_plan_and_the_code_says_so() {
    let context = context();
    context.write("list", format!("{}/team/web:1\n{}/team/gone:1\n", context.host(), context.host()));
    let text = std::fs::read_to_string(context.path("fleet.toml")).unwrap();
    let named =
        text.replace(&format!("repositories = [\"{}/team/*\"]", context.host()), "files = [\"list\"]");
    context.write("fleet.toml", named);
    assert_snapshot!(context.run(&["fleet", "plan", "-o", "plan.json"]), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/gone:1: 1 was not found in [HOST]/team/gone
    1 of 2 images to rebase, 1 failed
    ");
}

#[test]
fn what_could_not_be_looked_at_is_in_the_plan_and_the_code_says_so() {
    let context = context();
    let host = context.host();
    context.write("list", format!("{host}/team/web:1\nNOT:ONE\n"));
    let text = std::fs::read_to_string(context.path("fleet.toml")).unwrap();
    let named = text.replace(
        &format!("repositories = [\"{host}/team/*\"]"),
        &format!("files = [\"list\"]\nrepositories = [\"{host}/nobody/pay:*\"]"),
    );
    context.write("fleet.toml", named);
    assert_snapshot!(context.run(&["fleet", "plan", "-o", "plan.json"]), @r#"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/nobody/pay (repositories): GET http://[HOST]/v2/nobody/pay/tags/list?n=1000 answered 404 Not Found: NAME_UNKNOWN: repository nobody/pay is not known
    warning: NOT:ONE (list:2): invalid reference "NOT:ONE": repository (at position 0): 'N' is upper case, repository names are lower case
    1 of 1 image to rebase, 2 not looked at
    "#);
    let ran = context.run(&["fleet", "show", "plan.json"]).ok().to_string();
    let said: Vec<&str> =
        ran.lines().filter(|line| line.contains("looked at") || line.contains("pay")).collect();
    assert_snapshot!(said.join("\n"), @r#"
    not looked at: [HOST]/nobody/pay (repositories): GET http://[HOST]/v2/nobody/pay/tags/list?n=1000 answered 404 Not Found: NAME_UNKNOWN: repository nobody/pay is not known
    not looked at: NOT:ONE (list:2): invalid reference "NOT:ONE": repository (at position 0): 'N' is upper case, repository names are lower case
    "#);
    let ran = context.run(&["fleet", "status", "plan.json"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.to_string().contains("not looked at: NOT:ONE (list:2): "), "{ran}");
}

#[test]
fn candidates_are_pushed_and_nothing_is_done_twice() {
    let context = planned("");
    let words = ["fleet", "apply", "plan.json"];
    assert_snapshot!(shown(&context.run(&[&words[..], &["--dry-run"]].concat())), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1-palan-…@sha256:…
    [HOST]/team/mid:1-palan-…@sha256:…
    [HOST]/team/api:1-palan-…@sha256:…

    --- stderr
    3 of 3 images would be pushed
    ");
    assert_eq!(context.left(), ["fleet.toml", "plan.json"]);
    assert_snapshot!(shown(&context.run(&[&words[..], &["--wave", "canary"]].concat())), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1-palan-…@sha256:…

    --- stderr
    pushed 1 of 1 image
    ");
    assert_snapshot!(shown(&context.run(&[&words[..], &["--only", "*/mid"]].concat())), @"
    exit: 0
    --- stdout
    [HOST]/team/mid:1-palan-…@sha256:…

    --- stderr
    pushed 1 of 1 image
    ");
    assert_snapshot!(shown(&context.run(&words)), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1-palan-…@sha256:…
    [HOST]/team/mid:1-palan-…@sha256:…
    [HOST]/team/api:1-palan-…@sha256:…

    --- stderr
    pushed 1 of 3 images, 2 already so
    ");
    assert_snapshot!(shown(&context.run(&[&words[..], &["--format", "json", "--only", "*/web:1"]].concat())), @r#"
    exit: 0
    --- stdout
    [
      {
        "image": "[HOST]/team/web:1",
        "wave": "canary",
        "result": "already",
        "tag": "[HOST]/team/web:1-palan-…",
        "digest": "sha256:…"
      }
    ]

    --- stderr
    pushed 0 of 1 image, 1 already so
    "#);
    assert_snapshot!(context.run(&[&words[..], &["--wave", "none"]].concat()), @"
    exit: 3
    --- stdout

    --- stderr
    error: the wave none was not found in the plan
    ");
}

#[test]
fn tags_are_moved_and_given_back() {
    let context = planned("");
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json", "--wave", "canary"]), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: failed: it has not been applied
    promoted 0 of 1 image, 1 failed
    ");
    context.run(&["fleet", "apply", "plan.json"]).ok();
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json", "--wave", "canary", "--dry-run"]), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1@sha256:…

    --- stderr
    1 of 1 image would be promoted
    ");
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json", "--wave", "canary"]), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1@sha256:…

    --- stderr
    promoted 1 of 1 image
    ");
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json"]), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1@sha256:…
    [HOST]/team/mid:1@sha256:…
    [HOST]/team/api:1@sha256:…

    --- stderr
    promoted 2 of 3 images, 1 already so
    ");
    let journal = "plan.journal.jsonl";
    assert_snapshot!(context.run(&["fleet", "rollback", journal, "--only", "*/web", "--dry-run"]), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1@sha256:…

    --- stderr
    1 of 1 image would be given back
    ");
    assert_snapshot!(context.run(&["fleet", "rollback", journal, "--only", "*/web", "--format", "json"]), @r#"
    exit: 0
    --- stdout
    [
      {
        "image": "[HOST]/team/web:1",
        "result": "done",
        "tag": "[HOST]/team/web:1",
        "digest": "sha256:…"
      }
    ]

    --- stderr
    given back 1 of 1 image
    "#);
    assert_snapshot!(context.run(&["fleet", "rollback", journal]), @"
    exit: 0
    --- stdout
    [HOST]/team/api:1@sha256:…
    [HOST]/team/mid:1@sha256:…

    --- stderr
    given back 2 of 2 images
    ");
    assert_snapshot!(context.run(&["fleet", "rollback", journal]), @"
    exit: 0
    --- stdout

    --- stderr
    given back 0 of 0 images
    ");
    // A run that is repeated does not undo that, and says so.
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json"]), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: given-back: a rollback gave its tag back
    warning: [HOST]/team/mid:1: not-begun: 1 image of the wave canary was given back
    warning: [HOST]/team/api:1: not-begun: 1 image of the wave canary was given back
    promoted 0 of 3 images, 2 not begun, 1 given back before
    note: with --again, what was given back goes forth once more
    ");
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json", "--again"]), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1@sha256:…
    [HOST]/team/mid:1@sha256:…
    [HOST]/team/api:1@sha256:…

    --- stderr
    promoted 3 of 3 images
    ");
}

#[test]
fn a_base_that_is_left_behind_is_said() {
    let context = planned("");
    context.run(&["fleet", "apply", "plan.json"]).ok();
    let api = ["fleet", "promote", "plan.json", "--only", "*/api"];
    assert_snapshot!(context.run(&[&api[..], &["--dry-run"]].concat()), @"
    exit: 0
    --- stdout
    [HOST]/team/api:1@sha256:…

    --- stderr
    note: [HOST]/team/mid:1 is not promoted, and 1 image that stands on its result is: [HOST]/team/api:1
    1 of 1 image would be promoted
    ");
    assert_snapshot!(context.run(&api), @"
    exit: 0
    --- stdout
    [HOST]/team/api:1@sha256:…

    --- stderr
    note: [HOST]/team/mid:1 is not promoted, and 1 image that stands on its result is: [HOST]/team/api:1
    promoted 1 of 1 image
    ");
    // Both: nothing is to be said.
    context.run(&["fleet", "promote", "plan.json"]).ok();
    assert_snapshot!(context.run(&["fleet", "rollback", "--plan", "plan.json", "--only", "*/mid"]), @"
    exit: 0
    --- stdout
    [HOST]/team/mid:1@sha256:…

    --- stderr
    note: [HOST]/team/mid:1 is not promoted, and 1 image that stands on its result is: [HOST]/team/api:1
    given back 1 of 1 image
    ");
}

#[test]
fn a_tag_that_somebody_moved_stays() {
    let context = planned("");
    context.run(&["copy", "@@team/api:1", "@@team/web:1"]).ok();
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json"])), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: moved: somebody moved it: [HOST]/team/web:1 stands for sha256:…, not for sha256:…
    warning: [HOST]/team/mid:1: not-begun: 1 image of the wave canary was not done
    warning: [HOST]/team/api:1: not-begun: 1 image of the wave canary was not done
    pushed 0 of 3 images, 1 moved by somebody else, 2 not begun
    ");
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json", "--keep-going"])), @"
    exit: 12
    --- stdout
    [HOST]/team/mid:1-palan-…@sha256:…
    [HOST]/team/api:1-palan-…@sha256:…

    --- stderr
    warning: [HOST]/team/web:1: moved: somebody moved it: [HOST]/team/web:1 stands for sha256:…, not for sha256:…
    pushed 2 of 3 images, 1 moved by somebody else
    ");
    context.run(&["fleet", "promote", "plan.json", "--only", "*/mid"]).ok();
    context.run(&["copy", "@@base:1", "@@team/mid:1"]).ok();
    assert_snapshot!(context.run(&["fleet", "rollback", "plan.journal.jsonl"]), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/mid:1: moved: somebody moved it: [HOST]/team/mid:1 stands for sha256:…, not for sha256:…
    given back 0 of 1 image, 1 moved by somebody else
    ");
}

#[test]
fn hooks_decide() {
    let context = planned("hook = [\"sh\", \"-c\", \"env | grep -c ^PALAN_ && exit 1\"]");
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json"])), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: not-passed: the hook refused it: 4
      | exit status: 1
      | 4
    warning: [HOST]/team/mid:1: not-begun: 1 image of the wave canary was not done
    warning: [HOST]/team/api:1: not-begun: 1 image of the wave canary was not done
    pushed 0 of 3 images, 1 not passed by a gate, 2 not begun
    ");
    // What was not begun is what it was, and nothing is wrong with it.
    let ran = context.run(&["fleet", "status", "plan.json", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
    let states: Vec<_> = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| [&image["state"], &image["reasons"][0]])
        .collect();
    assert_snapshot!(serde_json::to_string_pretty(&states).unwrap(), @r#"
    [
      [
        "gate-failed",
        "gate hook: 4"
      ],
      [
        "planned",
        "apply: not-begun: 1 image of the wave canary was not done"
      ],
      [
        "held",
        "its verdict is shadowed, and clean is the worst that is accepted"
      ],
      [
        "planned",
        "apply: not-begun: 1 image of the wave canary was not done"
      ]
    ]
    "#);
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json", "--keep-going"])), @"
    exit: 12
    --- stdout
    [HOST]/team/mid:1-palan-…@sha256:…
    [HOST]/team/api:1-palan-…@sha256:…

    --- stderr
    warning: [HOST]/team/web:1: not-passed: the hook refused it: 4
      | exit status: 1
      | 4
    pushed 2 of 3 images, 1 not passed by a gate
    ");
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json", "--max-failures", "0", "--keep-going"])), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: not-passed: the hook refused it: 4
      | exit status: 1
      | 4
    warning: [HOST]/team/mid:1: not-begun: 1 other image had failed
    warning: [HOST]/team/api:1: not-begun: 1 other image had failed
    pushed 0 of 3 images, 1 not passed by a gate, 2 not begun
    ");
    assert_snapshot!(context.run(&["fleet", "promote", "plan.json", "--only", "*/web"]), @r#"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: not-passed: its candidate did not pass the gate "hook"
    promoted 0 of 1 image, 1 not passed by a gate
    "#);
}

#[test]
fn what_hooks_are_told_and_say_is_written_down() {
    let context = planned("hook = [\"sh\", \"-c\", \"env | grep ^PALAN_ | sort\"]");
    context.run(&["fleet", "apply", "plan.json", "--wave", "canary"]).ok();
    let journal = std::fs::read_to_string(context.path("plan.journal.jsonl")).unwrap();
    let gate = journal.lines().find(|line| line.contains("\"event\":\"gate\"")).unwrap();
    let gate: serde_json::Value = serde_json::from_str(gate).unwrap();
    let said = context.filter(gate["output"].as_str().unwrap());
    let said: Vec<&str> = said.lines().map(|line| line.split("-palan-").next().unwrap()).collect();
    let expected = [
        "PALAN_CANDIDATE=[HOST]/team/web:1",
        "PALAN_DIGEST=sha256:…",
        "PALAN_IMAGE=[HOST]/team/web:1",
        "PALAN_WAVE=canary",
    ];
    assert_eq!(said, expected);
}

#[test]
fn hooks_that_pass_end_too_late_or_are_not_there() {
    let context = planned("hook = [\"sh\", \"-c\", \"test \\\"$PALAN_WAVE\\\" = canary\"]");
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json", "--wave", "canary"])), @"
    exit: 0
    --- stdout
    [HOST]/team/web:1-palan-…@sha256:…

    --- stderr
    pushed 1 of 1 image
    ");
    // It would wait for ever.
    let context = planned("hook = [\"sh\", \"-c\", \"tail -f /dev/null\"], hook-timeout = 1");
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "plan.json", "--wave", "canary"])), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: not-passed: the hook refused it: it did not end within 1 s
    pushed 0 of 1 image, 1 not passed by a gate
    ");
    // It has ended, whatever it left running.
    let context = planned("hook = [\"sh\", \"-c\", \"sleep 9 & echo fine\"], hook-timeout = 8");
    context.run(&["fleet", "apply", "plan.json", "--wave", "canary"]).ok();
    // What cannot be run is told before anything is pushed.
    let context = planned("hook = [\"./not-there\"]");
    let words = ["fleet", "apply", "plan.json", "--wave", "canary"];
    assert_snapshot!(shown(&context.run(&[&words[..], &["--dry-run"]].concat())), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: not-passed: the hook cannot be run: there is no ./not-there in the folder of the plan
    pushed 0 of 1 image, 1 not passed by a gate
    ");
    assert_snapshot!(shown(&context.run(&words)), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: not-passed: the hook cannot be run: there is no ./not-there in the folder of the plan
    pushed 0 of 1 image, 1 not passed by a gate
    ");
    assert_eq!(context.run(&["ls", "@@team/web"]).ok().text(), "1");
    context.write("not-there", "#!/bin/sh\n");
    assert_snapshot!(context.run(&words).stderr, @"
    warning: [HOST]/team/web:1: not-passed: the hook cannot be run: ./not-there may not be executed
    pushed 0 of 1 image, 1 not passed by a gate
    ");
    let context = planned("hook = [\"not-in-path\"]");
    assert_snapshot!(context.run_with(&words, &[("PATH", "/usr/bin:bin".as_ref())]).stderr, @"
    warning: [HOST]/team/web:1: not-passed: the hook cannot be run: there is no program not-in-path in PATH
    pushed 0 of 1 image, 1 not passed by a gate
    ");
}

#[test]
fn what_a_hook_said_is_told_where_it_refuses() {
    let context = planned(r#"hook = ["sh", "-c", "seq 1 30; printf '\\033[31mbad\\033[0m\\n' >&2; exit 3"]"#);
    let words = ["fleet", "apply", "plan.json", "--wave", "canary"];
    assert_snapshot!(context.run(&words).stderr, @"
    warning: [HOST]/team/web:1: not-passed: the hook refused it: bad
      | 12
      | 13
      | 14
      | 15
      | 16
      | 17
      | 18
      | 19
      | 20
      | 21
      | 22
      | 23
      | 24
      | 25
      | 26
      | 27
      | 28
      | 29
      | 30
      | bad
    pushed 0 of 1 image, 1 not passed by a gate
    ");
    let ran = context.run(&[&words[..], &["--format", "json"]].concat());
    let told: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
    let said = told[0]["said"].as_str().unwrap();
    assert!(said.starts_with("exit status: 3\n1\n2\n") && said.ends_with("30\nbad"), "{said}");
}

/// A plan is applied from anywhere, and its hook stands beside it.
#[cfg(unix)]
#[test]
fn hooks_are_found_beside_the_plan() {
    use std::os::unix::fs::PermissionsExt as _;
    let context = planned("hook = [\"./bin/smoke\", \"beside\"]");
    std::fs::create_dir_all(context.path("approved/bin")).unwrap();
    context.write("approved/bin/smoke", "#!/bin/sh\ntest -e \"$1\" && basename \"$PWD\"\n");
    context.write("approved/beside", "");
    let program = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(context.path("approved/bin/smoke"), program).unwrap();
    std::fs::rename(context.path("plan.json"), context.path("approved/plan.json")).unwrap();
    let words = ["fleet", "apply", "approved/plan.json", "--wave", "canary"];
    context.run(&[&words[..], &["--dry-run"]].concat()).ok();
    context.run(&words).ok();
    let journal = std::fs::read_to_string(context.path("approved/plan.journal.jsonl")).unwrap();
    assert!(journal.contains(r#""passed":true,"output":"approved""#), "{journal}");
    // What has passed needs no hook any more.
    std::fs::remove_file(context.path("approved/bin/smoke")).unwrap();
    let ran = context.run(&[&words[..], &["--dry-run"]].concat()).ok();
    assert_eq!(ran.stderr.trim_end(), "pushed 0 of 1 image, 1 already so");
}

/// Who holds a pipe lives.
#[cfg(unix)]
#[test]
fn a_hook_that_ends_too_late_takes_with_it_what_it_has_started() {
    let context = planned("hook = [\"sh\", \"-c\", \"tail -f /dev/null > held & wait\"], hook-timeout = 1");
    let pipe = context.path("held");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (ended, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(std::fs::read(pipe)));
    let ran = context.run(&["fleet", "apply", "plan.json", "--wave", "canary"]);
    assert!(ran.to_string().contains("it did not end within 1 s"), "{ran}");
    let held = heard.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(held.expect("what the hook has started still runs").unwrap(), b"");
}

#[test]
fn plans_and_journals_that_cannot_be_used() {
    let context = planned("");
    assert_snapshot!(context.run(&["fleet", "apply", "none.json"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.json
      caused by: No such file or directory (os error 2)
    ");
    context.write("bad.json", "{\"schema\": 1}");
    assert_snapshot!(context.run(&["fleet", "promote", "bad.json"]), @"
    exit: 7
    --- stdout

    --- stderr
    error: cannot use bad.json
      caused by: it is not a plan
      caused by: invalid type: integer `1`, expected a string at line 1 column 12
    ");
    assert_snapshot!(context.run(&["fleet", "rollback", "none.jsonl"]), @"
    exit: 3
    --- stdout

    --- stderr
    error: cannot read none.jsonl
      caused by: No such file or directory (os error 2)
    ");
    // Edited by hand: another digest than the rebase gives.
    let text = std::fs::read_to_string(context.path("plan.json")).unwrap();
    let plan = palan::fleet::Plan::parse(&text).unwrap();
    let (_, locked) = plan.rebases().find(|(entry, _)| entry.image.to_string().ends_with("/web:1")).unwrap();
    let edited = text.replace(&locked.new_digest.to_string(), &format!("sha256:{:064}", 1));
    context.write("edited.json", edited);
    assert_snapshot!(shown(&context.run(&["fleet", "apply", "edited.json", "--only", "*/web"])), @"
    exit: 12
    --- stdout

    --- stderr
    warning: [HOST]/team/web:1: failed: the rebase gives sha256:…, and the plan says sha256:…: it was edited, or made by another version
    pushed 0 of 1 image, 1 failed
    ");
    // Another plan's journal.
    context.run(&["fleet", "apply", "plan.json", "--wave", "canary"]).ok();
    let words = ["fleet", "apply", "edited.json", "--journal", "plan.journal.jsonl"];
    assert_snapshot!(context.run(&words), @"
    exit: 7
    --- stdout

    --- stderr
    error: the journal plan.journal.jsonl is of another plan (sha256:…)
    hint: it is the way back of that plan: keep it, and give this plan another one with --journal FILE
    ");
}

#[test]
fn one_run_at_a_time_writes_a_journal() {
    let context = planned("");
    let path = context.path("plan.journal.jsonl");
    let file = std::fs::File::create(&path).unwrap();
    file.lock().unwrap();
    assert_snapshot!(context.run(&["fleet", "apply", "plan.json"]), @"
    exit: 8
    --- stdout

    --- stderr
    error: the journal plan.journal.jsonl is being written by another run
    ");
    file.unlock().unwrap();
    // A line that was cut does not count.
    context.write("plan.journal.jsonl", "{\"at\": \"20");
    context.run(&["fleet", "apply", "plan.json", "--wave", "canary"]).ok();
}
