//! The report for Prometheus: a file for the node exporter's textfile collector.
//!
//! Source: Prometheus text exposition format 0.0.4.

use super::{HeldBy, Report, Standing};
use crate::{rebase::Verdict, verdict::Grade};

impl Report {
    /// Gauges in Prometheus' text format. Every state, verdict and gate has a line, be it 0, so that no series ends when the
    /// last image leaves it.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        self.images_by_wave(&mut out);
        self.images_by_base(&mut out);
        self.by_verdict(&mut out);
        self.by_gate(&mut out);
        self.bytes(&mut out);
        let help = "Names that could not be looked at when the plan was made: their images are not in it.";
        head(&mut out, "palan_fleet_missed", help);
        out.push_str(&format!("palan_fleet_missed {}\n", self.missed.len()));
        out
    }

    fn images_by_wave(&self, out: &mut String) {
        head(out, "palan_fleet_images", "Images of the plan, by wave and by how far they have come.");
        for wave in &self.waves {
            for state in Standing::ALL {
                let labels = [("wave", wave.name.as_str()), ("state", state.as_str())];
                sample(out, "palan_fleet_images", &labels, wave.totals.count(state) as u64);
            }
        }
    }

    fn images_by_base(&self, out: &mut String) {
        let name = "palan_fleet_images_on_base";
        head(out, name, "Images that stood on a base when the plan was made, by how far they have come.");
        for base in &self.bases {
            for state in Standing::ALL.into_iter().filter(|state| *state != Standing::Nothing) {
                let labels = [("base", base.base.as_deref().unwrap_or("")), ("state", state.as_str())];
                sample(out, name, &labels, base.totals.count(state) as u64);
            }
        }
    }

    fn by_verdict(&self, out: &mut String) {
        head(out, "palan_fleet_verdicts", "Results by verdict.");
        let grades = Grade::ALL.map(Verdict::Assessed);
        for verdict in grades.into_iter().chain([Verdict::NotAssessed]).map(super::markup::verdict) {
            let count = self.verdicts.get(verdict).copied().unwrap_or_default();
            sample(out, "palan_fleet_verdicts", &[("verdict", verdict)], count as u64);
        }
    }

    fn by_gate(&self, out: &mut String) {
        head(out, "palan_fleet_held", "Images that are held, by the gate; one can be held by several.");
        for gate in HeldBy::ALL {
            let count = self.held.get(&gate).copied().unwrap_or_default();
            sample(out, "palan_fleet_held", &[("reason", gate.as_str())], count as u64);
        }
    }

    fn bytes(&self, out: &mut String) {
        head(
            out,
            "palan_fleet_layer_bytes",
            "Compressed layers of all images that have a result, before and after.",
        );
        for (when, bytes) in [("before", self.totals.size), ("after", self.totals.new_size)] {
            sample(out, "palan_fleet_layer_bytes", &[("when", when)], bytes);
        }
    }
}

fn head(out: &mut String, name: &str, help: &str) {
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
    out.push_str(&format!("{name}{{{}}} {value}\n", labels.join(",")));
}

/// A label's value. A carriage return would end the line for some readers, and has no escape of its own.
fn escape(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace("\r\n", "\n")
        .replace('\r', "\n")
        .replace('\n', r"\n")
}
