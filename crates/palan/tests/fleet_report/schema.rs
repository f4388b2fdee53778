//! The schema of the plan file, checked against plans; and a validator for the keywords that it uses.

use std::collections::BTreeSet;

use palan::fleet::{Missed, Plan};
use serde_json::{Map, Value, json};

const SCHEMA: &str = include_str!("../../../../docs/reference/fleet-plan.schema.json");

/// A validator of JSON Schema 2020-12, as far as the schema of plans goes.
struct Validator {
    root: Value,
    /// Properties that were met: where the schema has them.
    met: BTreeSet<String>,
}

impl Validator {
    fn new() -> Self {
        Self { root: serde_json::from_str(SCHEMA).unwrap(), met: BTreeSet::new() }
    }

    /// What is wrong with a value; `at`: where in the schema.
    fn check(&mut self, at: &str, value: &Value) -> Result<(), String> {
        let schema = self.root.pointer(at).unwrap_or_else(|| panic!("no schema at {at}")).clone();
        for (keyword, rule) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "$schema" | "title" | "description" | "$defs" | "properties" => {}
                "$ref" => self.check(rule.as_str().unwrap().strip_prefix('#').unwrap(), value)?,
                "const" if value == rule => {}
                "enum" if rule.as_array().unwrap().contains(value) => {}
                "type" if is_a(value, rule.as_str().unwrap()) => {}
                "minimum" if value.as_i64() >= rule.as_i64() => {}
                "pattern" if value.as_str().is_some_and(is_digest) => {}
                "required" => required(rule, value)?,
                "additionalProperties" => self.properties(at, value)?,
                "items" => {
                    value
                        .as_array()
                        .into_iter()
                        .flatten()
                        .try_for_each(|item| self.check(&format!("{at}/items"), item))?;
                }
                "oneOf" => self.one_of(at, rule.as_array().unwrap().len(), value)?,
                "const" | "enum" | "type" | "minimum" | "pattern" => {
                    return Err(format!("{at}: {value} against {keyword} {rule}"));
                }
                other => panic!("{at}: the test does not know {other}"),
            }
        }
        Ok(())
    }

    /// `additionalProperties: false`
    fn properties(&mut self, at: &str, value: &Value) -> Result<(), String> {
        for (key, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/properties/{key}");
            if self.root.pointer(&at).is_none() {
                return Err(format!("{at} is not in the schema"));
            }
            self.met.insert(at.clone());
            self.check(&at, value)?;
        }
        Ok(())
    }

    fn one_of(&mut self, at: &str, count: usize, value: &Value) -> Result<(), String> {
        let before = self.met.clone();
        let mut fits = Vec::new();
        let mut wrong = Vec::new();
        for n in 0..count {
            self.met.clone_from(&before);
            match self.check(&format!("{at}/oneOf/{n}"), value) {
                Ok(()) => fits.push(self.met.clone()),
                Err(error) => wrong.push(error),
            }
        }
        let [met] = fits.as_slice() else { return Err(format!("{at}: {} fit: {wrong:?}", fits.len())) };
        self.met.clone_from(met);
        Ok(())
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("type {other}"),
    }
}

/// The one pattern there is.
fn is_digest(text: &str) -> bool {
    text.parse::<palan::core::Digest>().is_ok()
}

fn required(keys: &Value, value: &Value) -> Result<(), String> {
    let missing = keys.as_array().unwrap().iter().find(|key| value.get(key.as_str().unwrap()).is_none());
    missing.map_or(Ok(()), |key| Err(format!("{key} is missing")))
}

/// Every property that the schema knows.
fn all_properties(at: &str, schema: &Value, out: &mut BTreeSet<String>) {
    let Some(schema) = schema.as_object() else { return };
    for (key, value) in schema {
        let at = format!("{at}/{key}");
        if key == "properties" {
            out.extend(value.as_object().unwrap().keys().map(|name| format!("{at}/{name}")));
        }
        all_properties(&at, value, out);
    }
}

