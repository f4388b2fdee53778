//! What is typed for mutate's flags. Where crane takes a text, it means the same here.

use palan_core::{Platform, PlatformError};

/// `KEY=VALUE`, or several of them with commas between.
///
/// As in crane, commas count only where there is more than one `=`. A part that is no pair is never one of several: the
/// whole is then one pair, where crane fails.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &str| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let one = pair(unquoted.unwrap_or(text)).ok_or_else(|| {
        format!("\"{text}\" is not KEY=VALUE (KEY= sets it to nothing, --remove-… removes it)")
    })?;
    if text.matches('=').count() == 1 {
        return Ok(vec![one]);
    }
    let several = fields(text).and_then(|fields| fields.iter().map(|field| pair(field)).collect());
    Ok(several.unwrap_or_else(|| vec![one]))
}

/// `KEY=VALUE`, whatever is in the value: as in crane, an environment variable is never several.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| {
        format!("\"{text}\" is not KEY=VALUE (KEY= sets it to nothing, --remove-env removes it)")
    })
}

/// `a,b,"c,d"`, or a JSON array of texts.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    if let Some(list) = json(text) {
        return Ok(list);
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    fields(text).ok_or_else(|| format!("\"{text}\" is neither a list with commas nor a JSON array of texts"))
}

fn json(text: &str) -> Option<Vec<String>> {
    text.trim_start().starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// One line of RFC 4180; `None`: it is none.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if !rest.starts_with('"') && field.contains('"') {
            return None;
        }
        out.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(out),
        }
    }
}

/// What stands before the closing quote, and what follows that.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

/// The words of a health check: `none`, a JSON array, or a shell command.
pub(super) fn test(text: &str) -> Result<Vec<String>, String> {
    let word = |word: &str| word.to_owned();
    if text.trim().is_empty() {
        return Err("a health check without a command (--remove-healthcheck removes it)".to_owned());
    }
    if text.eq_ignore_ascii_case("none") {
        return Ok(vec![word("NONE")]);
    }
    match json(text) {
        Some(words) if words.is_empty() => Err("a health check without words".to_owned()),
        Some(words) if ["CMD", "CMD-SHELL", "NONE"].contains(&words[0].as_str()) => Ok(words),
        Some(words) => Ok([vec![word("CMD")], words].concat()),
        None => Ok(vec![word("CMD-SHELL"), text.to_owned()]),
    }
}

/// A time as Go writes it, in nanoseconds: `1m30s`, `500ms`, `1.5h`.
pub(super) fn nanoseconds(text: &str) -> Result<i64, String> {
    let wrong = || "a time is expected, like 30s, 1m30s or 500ms".to_owned();
    let (mut rest, mut sum) = (text, 0f64);
    if text == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        sum += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = after;
    }
    // Exact below 2^53 ns, which is 104 days.
    match sum {
        sum if text.is_empty() || !(0.0..9.0e15).contains(&sum) => Err(wrong()),
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        sum => Ok(sum.round() as i64),
    }
}

/// RFC 3339, or seconds since 1970.
pub(super) fn time(text: &str) -> Result<String, String> {
    if let Ok(seconds) = text.parse() {
        let time = jiff::Timestamp::from_second(seconds).map_err(|_| format!("{text} is too far away"))?;
        return Ok(time.to_string());
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "--created {text}: a time as RFC 3339 writes it, seconds since 1970, \"epoch\" or \"base\" is expected"
        )),
    }
}

/// A platform, or an operating system alone: as with crane, an image may be for no architecture.
pub(super) fn platform(text: &str) -> Result<Platform, PlatformError> {
    let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_name { Ok(Platform::new(text, "")) } else { text.parse() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_where_crane_does() {
        let cases: [(&str, &[(&str, &str)]); 10] = [
            ("a=b", &[("a", "b")]),
            ("a=", &[("a", "")]),
            ("a=b,c", &[("a", "b,c")]),
            ("a=b,c=d", &[("a", "b"), ("c", "d")]),
            (r#"a=b,"c=d,e""#, &[("a", "b"), ("c", "d,e")]),
            ("a=x=1", &[("a", "x=1")]),
            ("a=x=1,y", &[("a", "x=1,y")]),
            (r#""a=b""#, &[("a", "b")]),
            (r#"a="b""#, &[("a", r#""b""#)]),
            (r#"a={"x"="y"}"#, &[("a", r#"{"x"="y"}"#)]),
        ];
        for (text, expected) in cases {
            let found = pairs(text).unwrap();
            let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert!(pairs("a").is_err());
    }

    #[test]
    fn lists_have_commas_or_are_json() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("[]", &[]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#"["a,b","c"]"#, &["a,b", "c"]),
            (r#""say ""x""""#, &[r#"say "x""#]),
            ("[ -f x ]", &["[ -f x ]"]),
        ];
        for (text, expected) in cases {
            assert_eq!(list(text).unwrap(), expected, "{text}");
        }
        for text in [r#"a"b"#, r#""a"#, r#""a"b"#] {
            assert!(list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn health_checks_are_commands_words_or_none() {
        let cases: [(&str, &[&str]); 4] = [
            ("curl -f x || exit 1", &["CMD-SHELL", "curl -f x || exit 1"]),
            (r#"["curl","x"]"#, &["CMD", "curl", "x"]),
            (r#"["CMD-SHELL","x"]"#, &["CMD-SHELL", "x"]),
            ("none", &["NONE"]),
        ];
        for (text, expected) in cases {
            assert_eq!(test(text).unwrap(), expected, "{text}");
        }
        assert!(test("").is_err() && test("[]").is_err());
    }

    #[test]
    fn times_are_gos() {
        let cases = [("30s", 30_000_000_000), ("1m30s", 90_000_000_000), ("1.5ms", 1_500_000), ("0", 0)];
        for (text, expected) in cases {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
        for text in ["", "30", "s", "1d", "-1s", "1.2.3s", "99999999h"] {
            assert!(nanoseconds(text).is_err(), "{text}");
        }
        assert_eq!(time("0").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(time("2024-02-29T12:00:00+01:00").unwrap(), "2024-02-29T12:00:00+01:00");
        assert!(time("yesterday").is_err());
    }
}
