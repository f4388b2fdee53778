//! Arrows only point down: which of our crates may depend on which, and which foreign crates belong to the binary.

use serde_json::Value;

use crate::{Result, cargo};

struct Rule {
    crate_name: &'static str,
    /// Ours that it may depend on.
    ours: &'static [&'static str],
}

const fn rule(crate_name: &'static str, ours: &'static [&'static str]) -> Rule {
    Rule { crate_name, ours }
}

const RULES: &[Rule] = &[
    rule("palan-core", &[]),
    rule("palan-layer", &["palan-core"]),
    rule("palan-client", &["palan-core"]),
    rule("palan-server", &["palan-core"]),
    rule("palan", &["palan-client", "palan-core", "palan-layer"]),
    // The library only behind the feature `places`.
    rule("palan-testkit", &["palan", "palan-core", "palan-layer"]),
    rule("palan-cli", &["palan", "palan-client", "palan-core", "palan-layer", "palan-server"]),
    rule("xtask", &[]),
];

/// Only the binary talks to people.
const FOR_PEOPLE: &[&str] = &["anstream", "anstyle", "clap", "clap_complete", "comfy-table", "indicatif"];
/// An embedder of the registry pays neither for the HTTP client nor for C codecs.
const NOT_IN_SERVER: &[&str] = &["reqwest", "rustls", "zstd", "libdeflater", "libz-rs-sys"];
/// Pure: no I/O, no async, no C.
const NOT_IN_CORE: &[&str] =
    &["tokio", "futures-util", "reqwest", "hyper", "zstd", "libdeflater", "tempfile"];

pub fn check() -> Result {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let faults: Vec<String> = packages.iter().flat_map(faults_of).collect();
    if !faults.is_empty() {
        return Err(format!("dependencies point the wrong way:\n  {}", faults.join("\n  ")));
    }
    eprintln!("dependencies of {} crates point downwards", packages.len());
    Ok(())
}

fn faults_of(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some(rule) = RULES.iter().find(|r| r.crate_name == name) else {
        return vec![format!("{name} has no rule: add it to xtask/src/deps.rs")];
    };
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies.iter().filter_map(|d| fault(rule, d)).collect()
}

fn fault(rule: &Rule, dependency: &Value) -> Option<String> {
    let name = dependency["name"].as_str()?;
    let from = rule.crate_name;
    // Tests may use anything of ours.
    if dependency["kind"].as_str() == Some("dev") {
        return None;
    }
    if name == "palan-testkit" {
        return Some(format!("{from} depends on {name} outside of its tests"));
    }
    let ours = RULES.iter().any(|r| r.crate_name == name);
    if ours && !rule.ours.contains(&name) {
        return Some(format!("{from} must not depend on {name}"));
    }
    let forbidden = match from {
        "palan-cli" | "xtask" => return None,
        "palan-core" => [FOR_PEOPLE, NOT_IN_CORE].concat(),
        "palan-server" => [FOR_PEOPLE, NOT_IN_SERVER].concat(),
        _ => FOR_PEOPLE.to_vec(),
    };
    forbidden.contains(&name).then(|| format!("{from} must not depend on {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(name: &str, dependency: &str, kind: Option<&str>) -> usize {
        faults_of(&json!({"name": name, "dependencies": [{"name": dependency, "kind": kind}]})).len()
    }

    #[test]
    fn arrows_that_point_up_are_found() {
        let cases = [
            ("palan-core", "serde", None, 0),
            ("palan-core", "palan-layer", None, 1),
            ("palan-core", "tokio", None, 1),
            ("palan-server", "palan-client", None, 1),
            ("palan-server", "palan-testkit", Some("dev"), 0),
            ("palan-server", "palan-testkit", None, 1),
            ("palan-server", "zstd", None, 1),
            ("palan", "clap", None, 1),
            ("palan", "palan-server", Some("dev"), 0),
            ("palan", "palan-server", None, 1),
            ("palan-cli", "clap", None, 0),
            ("palan-new", "serde", None, 1),
        ];
        for (name, dependency, kind, expected) in cases {
            assert_eq!(faults(name, dependency, kind), expected, "{name} -> {dependency}");
        }
    }
}
