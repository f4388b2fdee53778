//! What a plan says beside its images: how they are rebased, what results must pass and which programs are run.

use serde::Serialize;
use serde_json::Value;

use super::{Report, Wave};

impl Report {
    /// How each image is rebased, as `fleet.toml` has it: `check = "content", config = "merge", …`
    pub fn rebase_terms(&self) -> String {
        terms(&self.rebase, |_| true)
    }
}

impl Wave {
    /// What its results must pass, as `fleet.toml` has it; `None`: the plan does not say it, and nothing can be done.
    pub fn gate_terms(&self) -> Option<String> {
        let gates = self.gates.as_ref()?;
        Some(terms(gates, |key| key != "hook-timeout" || !gates.hook.is_empty()))
    }
}

/// All of it, however long: what is cut off would not be reviewed.
fn terms(of: &impl Serialize, is_shown: impl Fn(&str) -> bool) -> String {
    let Ok(Value::Object(keys)) = serde_json::to_value(of) else { return String::new() };
    let keys = keys.iter().filter(|(key, _)| is_shown(key));
    let texts: Vec<String> = keys.map(|(key, value)| format!("{key} = {}", visible(value))).collect();
    texts.join(", ")
}

/// Without characters that move the cursor, that nobody sees, or that turn text around.
fn visible(value: &Value) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::new();
    for c in value.to_string().chars() {
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reviewed_is_what_is_there() {
        let cases = [
            (r#"{"hook": ["./a b", "x\u001b[2K\n"]}"#, r#"hook = ["./a b","x\u001b[2K\n"]"#),
            (r#"{"hook": ["a\u202eb", "\u009b"], "n": 1}"#, r#"hook = ["a\u{202e}b","\u{9b}"], n = 1"#),
            ("{}", ""),
        ];
        for (json, text) in cases {
            assert_eq!(terms(&serde_json::from_str::<Value>(json).unwrap(), |_| true), text);
        }
        let long = Value::from("x".repeat(10_000));
        assert_eq!(visible(&long).len(), 10_002);
    }
}
