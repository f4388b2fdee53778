//! Files for running a fleet regularly: they can be read, what they run is understood, and they have the rights that they say.

use serde_json::Value;

use crate::TestContext;

const CRON: &str = include_str!("../../../../docs/guide/fleet/cron");
const GITHUB: &str = include_str!("../../../../docs/guide/fleet/github-actions.yml");
const GITLAB: &str = include_str!("../../../../docs/guide/fleet/gitlab-ci.yml");
const KUBERNETES: &str = include_str!("../../../../docs/guide/fleet/kubernetes-cronjob.yaml");

fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// All strings of a document.
fn strings<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(all) => all.iter().for_each(|value| strings(value, out)),
        Value::Object(all) => all.values().for_each(|value| strings(value, out)),
        _ => {}
    }
}

/// The calls of palan in shell scripts, one each.
fn calls(scripts: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for line in scripts.iter().flat_map(|script| script.lines()) {
        for command in line.split("&&").flat_map(|part| part.split("||")) {
            let command = command.split(" >").next().unwrap_or_default().trim();
            if command.starts_with("palan ") {
                out.push(command.to_owned());
            }
        }
    }
    out
}

/// Runs each where there is no file: it is understood when the file is all that is missing.
#[track_caller]
fn are_understood(calls: &[String]) {
    let context = TestContext::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_palan")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    for call in calls {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", call]).env_clear().current_dir(context.path(""));
        shell.env("PATH", &path).env("HOME", context.home(""));
        shell.env("STATE", "localhost:1/state").env("JOB_COMPLETION_INDEX", "3");
        let ran = context.show(shell.output().unwrap());
        assert_eq!(ran.code, Some(3), "{call}\n{ran}");
        assert!(ran.stderr.contains("cannot read "), "{call}\n{ran}");
    }
}

#[test]
fn what_cron_runs_is_understood() {
    let lines: Vec<&str> =
        CRON.lines().filter(|line| line.contains("palan ") && !line.starts_with('#')).collect();
    let mut scripts = Vec::new();
    for line in &lines {
        let fields: Vec<&str> = line.split_whitespace().take(6).collect();
        let is_time = |field: &&str| field.chars().all(|c| c.is_ascii_digit() || "*-,/".contains(c));
        assert!(fields[..5].iter().all(is_time), "{line}");
        let writes = line.contains("fleet apply") || line.contains("fleet promote");
        assert_eq!(fields[5], if writes { "fleet-write" } else { "fleet-read" }, "{line}");
        // To cron, a percent sign is a line break.
        assert!(!line.contains('%'), "{line}");
        scripts.push(line.split_once(fields[5]).unwrap().1);
    }
    let calls = calls(&scripts);
    assert_eq!(calls.len(), 6, "{calls:?}");
    are_understood(&calls);
}

#[test]
fn what_github_runs_is_understood() {
    let [workflow]: [Value; 1] = yaml(GITHUB).try_into().unwrap();
    let mut scripts = Vec::new();
    strings(&workflow, &mut scripts);
    let calls = calls(&scripts);
    assert_eq!(calls.len(), 6, "{calls:?}");
    are_understood(&calls);
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    let jobs = workflow["jobs"].as_object().unwrap();
    for (name, job) in jobs {
        let rights = job["permissions"].as_object().unwrap();
        assert!(rights.values().all(|right| right == "read"), "{name}");
    }
    assert_eq!(jobs["plan"]["env"]["DOCKER_AUTH_CONFIG"], "${{ secrets.FLEET_READ }}");
    assert_eq!(jobs["run"]["environment"], "fleet");
}

#[test]
fn what_gitlab_runs_is_understood() {
    let [pipeline]: [Value; 1] = yaml(GITLAB).try_into().unwrap();
    let mut scripts = Vec::new();
    strings(&pipeline, &mut scripts);
    let calls = calls(&scripts);
    assert_eq!(calls.len(), 7, "{calls:?}");
    are_understood(&calls);
    assert_eq!(pipeline["plan"]["variables"]["DOCKER_AUTH_CONFIG"], "$FLEET_READ");
    for (name, job) in pipeline.as_object().unwrap() {
        if job["extends"] == ".write" {
            assert_eq!(job["when"], "manual", "{name}");
        }
    }
}

#[test]
fn what_kubernetes_runs_is_understood_and_has_no_rights() {
    let documents = yaml(KUBERNETES);
    let kinds: Vec<&str> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["PersistentVolumeClaim", "CronJob", "Job", "Job"]);
    let mut scripts = Vec::new();
    documents.iter().for_each(|document| strings(document, &mut scripts));
    let calls = calls(&scripts);
    assert_eq!(calls.len(), 5, "{calls:?}");
    are_understood(&calls);
    for document in &documents[1..] {
        let job = document.pointer("/spec/jobTemplate/spec").unwrap_or(&document["spec"]);
        let pod = &job["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        let locked = serde_json::json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], locked);
        assert!(container["resources"]["limits"]["memory"].is_string());
        // What is mounted is there, and the login is the one that the pod may have.
        let volumes = pod["volumes"].as_array().unwrap();
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
        }
        let login = if document["kind"] == "CronJob" { "fleet-read" } else { "fleet-write" };
        assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == login), "{login}");
    }
    let parts = &documents[2]["spec"];
    assert_eq!(parts["completionMode"], "Indexed");
    let of = format!("/{}", parts["completions"]);
    assert!(calls.iter().any(|call| call.contains(&format!("$((JOB_COMPLETION_INDEX+1)){of}"))));
}
