//! Where a fleet stands: one plan with everything that plans have, one journal with everything that can happen, and each
//! form of the report about them.

// Helpers are not tests to clippy, and a test fails by panicking.
#![allow(clippy::unwrap_used)]

mod markup;
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use insta::assert_snapshot;
use palan::fleet::{
    Action, Entry, Journal, Left, Missed, Plan, Record,
    report::{Report, Standing},
    states,
};

const PLAN: &str = include_str!("plan.json");
const JOURNAL: &str = include_str!("journal.jsonl");

fn plan() -> Plan {
    Plan::parse(PLAN).unwrap()
}

fn report() -> Report {
    let plan = plan();
    let journal = JOURNAL.replace("[PLAN]", &plan.digest().to_string());
    let records: Vec<Record> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Report::new(&plan, &states(&records))
}

/// Digests without most of their digits, and names without the registry that all of them share.
fn short(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, digest)) = rest.split_once("sha256:") {
        out.push_str(before);
        out.push_str("sha256:…");
        rest = &digest[64..];
    }
    (out + rest).replace("registry.example.com/", "r/")
}

#[test]
fn every_state_has_its_word() {
    let report = report();
    let words: BTreeSet<Standing> = report.images.iter().map(|image| image.state).collect();
    let mut all = BTreeSet::from(Standing::ALL);
    all.retain(|state| ![Standing::BaseUnknown, Standing::NoRule].contains(state));
    assert_eq!(words, all, "the fixture has all of them");
    let lines: Vec<String> = report
        .images
        .iter()
        .map(|image| {
            format!("{} {}: {}", image.image.repository().path(), image.state, image.reasons.join("; "))
        })
        .collect();
    assert_snapshot!(short(&lines.join("\n")), @r#"
    team/base-java promoted: 
    team/web promoted: 
    team/api pushed: 
    team/auth gate-failed: gate hook: exit code 1
    team/cart moved: promote: r/team/cart:1 was moved by somebody else meanwhile: expected sha256:…, found sha256:…
    team/mail held: its layers grow by 42 %, 10 % are accepted
    team/db failed: apply: registry.example.com refuses the push of team/db: denied & <gone>
    team/edge promoting: 
    team/front restored: 
    team/job planned: 
    team/legacy needs-rebuild: its verdict is db-shadowed, clean is accepted; /var/lib/dpkg/status is <the old one> & hides "libssl3" of @debian
    team/new nothing: stands on the new base already
    team/old failed: the manifest is gone: <404> & 'not found'
    team/raw held: nobody assessed it
    team/shop failed: rollback: registry.example.com does not answer
    team/typo failed: its candidate r/other/typo:1 is not a tag of the same repository
    "#);
    assert!(report.has_failures());
    assert!(Report::new(&plan(), &Default::default()).has_failures(), "a plan that failed for an image");
}

#[test]
fn what_is_left_alone_has_not_passed_for_that() {
    let mut plan = plan();
    let alone =
        plan.images.iter().find(|entry| matches!(entry.action, Action::Nothing { .. })).unwrap().clone();
    let all = [None, Some(Left::UpToDate), Some(Left::NoRule), Some(Left::BaseUnknown)]
        .map(|why| Entry { action: Action::Nothing { why, reason: "because".into() }, ..alone.clone() });
    plan.images = all.into();
    let report = Report::new(&plan, &Default::default());
    let states: Vec<Standing> = report.images.iter().map(|image| image.state).collect();
    assert_eq!(states, [Standing::Nothing, Standing::Nothing, Standing::NoRule, Standing::BaseUnknown]);
    assert!(
        report.to_junit().contains("tests=\"4\" failures=\"0\" errors=\"0\" skipped=\"2\""),
        "{}",
        report.to_junit()
    );
    assert_eq!((report.totals.concerned(), report.bases.len()), (1, 1));
    assert!(!report.has_failures());
    assert_eq!(report.totals.sentence(), "1 with an unknown base, 1 without a rule, 2 with nothing to do");
}

#[test]
fn groups_add_up() {
    let report = report();
    let count = |states: &palan::fleet::report::Counts| states.values().sum::<usize>();
    assert_eq!(report.totals.images, report.images.len());
    assert_eq!(count(&report.totals.states), report.images.len());
    assert_eq!(report.waves.iter().map(|wave| wave.totals.images).sum::<usize>(), report.images.len());
    let on_bases: usize = report.bases.iter().map(|base| base.totals.images).sum();
    assert_eq!(on_bases, report.totals.concerned());
    let bases: Vec<String> =
        report.bases.iter().map(|base| format!("{}: {}", base.change(), base.totals.sentence())).collect();
    assert_snapshot!(short(&bases.join("\n")), @r#"
    base r/base/debian:12 → 13: 2 promoted, 2 held, 1 moved by others, 1 stopped by a gate, 1 failed
    base r/base/jre:17 → 21: 1 being moved, 1 given back, 1 needs a rebuild, 2 failed
    base r/team/base-java:1 → new digest: 1 pushed
    base the first 2 layers <cut> & "more" ✂ → r/base/jre:21: 1 planned
    base not known: 1 failed
    "#);
}

#[test]
fn json() {
    let report: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
    let mut groups = report.clone();
    groups.as_object_mut().unwrap().remove("images");
    assert_snapshot!(short(&serde_json::to_string_pretty(&groups).unwrap()), @r#"
    {
      "schema": "palan.fleet.report/v1",
      "plan": "sha256:…",
      "rebase": {
        "check": "content",
        "config": "merge",
        "on-conflict": "app",
        "attestations": "drop",
        "referrers": true,
        "attest": false,
        "created": "2026-11-21T00:00:00Z"
      },
      "totals": {
        "images": 16,
        "states": {
          "promoted": 2,
          "promoting": 1,
          "pushed": 1,
          "planned": 1,
          "restored": 1,
          "held": 2,
          "needs-rebuild": 1,
          "moved": 1,
          "gate-failed": 1,
          "failed": 4,
          "nothing": 1
        },
        "size": 1835008000,
        "new_size": 1879051192
      },
      "waves": [
        {
          "name": "canary",
          "gates": {
            "accept": "shadowed",
            "accept-unassessed": false,
            "max-growth-percent": 10,
            "hook": [
              "./smoke",
              "--fast"
            ],
            "hook-timeout": 600,
            "signed-base": false
          },
          "images": 6,
          "states": {
            "promoted": 2,
            "pushed": 1,
            "held": 1,
            "moved": 1,
            "gate-failed": 1
          },
          "size": 503316480,
          "new_size": 549456824
        },
        {
          "name": "rest <&\"'> Übrige",
          "gates": {
            "accept": "clean",
            "accept-unassessed": false,
            "hook-timeout": 600,
            "signed-base": false
          },
          "images": 10,
          "states": {
            "promoting": 1,
            "planned": 1,
            "restored": 1,
            "held": 1,
            "needs-rebuild": 1,
            "failed": 4,
            "nothing": 1
          },
          "size": 1331691520,
          "new_size": 1329594368
        },
        {
          "name": "never",
          "gates": {
            "accept": "clean",
            "accept-unassessed": false,
            "hook-timeout": 600,
            "signed-base": false
          },
          "images": 0,
          "states": {},
          "size": 0,
          "new_size": 0
        }
      ],
      "bases": [
        {
          "base": "r/base/debian:12",
          "new_bases": [
            "r/base/debian:13"
          ],
          "images": 7,
          "states": {
            "promoted": 2,
            "held": 2,
            "moved": 1,
            "gate-failed": 1,
            "failed": 1
          },
          "size": 450887680,
          "new_size": 500173752,
          "rebuilds": []
        },
        {
          "base": "r/base/jre:17",
          "new_bases": [
            "r/base/jre:21"
          ],
          "images": 5,
          "states": {
            "promoting": 1,
            "restored": 1,
            "needs-rebuild": 1,
            "failed": 2
          },
          "size": 1048576000,
          "new_size": 1044381696,
          "rebuilds": [
            {
              "image": "r/team/legacy:1",
              "reasons": [
                "its verdict is db-shadowed, clean is accepted",
                "/var/lib/dpkg/status is <the old one> & hides \"libssl3\" of @debian"
              ]
            }
          ]
        },
        {
          "base": "r/team/base-java:1",
          "new_bases": [
            "r/team/base-java:1"
          ],
          "images": 1,
          "states": {
            "pushed": 1
          },
          "size": 125829120,
          "new_size": 123731968,
          "rebuilds": []
        },
        {
          "base": "the first 2 layers <cut> & \"more\" ✂",
          "new_bases": [
            "r/base/jre:21"
          ],
          "images": 1,
          "states": {
            "planned": 1
          },
          "size": 209715200,
          "new_size": 210763776,
          "rebuilds": []
        },
        {
          "new_bases": [],
          "images": 1,
          "states": {
            "failed": 1
          },
          "size": 0,
          "new_size": 0,
          "rebuilds": []
        }
      ],
      "verdicts": {
        "clean": 11,
        "db-shadowed": 1,
        "not-assessed": 1,
        "shadowed": 1
      },
      "held": {
        "verdict": 1,
        "not-assessed": 1,
        "growth": 1
      }
    }
    "#);
    let of = |name: &str| {
        let images = report["images"].as_array().unwrap();
        let image = images.iter().find(|image| image["image"].as_str().unwrap().contains(name)).unwrap();
        short(&serde_json::to_string_pretty(image).unwrap())
    };
    assert_snapshot!(of("/auth:"), @r#"
    {
      "image": "r/team/auth:1",
      "digest": "sha256:…",
      "wave": "canary",
      "action": "rebase",
      "state": "gate-failed",
      "reasons": [
        "gate hook: exit code 1"
      ],
      "gate": {
        "name": "hook",
        "output": "\nFAIL smoke <&\"'> ]]> ```` Übung 日本\nexit code 1"
      },
      "old_base": "r/base/debian:12",
      "new_base": "r/base/debian:13@sha256:…",
      "verdict": "shadowed",
      "new_digest": "sha256:…",
      "candidate": "r/team/auth:1-candidate-ba1628b57875",
      "backup": "r/team/auth:1-before-bdf49c3c3882",
      "size": 62914560,
      "new_size": 69206016,
      "platforms": [
        {
          "platform": "linux/amd64",
          "old_base": "r/base/debian:12",
          "evidence": "manifest-annotation",
          "boundary": 2,
          "verdict": "shadowed"
        },
        {
          "platform": "linux/arm64",
          "old_base": "r/base/debian:12",
          "evidence": "manifest-annotation",
          "boundary": 3,
          "verdict": "shadowed"
        }
      ],
      "findings": [
        "shadowed: /etc/ssl/certs/<ca> & \"friends\" | `tick` *star*"
      ]
    }
    "#);
    assert_snapshot!(of("/raw:"), @r#"
    {
      "image": "r/team/raw:1",
      "digest": "sha256:…",
      "wave": "rest <&\"'> Übrige",
      "action": "hold",
      "state": "held",
      "reasons": [
        "nobody assessed it"
      ],
      "held_by": [
        "not-assessed"
      ],
      "old_base": "r/base/debian:12",
      "new_base": "r/base/debian:13@sha256:…",
      "verdict": "not-assessed",
      "new_digest": "sha256:…",
      "candidate": "r/team/raw:1-candidate-073c9a819a10",
      "backup": "r/team/raw:1-before-d7439bee2477",
      "size": 10485760,
      "new_size": 12582912,
      "platforms": [
        {
          "platform": "windows/amd64:10.0.17763.1",
          "old_base": "r/base/debian:12",
          "evidence": "manifest-annotation",
          "boundary": 2,
          "verdict": "not-assessed"
        }
      ]
    }
    "#);
    assert_snapshot!(of("/old:"), @r#"
    {
      "image": "r/team/old:1",
      "wave": "rest <&\"'> Übrige",
      "action": "fail",
      "state": "failed",
      "reasons": [
        "the manifest is gone: <404> & 'not found'"
      ]
    }
    "#);
}

#[test]
fn junit() {
    let text = report().to_junit();
    let xml = markup::read(&text, false);
    assert_eq!(xml.values("testcase", "name").len(), 16);
    assert!(xml.values("testsuite", "name").contains(&"rest <&\"'> Übrige"));
    assert!(xml.text.contains("]]> ```` Übung 日本"), "{}", xml.text);
    let number =
        |element, key| xml.values(element, key).iter().map(|n| n.parse::<usize>().unwrap()).sum::<usize>();
    for (key, element) in [("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")] {
        let there = xml.tags.iter().filter(|(name, _)| name == element).count();
        assert_eq!((number("testsuites", key), number("testsuite", key)), (there, there), "{key}");
    }
    assert_snapshot!(short(&text), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="palan fleet" tests="16" failures="6" errors="0" skipped="6">
      <testsuite name="canary" tests="6" failures="2" errors="0" skipped="1">
        <testcase name="r/team/base-java:1" classname="canary">
          <system-out>state: promoted
    base: r/base/debian:12 → 13
    verdict: clean
    layers: −2.00 MiB (−2 %)</system-out>
        </testcase>
        <testcase name="r/team/web:1" classname="canary">
          <system-out>state: promoted
    base: r/base/debian:12 → 13
    verdict: clean
    layers: +2.93 KiB (&lt;1 %)</system-out>
        </testcase>
        <testcase name="r/team/api:1" classname="canary">
          <system-out>state: pushed
    base: r/team/base-java:1 → new digest
    verdict: clean
    layers: −2.00 MiB (−1 %)</system-out>
        </testcase>
        <testcase name="r/team/auth:1" classname="canary">
          <failure message="gate-failed: gate hook: exit code 1" type="gate-failed">gate hook: exit code 1</failure>
          <system-out>state: gate-failed
    base: r/base/debian:12 → 13
    verdict: shadowed
    layers: +6.00 MiB (+10 %)
    finding: shadowed: /etc/ssl/certs/&lt;ca&gt; &amp; &quot;friends&quot; | `tick` *star*
    gate hook:

    FAIL smoke &lt;&amp;&quot;&#39;&gt; ]]&gt; ```` Übung 日本
    exit code 1</system-out>
        </testcase>
        <testcase name="r/team/cart:1" classname="canary">
          <failure message="moved: promote: r/team/cart:1 was moved by somebody else meanwhile: expected sha256:…, found sha256:…" type="moved">promote: r/team/cart:1 was moved by somebody else meanwhile: expected sha256:…, found sha256:…</failure>
          <system-out>state: moved
    base: r/base/debian:12 → 13
    verdict: clean
    layers: ±0 B</system-out>
        </testcase>
        <testcase name="r/team/mail:1" classname="canary">
          <skipped message="held: its layers grow by 42 %, 10 % are accepted"/>
          <system-out>state: held
    base: r/base/debian:12 → 13
    verdict: clean
    layers: +42.0 MiB (+42 %)</system-out>
        </testcase>
      </testsuite>
      <testsuite name="rest &lt;&amp;&quot;&#39;&gt; Übrige" tests="10" failures="4" errors="0" skipped="5">
        <testcase name="r/team/db:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <failure message="failed: apply: registry.example.com refuses the push of team/db: denied &amp; &lt;gone&gt;" type="failed">apply: registry.example.com refuses the push of team/db: denied &amp; &lt;gone&gt;</failure>
          <system-out>state: failed
    base: r/base/debian:12 → 13
    verdict: clean
    layers: −1.00 MiB (−1 %)</system-out>
        </testcase>
        <testcase name="r/team/edge:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <skipped message="promoting"/>
          <system-out>state: promoting
    base: r/base/jre:17 → 21
    verdict: clean
    layers: −10.0 MiB (−5 %)</system-out>
        </testcase>
        <testcase name="r/team/front:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <skipped message="restored"/>
          <system-out>state: restored
    base: r/base/jre:17 → 21
    verdict: clean
    layers: +1.00 MiB (&lt;1 %)</system-out>
        </testcase>
        <testcase name="r/team/job:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <skipped message="planned"/>
          <system-out>state: planned
    base: the first 2 layers &lt;cut&gt; &amp; &quot;more&quot; ✂ → r/base/jre:21
    verdict: clean
    layers: +1.00 MiB (&lt;1 %)</system-out>
        </testcase>
        <testcase name="r/team/legacy:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <skipped message="needs-rebuild: its verdict is db-shadowed, clean is accepted (and 1 more)"/>
          <system-out>state: needs-rebuild
    base: r/base/jre:17 → 21
    verdict: db-shadowed
    layers: +5.00 MiB (+2 %)
    finding: package database: 3 packages &lt;differ&gt;</system-out>
        </testcase>
        <testcase name="r/team/new:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <system-out>state: nothing</system-out>
        </testcase>
        <testcase name="r/team/old:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <failure message="failed: the manifest is gone: &lt;404&gt; &amp; &#39;not found&#39;" type="failed">the manifest is gone: &lt;404&gt; &amp; &#39;not found&#39;</failure>
          <system-out>state: failed</system-out>
        </testcase>
        <testcase name="r/team/raw:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <skipped message="held: nobody assessed it"/>
          <system-out>state: held
    base: r/base/debian:12 → 13
    verdict: not-assessed
    layers: +2.00 MiB (+20 %)</system-out>
        </testcase>
        <testcase name="r/team/shop:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <failure message="failed: rollback: registry.example.com does not answer" type="failed">rollback: registry.example.com does not answer</failure>
          <system-out>state: failed
    base: r/base/jre:17 → 21
    verdict: clean
    layers: ±0 B</system-out>
        </testcase>
        <testcase name="r/team/typo:1" classname="rest &lt;&amp;&quot;&#39;&gt; Übrige">
          <failure message="failed: its candidate r/other/typo:1 is not a tag of the same repository" type="failed">its candidate r/other/typo:1 is not a tag of the same repository</failure>
          <system-out>state: failed
    base: r/base/jre:17 → 21
    verdict: clean
    layers: ±0 B</system-out>
        </testcase>
      </testsuite>
      <testsuite name="never" tests="0" failures="0" errors="0" skipped="0">
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn markdown() {
    // A space without width would not be seen here.
    let text = report().to_markdown().replace('\u{200b}', "[nothing]");
    assert_snapshot!(short(&text), @r#"
    ## Fleet: 2 of 15 images promoted

    **2 promoted, 1 being moved, 1 pushed, 1 planned, 1 given back, 2 held, 1 needs a rebuild, 1 moved by others, 1 stopped by a gate, 4 failed, 1 with nothing to do** · layers 1.71 GiB → 1.75 GiB, +42.0 MiB (+2 %)

    - wave `canary`: 2 promoted, 1 pushed, 1 held, 1 moved by others, 1 stopped by a gate
      - gates: `accept = "shadowed", accept-unassessed = false, max-growth-percent = 10, hook = ["./smoke","--fast"], hook-timeout = 600, signed-base = false`
    - wave `rest <&"'> Übrige`: 1 being moved, 1 planned, 1 given back, 1 held, 1 needs a rebuild, 4 failed, 1 with nothing to do
      - gates: `accept = "clean", accept-unassessed = false, signed-base = false`
    - rebase: `check = "content", config = "merge", on-conflict = "app", attestations = "drop", referrers = true, attest = false, created = "2026-11-21T00:00:00Z"`

    Plan `sha256:…`

    ### By base

    | base | becomes | images | states |
    |---|---|---:|---|
    | `r/base/debian:12` | `r/base/debian:13` | 7 | 2 promoted, 2 held, 1 moved by others, 1 stopped by a gate, 1 failed |
    | `r/base/jre:17` | `r/base/jre:21` | 5 | 1 being moved, 1 given back, 1 needs a rebuild, 2 failed |
    | `r/team/base-java:1` | new digest | 1 | 1 pushed |
    | `the first 2 layers <cut> & "more" ✂` | `r/base/jre:21` | 1 | 1 planned |
    | not known |  | 1 | 1 failed |

    <details><summary>Failed: 4 images</summary>

    - `r/team/db:1`
      - apply: registry.example.com refuses the push of team/db: denied &amp; &lt;gone&gt;
    - `r/team/old:1`
      - the manifest is gone: &lt;404&gt; &amp; 'not found'
    - `r/team/shop:1`
      - rollback: registry.example.com does not answer
    - `r/team/typo:1`
      - its candidate r/other/typo:1 is not a tag of the same repository

    </details>

    <details><summary>Stopped by a gate: 1 image</summary>

    - `r/team/auth:1`
      - gate hook: exit code 1
      - shadowed: /etc/ssl/certs/&lt;ca&gt; &amp; "friends" \| \`tick\` \*star\*

        `````text
        
        FAIL smoke <&"'> ]]> ```` Übung 日本
        exit code 1
        `````


    </details>

    <details><summary>Moved by somebody else, and left alone: 1 image</summary>

    - `r/team/cart:1`
      - promote: r/team/cart:1 was moved by somebody else meanwhile: expected sha256:…, found sha256:…

    </details>

    <details><summary>Need a rebuild: 1 image</summary>

    - `r/team/legacy:1`
      - its verdict is db-shadowed, clean is accepted
      - /var/lib/dpkg/status is &lt;the old one&gt; &amp; hides "libssl3" of @[nothing]debian
      - package database: 3 packages &lt;differ&gt;

    </details>

    <details><summary>Held for a decision: 2 images</summary>

    - `r/team/mail:1`
      - its layers grow by 42 %, 10 % are accepted
    - `r/team/raw:1`
      - nobody assessed it

    </details>

    ### All images

    | image | wave | state | verdict | base | layers |
    |---|---|---|---|---|---|
    | `r/team/base-java:1` | `canary` | promoted | clean | `r/base/debian:12 → 13` | −2.00 MiB (−2 %) |
    | `r/team/web:1` | `canary` | promoted | clean | `r/base/debian:12 → 13` | +2.93 KiB (&lt;1 %) |
    | `r/team/api:1` | `canary` | pushed | clean | `r/team/base-java:1 → new digest` | −2.00 MiB (−1 %) |
    | `r/team/auth:1` | `canary` | gate-failed | shadowed | `r/base/debian:12 → 13` | +6.00 MiB (+10 %) |
    | `r/team/cart:1` | `canary` | moved | clean | `r/base/debian:12 → 13` | ±0 B |
    | `r/team/mail:1` | `canary` | held | clean | `r/base/debian:12 → 13` | +42.0 MiB (+42 %) |
    | `r/team/db:1` | `rest <&"'> Übrige` | failed | clean | `r/base/debian:12 → 13` | −1.00 MiB (−1 %) |
    | `r/team/edge:1` | `rest <&"'> Übrige` | promoting | clean | `r/base/jre:17 → 21` | −10.0 MiB (−5 %) |
    | `r/team/front:1` | `rest <&"'> Übrige` | restored | clean | `r/base/jre:17 → 21` | +1.00 MiB (&lt;1 %) |
    | `r/team/job:1` | `rest <&"'> Übrige` | planned | clean | `the first 2 layers <cut> & "more" ✂ → r/base/jre:21` | +1.00 MiB (&lt;1 %) |
    | `r/team/legacy:1` | `rest <&"'> Übrige` | needs-rebuild | db-shadowed | `r/base/jre:17 → 21` | +5.00 MiB (+2 %) |
    | `r/team/new:1` | `rest <&"'> Übrige` | nothing |  |  |  |
    | `r/team/old:1` | `rest <&"'> Übrige` | failed |  |  |  |
    | `r/team/raw:1` | `rest <&"'> Übrige` | held | not-assessed | `r/base/debian:12 → 13` | +2.00 MiB (+20 %) |
    | `r/team/shop:1` | `rest <&"'> Übrige` | failed | clean | `r/base/jre:17 → 21` | ±0 B |
    | `r/team/typo:1` | `rest <&"'> Übrige` | failed | clean | `r/base/jre:17 → 21` | ±0 B |
    "#);
}

#[test]
fn prometheus() {
    let text = report().to_prometheus();
    let mut series = BTreeSet::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind, format!("{family} gauge"));
        } else {
            let labels = sample(line.strip_prefix(&family).unwrap());
            assert!(series.insert((family.clone(), labels)), "twice: {line}");
        }
    }
    let wave = "rest <&\"'> Übrige".to_owned();
    assert!(
        series.iter().any(|(_, labels)| labels.contains(&("wave".to_owned(), wave.clone()))),
        "{series:?}"
    );
    let shown: Vec<&str> = text.lines().filter(|line| !line.ends_with(" 0")).collect();
    assert_snapshot!(short(&shown.join("\n")), @r#"
    # HELP palan_fleet_images Images of the plan, by wave and by how far they have come.
    # TYPE palan_fleet_images gauge
    palan_fleet_images{wave="canary",state="promoted"} 2
    palan_fleet_images{wave="canary",state="pushed"} 1
    palan_fleet_images{wave="canary",state="held"} 1
    palan_fleet_images{wave="canary",state="moved"} 1
    palan_fleet_images{wave="canary",state="gate-failed"} 1
    palan_fleet_images{wave="rest <&\"'> Übrige",state="promoting"} 1
    palan_fleet_images{wave="rest <&\"'> Übrige",state="planned"} 1
    palan_fleet_images{wave="rest <&\"'> Übrige",state="restored"} 1
    palan_fleet_images{wave="rest <&\"'> Übrige",state="held"} 1
    palan_fleet_images{wave="rest <&\"'> Übrige",state="needs-rebuild"} 1
    palan_fleet_images{wave="rest <&\"'> Übrige",state="failed"} 4
    palan_fleet_images{wave="rest <&\"'> Übrige",state="nothing"} 1
    # HELP palan_fleet_images_on_base Images that stood on a base when the plan was made, by how far they have come.
    # TYPE palan_fleet_images_on_base gauge
    palan_fleet_images_on_base{base="r/base/debian:12",state="promoted"} 2
    palan_fleet_images_on_base{base="r/base/debian:12",state="held"} 2
    palan_fleet_images_on_base{base="r/base/debian:12",state="moved"} 1
    palan_fleet_images_on_base{base="r/base/debian:12",state="gate-failed"} 1
    palan_fleet_images_on_base{base="r/base/debian:12",state="failed"} 1
    palan_fleet_images_on_base{base="r/base/jre:17",state="promoting"} 1
    palan_fleet_images_on_base{base="r/base/jre:17",state="restored"} 1
    palan_fleet_images_on_base{base="r/base/jre:17",state="needs-rebuild"} 1
    palan_fleet_images_on_base{base="r/base/jre:17",state="failed"} 2
    palan_fleet_images_on_base{base="r/team/base-java:1",state="pushed"} 1
    palan_fleet_images_on_base{base="the first 2 layers <cut> & \"more\" ✂",state="planned"} 1
    palan_fleet_images_on_base{base="",state="failed"} 1
    # HELP palan_fleet_verdicts Results by verdict.
    # TYPE palan_fleet_verdicts gauge
    palan_fleet_verdicts{verdict="clean"} 11
    palan_fleet_verdicts{verdict="shadowed"} 1
    palan_fleet_verdicts{verdict="db-shadowed"} 1
    palan_fleet_verdicts{verdict="not-assessed"} 1
    # HELP palan_fleet_held Images that are held, by the gate; one can be held by several.
    # TYPE palan_fleet_held gauge
    palan_fleet_held{reason="verdict"} 1
    palan_fleet_held{reason="not-assessed"} 1
    palan_fleet_held{reason="growth"} 1
    # HELP palan_fleet_layer_bytes Compressed layers of all images that have a result, before and after.
    # TYPE palan_fleet_layer_bytes gauge
    palan_fleet_layer_bytes{when="before"} 1835008000
    palan_fleet_layer_bytes{when="after"} 1879051192
    # HELP palan_fleet_missed Names that could not be looked at when the plan was made: their images are not in it.
    # TYPE palan_fleet_missed gauge
    "#);
}

/// The labels of a sample: `{a="b",c="d"} 1`.
fn sample(text: &str) -> Vec<(String, String)> {
    if let Some(value) = text.strip_prefix(' ') {
        value.parse::<u64>().unwrap();
        return Vec::new();
    }
    let (mut labels, mut rest) = (Vec::new(), text.strip_prefix('{').unwrap());
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name:?}");
        let (mut out, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().unwrap() {
                (end, '"') => break end,
                (_, '\\') => out.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    other => panic!("escape {other:?}"),
                }),
                (_, '\n') => panic!("a line break"),
                (_, c) => out.push(c),
            }
        };
        labels.push((name.to_owned(), out));
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    rest.strip_prefix("} ").unwrap().parse::<u64>().unwrap();
    labels
}

#[test]
fn html() {
    let text = report().to_html();
    let page = markup::read(&text, true);
    for (name, _) in &page.tags {
        assert!(!["link", "img", "iframe", "object"].contains(&name.as_str()), "<{name}> loads something");
    }
    for attribute in ["src", "href", "srcset", "onclick"] {
        assert!(
            page.tags.iter().all(|(_, all)| all.iter().all(|(name, _)| name != attribute)),
            "{attribute}"
        );
    }
    assert!(!text.contains("url(") && !text.contains("@import"), "the style loads something");
    assert_eq!(page.values("tr", "data-state").len(), 16);
    assert!(page.text.contains("the first 2 layers <cut> & \"more\" ✂"));
    let section = |from: &str, to: &str| {
        let start = text.find(from).unwrap();
        let end = text[start..].find(to).unwrap();
        short(&text[start..start + end])
    };
    assert_snapshot!(section("<header>", "<main>"), @r#"
    <header>
    <p class="over">Fleet report <span title="sha256:…">plan 9fb38307cca8</span></p>
    <h1>2 of 15 images promoted</h1>
    <div class="bar large" role="img" aria-label="2 promoted, 1 being moved, 1 pushed, 1 planned, 1 given back, 2 held, 1 needs a rebuild, 1 moved by others, 1 stopped by a gate, 4 failed"><i class="s-promoted" style="flex-grow:2" title="2 promoted"></i><i class="s-promoting" style="flex-grow:1" title="1 being moved"></i><i class="s-pushed" style="flex-grow:1" title="1 pushed"></i><i class="s-planned" style="flex-grow:1" title="1 planned"></i><i class="s-restored" style="flex-grow:1" title="1 given back"></i><i class="s-held" style="flex-grow:2" title="2 held"></i><i class="s-needs-rebuild" style="flex-grow:1" title="1 needs a rebuild"></i><i class="s-moved" style="flex-grow:1" title="1 moved by others"></i><i class="s-gate-failed" style="flex-grow:1" title="1 stopped by a gate"></i><i class="s-failed" style="flex-grow:4" title="4 failed"></i></div>
    <ul class="stats">
    <li class="s-promoted"><b>2</b> promoted</li>
    <li class="s-promoting"><b>1</b> being moved</li>
    <li class="s-pushed"><b>1</b> pushed</li>
    <li class="s-planned"><b>1</b> planned</li>
    <li class="s-restored"><b>1</b> given back</li>
    <li class="s-held"><b>2</b> held</li>
    <li class="s-needs-rebuild"><b>1</b> needs a rebuild</li>
    <li class="s-moved"><b>1</b> moved by others</li>
    <li class="s-gate-failed"><b>1</b> stopped by a gate</li>
    <li class="s-failed"><b>4</b> failed</li>
    <li class="s-nothing"><b>1</b> with nothing to do</li>
    </ul>
    <p class="note">Layers: 1.71 GiB before, 1.75 GiB after, +42.0 MiB (+2 %)</p>
    </header>
    "#);
    assert_snapshot!(section("<details class=\"card kind\" open>\n<summary><span class=\"badge s-gate-failed\"", "</details>"), @r#"
    <details class="card kind" open>
    <summary><span class="badge s-gate-failed">gate-failed</span> <b>1 image</b> <span class="note">The candidate was pushed and did not pass a gate; the tag has not moved.</span></summary>
    <ul>
    <li><div><p class="name"><span class="path">r/team/</span><wbr><span class="last">auth:1</span> <span class="badge s-shadowed">shadowed</span></p><p class="note">r/base/debian:12 → 13</p></div>
    <div class="why">
    <p>gate hook: exit code 1</p>
    <p>shadowed: /etc/ssl/certs/&lt;ca&gt; &amp; &quot;friends&quot; | `tick` *star*</p>
    <pre>FAIL smoke &lt;&amp;&quot;&#39;&gt; ]]&gt; ```` Übung 日本
    exit code 1</pre>
    </div></li>
    </ul>
    "#);
    let row = section("<tr data-state=\"needs-rebuild\"", "</tr>");
    assert_snapshot!(row, @r#"
    <tr data-state="needs-rebuild" data-wave="rest &lt;&amp;&quot;&#39;&gt; Übrige">
    <td><details><summary><span class="path">r/team/</span><wbr><span class="last">legacy:1</span></summary>
    <dl>
    <dt>because</dt><dd>its verdict is db-shadowed, clean is accepted</dd>
    <dt>because</dt><dd>/var/lib/dpkg/status is &lt;the old one&gt; &amp; hides &quot;libssl3&quot; of @debian</dd>
    <dt>finding</dt><dd>package database: 3 packages &lt;differ&gt;</dd>
    <dt>linux/amd64</dt><dd>2 layers of r/base/jre:17, found by manifest-annotation; db-shadowed</dd>
    <dt>linux/arm64</dt><dd>3 layers of r/base/jre:17, found by manifest-annotation; db-shadowed</dd>
    <dt>digest</dt><dd><code>sha256:…</code></dd>
    <dt>becomes</dt><dd><code>sha256:…</code></dd>
    <dt>new base</dt><dd>r/base/jre:21@sha256:…</dd>
    <dt>candidate</dt><dd>r/team/legacy:1-candidate-8abe2a443630</dd>
    <dt>backup</dt><dd>r/team/legacy:1-before-c49fea7425fa</dd>
    </dl></details></td><td data-sort="1">rest &lt;&amp;&quot;&#39;&gt; Übrige</td><td data-sort="6"><span class="badge s-needs-rebuild">needs-rebuild</span></td><td data-sort="4"><span class="badge s-db-shadowed">db-shadowed</span></td><td><span class="path">r/base/</span><wbr><span class="last">jre:17</span> <span class="arrow">→</span> <span class="last">21</span></td><td class="note">amd64, arm64</td><td class="number" data-sort="5242880">+5.00 MiB (+2 %)</td>
    "#);
}

/// Nothing was done, and there is nothing: no division by zero, no empty heading.
#[test]
fn an_empty_plan_has_a_report() {
    let plan = Plan { images: Vec::new(), waves: Vec::new(), ..plan() };
    let report = Report::new(&plan, &Default::default());
    assert!(!report.has_failures());
    markup::read(&report.to_html(), true);
    markup::read(&report.to_junit(), false);
    assert_snapshot!(short(&report.to_markdown()), @r#"
    ## Fleet: 0 of 0 images promoted

    - rebase: `check = "content", config = "merge", on-conflict = "app", attestations = "drop", referrers = true, attest = false, created = "2026-11-21T00:00:00Z"`

    Plan `sha256:…`
    "#);
    assert!(report.to_html().contains("0 of 0 images promoted"));
}

#[test]
fn a_journal_is_beside_its_plan() {
    let cases = [
        ("plan.json", "plan.journal.jsonl"),
        ("dir/fleet.plan.json", "dir/fleet.plan.journal.jsonl"),
        ("plan", "plan.journal.jsonl"),
    ];
    for (plan, journal) in cases {
        assert_eq!(Journal::path_beside(Path::new(plan)), Path::new(journal));
    }
}

#[test]
fn what_was_not_looked_at_is_in_every_form() {
    let missed = Missed {
        image: "down.example.com/team/*".into(),
        named_in: vec!["repositories".into()],
        reason: "the catalog <cannot> be read".into(),
    };
    let plan = Plan { missed: vec![missed], ..plan() };
    let report = Report::new(&plan, &BTreeMap::new());
    assert!(report.has_failures());
    assert!(report.to_json().contains("\"image\": \"down.example.com/team/*\""));
    let markdown = report.to_markdown();
    assert!(
        markdown.contains("\n- `down.example.com/team/*`: the catalog &lt;cannot&gt; be read\n"),
        "{markdown}"
    );
    let junit = report.to_junit();
    assert!(
        junit.contains("<failure message=\"the catalog &lt;cannot&gt; be read\" type=\"missed\">"),
        "{junit}"
    );
    let counted = format!("tests=\"{}\"", plan.images.len() + 1);
    assert!(junit.lines().nth(1).unwrap().contains(&counted), "{junit}");
    assert!(report.to_prometheus().ends_with("\npalan_fleet_missed 1\n"));
    let html = report.to_html();
    assert!(html.contains("<p>the catalog &lt;cannot&gt; be read</p>"), "{html}");
}
