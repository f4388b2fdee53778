//! Times in an image's history.

use serde_json::{Map, Value};

use crate::Error;

/// Whether an entry of a history tells of a layer.
pub(crate) fn makes_layer(step: &Value) -> bool {
    step.get("empty_layer").and_then(Value::as_bool) != Some(true)
}

/// The newest time at which one of these steps made a layer, as it is written there.
pub(crate) fn newest(steps: &[Value]) -> Option<&str> {
    let times =
        steps.iter().filter(|step| makes_layer(step)).filter_map(|step| step.get("created")?.as_str());
    let parsed = times.filter_map(|text| Some((text.parse::<jiff::Timestamp>().ok()?, text)));
    parsed.max_by_key(|(time, _)| *time).map(|(_, text)| text)
}

/// The entries of a config's history.
pub(crate) fn steps(config: &Map<String, Value>) -> &[Value] {
    config.get("history").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Refuses what is no time as RFC 3339 writes it: other tools could not read the config any more.
pub(crate) fn check_time(time: Option<&str>, image: &str) -> Result<(), Error> {
    match time.filter(|time| !is_rfc3339(time)) {
        None => Ok(()),
        Some(time) => Err(Error::Inapplicable {
            image: image.to_owned(),
            reason: format!("\"{time}\" is no time as RFC 3339 writes it"),
        }),
    }
}

/// The parser of times also takes other forms of ISO 8601.
fn is_rfc3339(text: &str) -> bool {
    let shape =
        |text: &str| -> String { text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect() };
    let has_form = || {
        let (time, zone) = text.split_at_checked(19)?;
        let fraction =
            zone.strip_prefix('.').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        let zone = fraction.unwrap_or(zone);
        let is_zone = ["Z", "+00:00", "-00:00"].contains(&shape(zone).as_str());
        (shape(time) == "0000-00-00T00:00:00" && is_zone).then_some(())
    };
    has_form().is_some() && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_layer_counts_whatever_its_zone() {
        let steps = [
            json!({"created": "2025-06-01T00:00:00+05:00"}),
            json!({"created": "2025-05-31T20:00:00Z"}),
            json!({"created": "2025-01-01T00:00:00Z"}),
            json!({"created": "2026-01-01T00:00:00Z", "empty_layer": true}),
            json!({"created": "tomorrow"}),
            json!({}),
        ];
        assert_eq!(newest(&steps), Some("2025-05-31T20:00:00Z"));
        assert_eq!(newest(&steps[3..]), None);
    }

    #[test]
    fn times_are_rfc_3339() {
        for text in ["2025-06-01T00:00:00Z", "2025-06-01T00:00:00.123456789Z", "2025-06-01T00:00:00-05:30"] {
            assert!(check_time(Some(text), "a").is_ok(), "{text}");
        }
        let wrong =
            ["", "now", "2025-06-01", "2025-06-01 00:00:00Z", "2025-06-01T00:00:00", "2025-06-01T00:00Z"];
        for text in
            wrong.into_iter().chain(["2025-06-01T00:00:00-05", "2025-13-01T00:00:00Z", "20250601T000000Z"])
        {
            assert!(check_time(Some(text), "a").is_err(), "{text}");
        }
        assert!(check_time(None, "a").is_ok());
    }
}