#[test]
fn plans_fit_the_schema_and_the_schema_has_nothing_else() {
    // Not the file's text: what palan makes of it.
    let missed =
        |image: &str| Missed { image: image.into(), named_in: vec!["list:1".into()], reason: "no".into() };
    let plan = Plan { missed: vec![missed("down/team/*"), missed("NOT:ONE")], ..crate::plan() };
    let plan: Value = serde_json::from_str(&plan.to_text()).unwrap();
    let mut validator = Validator::new();
    validator.check("", &plan).unwrap();
    let mut known = BTreeSet::new();
    all_properties("", &validator.root, &mut known);
    // A hold has what a rebase has, which is all met.
    let unmet: Vec<_> =
        known.difference(&validator.met).filter(|at| !at.starts_with("/$defs/hold/")).collect();
    // Where a base was found that its image does not name: the fixture's images name theirs.
    let found = ["platform/properties/old_base_at"].map(|at| format!("/$defs/{at}"));
    let rare = ["fail/properties/after", "fail/properties/base", "fail/properties/digest"];
    let rare = rare.into_iter().chain([
        "nothing/properties/after",
        "nothing/properties/base",
        "nothing/properties/why",
    ]);
    let rare = rare
        .chain(["rebase/properties/candidate_was", "registry/properties/requests"])
        .map(|at| format!("/$defs/{at}"));
    let bounds = ["/properties/jobs", "/properties/registries", "/properties/requests"].map(str::to_owned);
    let mut rare: Vec<String> = rare.chain(bounds).chain(found).collect();
    rare.sort();
    assert_eq!(unmet, rare.iter().collect::<Vec<_>>());
}

#[test]
fn what_a_candidate_tag_stood_for_is_a_digest_or_nothing() {
    let good: Value = serde_json::from_str(&crate::plan().to_text()).unwrap();
    let at = good["images"].as_array().unwrap().iter().position(|image| image["action"] == "rebase").unwrap();
    let digest = good["images"][at]["new_digest"].clone();
    let cases = [(json!("nothing"), true), (digest, true), (json!("something"), false), (json!(1), false)];
    for (value, fits) in cases {
        let mut plan = good.clone();
        plan["images"][at]["candidate_was"] = value.clone();
        assert_eq!(Validator::new().check("", &plan).is_ok(), fits, "{value}");
        let read = Plan::parse(&plan.to_string());
        assert_eq!(read.is_ok(), fits, "{value}");
        if let Ok(read) = read {
            assert_eq!(serde_json::from_str::<Value>(&read.to_text()).unwrap(), plan);
        }
    }
}

#[test]
fn what_is_no_plan_does_not_fit() {
    let good: Value = serde_json::from_str(&crate::plan().to_text()).unwrap();
    let cases: [(&str, &str, Value); 7] = [
        ("", "more", json!(1)),
        ("", "schema", json!("palan.fleet.plan/v2")),
        ("/images/0", "action", json!("push")),
        ("/images/0", "verdict", json!("fine")),
        ("/images/0", "new_digest", json!("sha256:12")),
        ("/images/0", "size", json!(-1)),
        ("/waves/0/gates", "accept_unassessed", json!(true)),
    ];
    for (at, key, value) in cases {
        let mut plan = good.clone();
        let object: &mut Map<String, Value> = plan.pointer_mut(at).unwrap().as_object_mut().unwrap();
        object.insert(key.to_owned(), value.clone());
        assert!(Validator::new().check("", &plan).is_err(), "{at}/{key} = {value}");
    }
}

#[test]
fn what_the_schema_lets_through_can_be_read() {
    let text = crate::plan().to_text();
    assert_eq!(Plan::parse(&text).unwrap(), crate::plan());
}

#[test]
fn keys_that_no_plan_has_are_refused() {
    let good: Value = serde_json::from_str(&crate::plan().to_text()).unwrap();
    let cases = [
        ("", "foo", json!(1), "line 2: foo: there is no such key"),
        (
            "/waves/0/gates",
            "hok",
            json!(["x"]),
            "waves[1].gates.hok: there is no such key, did you mean \"hook\"?",
        ),
        (
            "/waves/0/gates",
            "max-growth",
            json!(5),
            "waves[1].gates.max-growth: there is no such key, did you mean \"max-growth-percent\"?",
        ),
        (
            "/images/0",
            "verdit",
            json!("clean"),
            "images[1].verdit: there is no such key, did you mean \"verdict\"?",
        ),
        ("/images/0/platforms/0", "x", json!({"y": 1}), "images[1].platforms[1].x: there is no such key"),
    ];
    for (at, key, value, expected) in cases {
        let mut plan = good.clone();
        plan.pointer_mut(at).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
        let error = Plan::parse(&serde_json::to_string_pretty(&plan).unwrap()).unwrap_err().to_string();
        let place = error.split_once(": ").unwrap().1;
        assert!(error.starts_with("line ") && expected.ends_with(place), "{error}");
    }
    // What has no value is left out, whether it is written or not.
    let mut plan = good.clone();
    for (at, key, value) in
        [("", "requests", Value::Null), ("", "registries", json!({})), ("/images/0", "after", json!([]))]
    {
        plan.pointer_mut(at).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
    }
    Plan::parse(&plan.to_string()).unwrap();
}
