//! Checks, what they find, and the report of all of them.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Answer, Http};

/// Why a check could not go on: no answer, or one that the rest of the check needs and does not have.
pub(super) type Stop = String;

/// One named thing that a registry must do.
#[derive(Clone, Debug)]
pub struct Check {
    /// The endpoint's id in the specification, and what about it.
    pub id: String,
    /// What must hold.
    pub about: &'static str,
    /// How many assertions were made.
    pub assertions: usize,
    /// Those that did not hold.
    pub failures: Vec<String>,
}

/// What the suite found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every check, in the order they were run.
    pub checks: Vec<Check>,
}

impl Report {
    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.failures.is_empty())
    }

    /// The number of checks that passed.
    pub fn passed(&self) -> usize {
        self.checks.len() - self.failed().count()
    }

    /// The number of assertions in all checks.
    pub fn assertions(&self) -> usize {
        self.checks.iter().map(|check| check.assertions).sum()
    }

    /// Panics with the report if a check failed, or if there was none.
    pub fn assert_ok(&self) {
        assert!(!self.checks.is_empty() && self.failed().next().is_none(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in self.failed() {
            writeln!(f, "FAILED {}: {}", check.id, check.about)?;
            for failure in &check.failures {
                writeln!(f, "    {failure}")?;
            }
        }
        let (passed, all) = (self.passed(), self.checks.len());
        write!(f, "{passed} of {all} checks passed, {} assertions", self.assertions())
    }
}

impl Check {
    /// Notes whether `holds`.
    pub(super) fn that(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.assertions += 1;
        if !holds {
            self.failures.push(otherwise());
        }
    }

    /// Notes whether two values are equal.
    #[allow(clippy::needless_pass_by_value)] // Callers compare temporaries.
    pub(super) fn equal<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(
        &mut self,
        what: &str,
        found: T,
        expected: U,
    ) {
        let same = found == expected;
        self.that(same, || format!("{what}: expected {expected:?}, found {found:?}"));
    }

    /// Notes whether the status is one of those expected.
    pub(super) fn status(&mut self, answer: &Answer, expected: &[u16]) {
        self.that(expected.contains(&answer.status), || {
            format!("expected status {expected:?}, {}", answer.summary())
        });
    }

    /// As [`Check::status`]; the check cannot go on otherwise.
    pub(super) fn must(&mut self, answer: &Answer, expected: u16) -> Result<(), Stop> {
        self.assertions += 1;
        if answer.status == expected {
            return Ok(());
        }
        Err(format!("expected status {expected}, {}", answer.summary()))
    }

    /// Notes whether a header has a value.
    pub(super) fn header(&mut self, answer: &Answer, name: &str, expected: &str) {
        let found = answer.header(name).unwrap_or("(absent)");
        self.that(found == expected, || {
            format!("header {name}: expected \"{expected}\", found \"{found}\"; {}", answer.summary())
        });
    }

    /// Notes whether a body is exactly this.
    pub(super) fn body(&mut self, answer: &Answer, expected: &[u8]) {
        self.that(answer.body == expected, || {
            let (found, wanted) = (answer.body.len(), expected.len());
            format!("the body differs: {found} bytes instead of {wanted}; {}", answer.summary())
        });
    }

    /// Notes whether an error answer has the form and one of the codes of the specification.
    pub(super) fn error(&mut self, answer: &Answer, statuses: &[u16], codes: &[&str]) {
        self.status(answer, statuses);
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = json["errors"][0]["code"].as_str().unwrap_or("(none)");
        self.that(codes.contains(&code), || {
            format!("expected an error with a code of {codes:?}, {}", answer.summary())
        });
        self.that(json["errors"][0]["message"].is_string(), || "the error has no message".to_owned());
        let json_type = answer.header("content-type").is_some_and(|t| t.starts_with("application/json"));
        self.that(json_type, || "the error is not application/json".to_owned());
    }
}

/// The suite while it runs.
pub(super) struct Suite {
    http: Http,
    prefix: String,
    checks: Vec<Check>,
}

impl Suite {
    pub(super) fn new(base_url: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        Self { http: Http::new(base_url), prefix: format!("conformance/{now:x}"), checks: Vec::new() }
    }

    /// The name of a repository that only this run uses.
    pub(super) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// Runs one check.
    pub(super) async fn check(
        &mut self,
        id: impl Into<String>,
        about: &'static str,
        run: impl AsyncFnOnce(&Http, &mut Check) -> Result<(), Stop>,
    ) {
        let mut check = Check { id: id.into(), about, assertions: 0, failures: Vec::new() };
        if let Err(stop) = run(&self.http, &mut check).await {
            check.failures.push(stop);
        }
        self.checks.push(check);
    }

    pub(super) fn report(self) -> Report {
        Report { checks: self.checks }
    }
}
