//! What the history says of steps that values alone cannot tell: an instruction that sets what the base has already.

use serde_json::{Map, Value};

/// Which instructions an image's own part of the history has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) entrypoint: bool,
    pub(super) command: bool,
}

impl Steps {
    /// Nothing is said where the image's history does not go on from the old base's.
    pub(super) fn read(app: &Map<String, Value>, old: &Map<String, Value>) -> Self {
        let history = |config: &'_ Map<String, Value>| {
            config.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let (app, old) = (history(app), history(old));
        let is_same = |(a, b): (&Value, &Value)| a.get("created_by") == b.get("created_by");
        if old.is_empty() || app.len() < old.len() || !app.iter().zip(&old).all(is_same) {
            return Self::default();
        }
        let has = |wanted: &str| app[old.len()..].iter().any(|step| instruction(step) == Some(wanted));
        Self { entrypoint: has("ENTRYPOINT"), command: has("CMD") }
    }
}

/// The instruction of a Dockerfile that a step was: builders write it as it stands, or behind a shell's comment.
fn instruction(step: &Value) -> Option<&str> {
    let text = step.get("created_by")?.as_str()?;
    let text = text.strip_prefix("/bin/sh -c #(nop)").unwrap_or(text).trim_start();
    text.split([' ', '[', '\t']).next()
}
