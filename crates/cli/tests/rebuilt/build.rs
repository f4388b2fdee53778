//! From a recipe to what differs.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    base,
    compare::{comparable, json, trees},
    lab::Lab,
    recipes::Recipe,
    tools::{output, run, works},
};

/// What recipes copy: files, an archive, a package, programs.
pub(crate) fn context(lab: &Lab) {
    let folder = lab.path("context");
    fs::write(folder.join("hello"), "#!/bin/sh\necho hello\n").unwrap();
    fs::write(folder.join("script"), "#!/usr/bin/python3.11\n").unwrap();
    fs::create_dir_all(folder.join("tree/sub/empty")).unwrap();
    fs::write(folder.join("tree/one"), "1\n").unwrap();
    fs::write(folder.join("tree/sub/two"), "2\n").unwrap();
    std::os::unix::fs::symlink("sub/two", folder.join("tree/link")).unwrap();
    fs::hard_link(folder.join("tree/one"), folder.join("tree/sub/one")).unwrap();
    run(Command::new("tar").current_dir(&folder).args(["-czf", "site.tar.gz", "-C", "tree", "."]));
    run(Command::new("tar").current_dir(&folder).args([
        "-cf",
        "links.tar",
        "tree/one",
        "tree/sub",
        "tree/link",
    ]));
    let package = base::package(&lab.path("package"), "1.0");
    fs::rename(package, folder.join("greeter.deb")).unwrap();
    base::library(&folder, "libmine.so.1", "int mine(void) { return 1; }", "");
    let libraries = lab.path("base-old/runtime/usr/lib");
    program(&folder, "greets", "greet", &libraries.join("libgreet.so.1"));
    program(&folder, "versioned", "two", &libraries.join("libversioned.so.1"));
    program(&folder, "mine", "mine", &folder.join("libmine.so.1"));
    fs::write(folder.join("static.c"), "int main(void) { return 0; }").unwrap();
    // Without a static C library there is no such program, and its recipe is skipped.
    works(Command::new("cc").current_dir(&folder).args(["-static", "-o", "static", "static.c"]));
}

fn program(folder: &Path, name: &str, function: &str, library: &Path) {
    let source = format!("int {function}(void); int main(void) {{ return {function}(); }}");
    fs::write(folder.join("program.c"), source).unwrap();
    run(Command::new("cc").current_dir(folder).args(["-o", name, "program.c"]).arg(library));
}

/// Builds a recipe on the base that `base/NAME:current` is now, and pushes it as `app/NAME:TAG`.
pub(crate) fn build(lab: &Lab, recipe: &Recipe, tag: &str) {
    let file = lab.path(format!("dockerfiles/{}", recipe.name));
    let mut text = recipe.text.to_owned();
    for name in ["os", "service", "trigger"] {
        text = text
            .replace(&format!("FROM {name}"), &format!("FROM {}", lab.at(&format!("base/{name}:current"))));
    }
    fs::write(&file, text).unwrap();
    let name = format!("app/{}:{tag}", recipe.name);
    let local = lab.at(&name);
    let layers = format!("--layers={}", recipe.layers);
    let words = [
        "bud",
        "-q",
        "--isolation",
        "chroot",
        "--pull=never",
        "--no-cache",
        &layers,
        "--format",
        recipe.format,
    ];
    run(lab.hidden_buildah(&words).args(["-t", &local, "-f"]).arg(&file).arg(lab.path("context")));
    lab.push(&local, &name);
    if tag == "old" {
        lab.forget(&local);
    }
}

/// What came out for one recipe.
pub(crate) struct Outcome {
    pub(crate) recipe: &'static Recipe,
    pub(crate) verdict: String,
    pub(crate) findings: Vec<String>,
    /// Of the file systems, then of the configs and manifests.
    pub(crate) differences: Vec<String>,
}

/// Rebases `app/NAME:old`, which stands on the old base, and compares the result with `app/NAME:new`, the rebuild.
pub(crate) fn rebase(lab: &Lab, recipe: &'static Recipe) -> Outcome {
    let image = |tag: &str| format!("app/{}:{tag}", recipe.name);
    let report = rebase_only(lab, recipe, &lab.at(&image("old")), &lab.at(&image("rebased")));
    let verdict = report["verdict"].as_str().unwrap_or("none").to_owned();
    lab.pull(&image("rebased"));
    let (rebased, rebuilt) = (lab.mount(&lab.at(&image("rebased"))), lab.mount(&lab.at(&image("new"))));
    let mut differences = trees(&rebased.root, &rebuilt.root);
    let config = |tag| comparable(lab.document("config", &image(tag)));
    differences.extend(json(&config("rebased"), &config("new")).into_iter().map(|d| format!("config {d}")));
    // In Docker's format, buildah writes no annotations.
    if recipe.format == "oci" {
        let hints = |tag| hints(lab.document("manifest", &image(tag)), recipe);
        let hints = json(&hints("rebased"), &hints("new"));
        differences.extend(hints.into_iter().map(|d| format!("annotations {d}")));
    }
    drop((rebased, rebuilt));
    for tag in ["rebased", "new"] {
        lab.forget(&lab.at(&image(tag)));
    }
    Outcome { recipe, verdict, findings: findings(&report), differences }
}

/// The report. What is refused is written all the same, when it is accepted by name.
fn rebase_only(lab: &Lab, recipe: &Recipe, from: &str, to: &str) -> Value {
    let base = recipe.text.split_whitespace().nth(1).unwrap();
    let (old_base, new_base) = (lab.at(&format!("base/{base}:old")), lab.at(&format!("base/{base}:current")));
    let words =
        ["rebase", from, "--old-base", &old_base, "--new-base", &new_base, "-t", to, "--format", "json"];
    let planned = output(lab.palan(&words).arg("--dry-run"));
    let report: Value = serde_json::from_slice(&planned.stdout)
        .unwrap_or_else(|e| panic!("{}: {e}\n{}", recipe.name, String::from_utf8_lossy(&planned.stderr)));
    if report["verdict"] == "broken" {
        let refused = output(&mut lab.palan(&words));
        assert_eq!(refused.status.code(), Some(11), "{}: {refused:?}", recipe.name);
        assert!(!works(&mut lab.palan(&["digest", to])), "{}: written, though refused", recipe.name);
        run(lab.palan(&words).args(["--accept", "broken"]));
    } else {
        run(&mut lab.palan(&words));
    }
    report
}

/// What the rebase found, one line each.
fn findings(report: &Value) -> Vec<String> {
    let list = |pointer: &str| report.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let mut out: Vec<_> = list("/findings").iter().map(|f| text(f, "text")).collect();
    for what in ["conflicts", "notes"] {
        out.extend(list(&format!("/platforms/0/config/{what}")).iter().map(|f| format!("config: {f}")));
    }
    for finding in list("/platforms/0/assessment/findings") {
        let grade = finding["grade"].as_str().unwrap_or("note");
        out.push(format!(
            "{grade}: {} ({}): {}",
            text(&finding, "path"),
            text(&finding, "class"),
            text(&finding, "text")
        ));
    }
    out
}

fn hints(mut manifest: Value, recipe: &Recipe) -> Value {
    if let Some(hints) = manifest["annotations"].as_object_mut().filter(|_| !recipe.names_base()) {
        hints.remove("org.opencontainers.image.base.digest");
    }
    manifest["annotations"].take()
}
