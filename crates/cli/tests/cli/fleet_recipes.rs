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
            // In brackets where the exit code is looked at.
            let command = command.split(" >").next().unwrap_or_default().trim().trim_matches(['(', ')']);
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
        CRON.lines().filter(|line| line.contains(" fleet-") && !line.starts_with('#')).collect();
    let mut scripts = Vec::new();
    for line in &lines {
        let fields: Vec<&str> = line.split_whitespace().take(6).collect();
        let is_time = |field: &&str| field.chars().all(|c| c.is_ascii_digit() || "*-,/".contains(c));
        assert!(fields[..5].iter().all(is_time), "{line}");
        let writes = line.contains("/approved") && !line.contains("fleet status");
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
    assert_eq!(calls.len(), 7, "{calls:?}");
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
    assert_eq!(kinds, ["CronJob", "Job", "Job", "Job"]);
    let mut scripts = Vec::new();
    documents.iter().for_each(|document| strings(document, &mut scripts));
    let calls = calls(&scripts);
    assert_eq!(calls.len(), 5, "{calls:?}");
    are_understood(&calls);
    are_understood(&["palan fleet show /scratch/plan.json".to_owned()]);
    for document in &documents {
        let job = document.pointer("/spec/jobTemplate/spec").unwrap_or(&document["spec"]);
        let pod = &job["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let volumes = pod["volumes"].as_array().unwrap();
        let containers = ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array());
        for container in containers.flatten() {
            let locked = serde_json::json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], locked);
            assert!(container["resources"]["limits"]["memory"].is_string());
            // What is mounted is there, and the login is the one that the pod may have.
            for mount in container["volumeMounts"].as_array().unwrap() {
                assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
            }
        }
        // Programs of hooks stand beside the plan.
        if document["kind"] == "Job" {
            let plan = volumes.iter().find(|volume| volume["name"] == "plan").unwrap();
            assert_eq!(plan["configMap"]["defaultMode"], 0o555);
        }
        let login = if document["kind"] == "CronJob" { "fleet-read" } else { "fleet-write" };
        assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == login), "{login}");
    }
    let parts = &documents[1]["spec"];
    assert_eq!(parts["completionMode"], "Indexed");
    let of = format!("/{}", parts["completions"]);
    assert!(calls.iter().any(|call| call.contains(&format!("$((JOB_COMPLETION_INDEX+1)){of}"))));
}

/// What single images end with ends no recipe half-way, and every one has a way back.
#[test]
fn recipes_know_the_exit_code_of_single_images_and_the_way_back() {
    for (name, recipe) in [("cron", CRON), ("github", GITHUB), ("gitlab", GITLAB), ("kubernetes", KUBERNETES)]
    {
        assert!(recipe.contains("palan fleet rollback --plan "), "{name}");
        let plans: Vec<&str> = recipe.lines().filter(|line| line.contains("palan fleet plan -")).collect();
        assert_eq!(plans.len(), 1, "{name}");
        assert!(
            plans[0].contains("|| test $? -eq 12") || plans[0].ends_with("|| code=$?"),
            "{name}: {plans:?}"
        );
    }
    for step in
        ["kubectl logs job/", "kubectl create configmap fleet-plan", "kubectl delete job fleet-apply "]
    {
        assert!(KUBERNETES.contains(step), "{step}");
    }
}

/// What cron does with a plan, where each step of palan is as told: what is approved is through in the end, and gone.
#[test]
fn what_cron_does_leaves_no_plan_behind_that_is_through() {
    let steps = |words: &str| {
        let line = CRON.lines().find(|line| !line.starts_with('#') && line.contains(words)).unwrap();
        let script = line.split_once(" fleet-write  ").unwrap().1;
        script.replace("cd /srv/fleet/approved && ", "")
    };
    let (apply, promote, away) =
        (steps("fleet apply"), steps("test -f plan.watched"), steps("test -f plan.through"));
    // Codes of apply, promote of the canaries, promote; what is left.
    let cases: [([u8; 3], &[&str]); 5] = [
        ([0, 0, 0], &["done"]),
        ([12, 12, 0], &["done"]),
        ([12, 0, 12], &["plan.json", "plan.watched"]),
        ([1, 0, 0], &["plan.json"]),
        ([0, 9, 0], &["plan.json"]),
    ];
    for (codes, left) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plan.json"), "{}").unwrap();
        for script in [&apply, &promote, &away] {
            let [applied, canary, promoted] = codes;
            let palan = format!(
                "palan() {{ case \"$*\" in *apply*) return {applied};; *canary*) return {canary};; *) return {promoted};; esac; }}"
            );
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &format!("{palan}\n{script}")]).current_dir(folder.path());
            shell.status().unwrap();
        }
        let files = std::fs::read_dir(folder.path()).unwrap();
        let mut files: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, left, "{codes:?}");
    }
}
