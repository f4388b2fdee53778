//! The report as JUnit XML: a suite for each wave, a case for each image.
//!
//! Source: there is no standard; these are the elements and attributes that Jenkins, GitLab and GitHub's reporters read.

use super::{
    Counts, Image, Report, Standing,
    markup::{escape, verdict},
};
use crate::fleet::inventory::Missed;

/// How a test runner sees an image.
enum Outcome {
    Passed,
    Skipped,
    Failed,
}

impl Outcome {
    fn of(state: Standing) -> Self {
        match state {
            Standing::Promoted | Standing::Pushed | Standing::Nothing => Self::Passed,
            state if state.is_failure() => Self::Failed,
            _ => Self::Skipped,
        }
    }
}

impl Report {
    /// JUnit XML. What is promoted, pushed or had nothing to do has passed; what went wrong has failed; what is open, held,
    /// given back, without a rule or with an unknown base is skipped. What could not be looked at has failed, in a suite of
    /// its own.
    pub fn to_junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let tests_of_all = tests(&self.totals.states, self.missed.len());
        out.push_str(&format!("<testsuites name=\"palan fleet\"{tests_of_all}>\n"));
        for wave in &self.waves {
            let (name, tests) = (escape(&wave.name), tests(&wave.totals.states, 0));
            out.push_str(&format!("  <testsuite name=\"{name}\"{tests}>\n"));
            for image in self.images.iter().filter(|image| image.wave == wave.name) {
                case(&mut out, image);
            }
            out.push_str("  </testsuite>\n");
        }
        if !self.missed.is_empty() {
            let tests = tests(&Counts::new(), self.missed.len());
            out.push_str(&format!("  <testsuite name=\"not looked at\"{tests}>\n"));
            self.missed.iter().for_each(|missed| missed_case(&mut out, missed));
            out.push_str("  </testsuite>\n");
        }
        out.push_str("</testsuites>\n");
        out
    }
}

fn missed_case(out: &mut String, missed: &Missed) {
    let (name, reason) = (escape(&missed.image), escape(&missed.reason));
    out.push_str(&format!(
        "    <testcase name=\"{name}\" classname=\"not looked at\">\n      \
         <failure message=\"{reason}\" type=\"missed\">{reason}</failure>\n    </testcase>\n"
    ));
}

/// `missed`: besides the images.
fn tests(states: &Counts, missed: usize) -> String {
    let (mut all, mut failed, mut skipped) = (missed, missed, 0);
    for (state, count) in states {
        all += count;
        match Outcome::of(*state) {
            Outcome::Passed => {}
            Outcome::Skipped => skipped += count,
            Outcome::Failed => failed += count,
        }
    }
    format!(" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\"")
}

fn case(out: &mut String, image: &Image) {
    let (name, wave, state) = (escape(&image.image.to_string()), escape(&image.wave), image.state);
    out.push_str(&format!("    <testcase name=\"{name}\" classname=\"{wave}\">\n"));
    let message = escape(&match image.reasons.first() {
        Some(_) => format!("{state}: {}", image.reason(300)),
        None => state.to_string(),
    });
    match Outcome::of(state) {
        Outcome::Passed => {}
        Outcome::Skipped => out.push_str(&format!("      <skipped message=\"{message}\"/>\n")),
        Outcome::Failed => {
            let text = escape(&image.reasons.join("\n"));
            out.push_str(&format!(
                "      <failure message=\"{message}\" type=\"{state}\">{text}</failure>\n"
            ));
        }
    }
    out.push_str(&format!("      <system-out>{}</system-out>\n    </testcase>\n", escape(&about(image))));
}

/// What else is known: bases, verdict, size, findings, and all that the gate said.
fn about(image: &Image) -> String {
    let mut lines = vec![format!("state: {}", image.state)];
    lines.extend(image.bases().map(|bases| format!("base: {bases}")));
    lines.extend(image.verdict.map(|word| format!("verdict: {}", verdict(word))));
    lines.extend(image.growth().map(|growth| format!("layers: {growth}")));
    lines.extend(image.findings.iter().map(|finding| format!("finding: {finding}")));
    lines.extend(image.gate.iter().map(|gate| format!("gate {}:\n{}", gate.name, gate.output)));
    lines.join("\n")
}
