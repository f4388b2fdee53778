//! What is traced of an exchange, without secrets: its headers, and its body where that is a JSON document.
//!
//! Of headers that go out, values are shown where the name is known to be harmless; of what comes in, all but those whose
//! name speaks of secrets. Values of unknown query keys are left out wherever a URL stands.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;
use tracing::Level;

use crate::uri::is_plain_key;

/// Of a body, no more than this is shown, in bytes.
const SHOWN_BODY: usize = 16 * 1024;
const HIDDEN: &str = "***";
/// Headers of requests that never carry secrets.
const PLAIN_HEADERS: [HeaderName; 11] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::RANGE,
    header::USER_AGENT,
];
/// Names of fields and headers that speak of secrets contain one of these.
const SECRET_WORDS: [&str; 6] = ["token", "password", "secret", "credential", "cookie", "signature"];
/// Keys of forms whose values are no secrets.
const PLAIN_FORM_KEYS: [&str; 5] = ["grant_type", "service", "scope", "client_id", "access_type"];

/// An exchange that is traced, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange(u64);

impl Exchange {
    /// A new one; `None`: nobody listens.
    pub(crate) fn begin() -> Option<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        tracing::enabled!(Level::DEBUG).then(|| Self(LAST.fetch_add(1, Relaxed) + 1))
    }

    /// What is sent.
    pub(crate) fn asks(self, method: &http::Method, url: &str, headers: &HeaderMap, body: Option<&[u8]>) {
        let mut details = lines(headers, |name, value| match PLAIN_HEADERS.contains(name) {
            true => text(value),
            false => HIDDEN.to_owned(),
        });
        if let Some(body) = body.and_then(|body| shown(body, headers)) {
            details.push_str(&body);
        }
        tracing::debug!(exchange = self.0, %method, url, details, "asking");
    }

    /// What is answered.
    pub(crate) fn hears(
        self,
        method: &http::Method,
        url: &str,
        status: u16,
        after: u128,
        headers: &HeaderMap,
    ) {
        let details = lines(headers, |name, value| match is_secret(name.as_str()) {
            true => HIDDEN.to_owned(),
            false => without_queries(&text(value)),
        });
        tracing::debug!(exchange = self.0, %method, url, status, milliseconds = after, details, "answered");
    }

    /// The body of the answer, if it is a JSON document.
    pub(crate) fn reads(self, body: &[u8], headers: &HeaderMap) {
        if let Some(details) = shown(body, headers) {
            tracing::debug!(exchange = self.0, bytes = body.len(), details, "read");
        }
    }
}

fn lines(headers: &HeaderMap, value: impl Fn(&HeaderName, &HeaderValue) -> String) -> String {
    headers.iter().fold(String::new(), |mut lines, (name, found)| {
        let _ = writeln!(lines, "{name}: {}", value(name, found));
        lines
    })
}

/// Foreign text for a terminal.
fn text(value: &HeaderValue) -> String {
    visible(&String::from_utf8_lossy(value.as_bytes()))
}

fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) || name == "authorization" || name == "auth"
}

/// Text in which URLs may stand, without the values of their queries' unknown keys.
fn without_queries(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, query)) = rest.split_once('?') {
        let end = query.find(|c: char| c.is_whitespace() || "\"'<>,;".contains(c)).unwrap_or(query.len());
        let (query, after) = query.split_at(end);
        let _ = write!(out, "{before}?{}", pairs(query, is_plain_key));
        rest = after;
    }
    out + rest
}

/// `key=value` pairs, with the values of keys that are known to be harmless.
fn pairs(text: &str, is_plain: impl Fn(&str) -> bool) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if is_plain(key) => pair.to_owned(),
        Some((key, _)) => format!("{key}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    };
    text.split('&').map(pair).collect::<Vec<_>>().join("&")
}

/// A body as far as it may be shown: JSON and forms. Anything else is content.
fn shown(body: &[u8], headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let text = match kind {
        "application/x-www-form-urlencoded" => {
            pairs(std::str::from_utf8(body).ok()?, |key| PLAIN_FORM_KEYS.contains(&key))
        }
        kind if kind.ends_with("json") || kind.ends_with("jws") => json(body)?,
        _ => return None,
    };
    let text = visible(&text);
    let cut = (0..=text.len().min(SHOWN_BODY)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Some(match cut < text.len() {
        true => format!("{}… (cut)", &text[..cut]),
        false => text,
    })
}

fn json(body: &[u8]) -> Option<String> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    hide(&mut value);
    Some(value.to_string())
}

/// Takes secrets out of a document, at any depth.
fn hide(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Null | Value::Bool(_) | Value::Number(_) => {}
                    value if is_secret(name) => *value = HIDDEN.into(),
                    value => hide(value),
                }
            }
        }
        Value::String(text) if text.contains('?') => *text = without_queries(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_headers() -> HeaderMap {
        HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        )])
    }

    #[test]
    fn bodies_are_shown_without_secrets() {
        for (body, expected) in [
            (r#"{"token":"s3cr3t","expires_in":300}"#, Some(r#"{"token":"***","expires_in":300}"#)),
            (
                r#"{"a":[{"Access_Token":"s","refresh_token":["s"]}]}"#,
                Some(r#"{"a":[{"Access_Token":"***","refresh_token":"***"}]}"#),
            ),
            (r#"{"password":{"a":"s"},"auth":"s"}"#, Some(r#"{"password":"***","auth":"***"}"#)),
            (
                r#"{"urls":["https://a.io/b?X-Sig=s&digest=d"]}"#,
                Some(r#"{"urls":["https://a.io/b?X-Sig=***&digest=d"]}"#),
            ),
            ("{\"a\":\"\u{9b}31m\"}", Some(r#"{"a":"31m"}"#)),
            ("not json", None),
        ] {
            assert_eq!(shown(body.as_bytes(), &json_headers()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn content_is_not_shown() {
        for kind in ["application/octet-stream", "text/html", "application/vnd.oci.image.layer.v1.tar"] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(shown(b"{}", &headers), None, "{kind}");
        }
        assert_eq!(shown(b"{}", &HeaderMap::new()), None);
    }

    #[test]
    fn long_bodies_are_cut() {
        let body = format!("\"{}\"", "ä".repeat(SHOWN_BODY));
        let cut = shown(body.as_bytes(), &json_headers()).unwrap();
        assert!(cut.len() < SHOWN_BODY + 20 && cut.ends_with("… (cut)"));
    }

    #[test]
    fn forms_are_shown_without_secrets() {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let body = b"grant_type=refresh_token&service=a.io&refresh_token=s&password=s";
        let expected = "grant_type=refresh_token&service=a.io&refresh_token=***&password=***";
        assert_eq!(shown(body, &headers).as_deref(), Some(expected));
    }

    #[test]
    fn urls_in_texts_lose_their_secrets() {
        for (text, expected) in [
            ("https://a.io/b?X-Amz-Signature=s&n=1", "https://a.io/b?X-Amz-Signature=***&n=1"),
            ("</v2/_catalog?n=1&last=b&t=s>; rel=\"next\"", "</v2/_catalog?n=1&last=b&t=***>; rel=\"next\""),
            (
                "Bearer realm=\"https://a.io/t?k=s\",service=\"a\"",
                "Bearer realm=\"https://a.io/t?k=***\",service=\"a\"",
            ),
            ("what?", "what?***"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_queries(text), expected);
        }
    }

    #[test]
    fn headers_that_speak_of_secrets_are_hidden() {
        for (name, secret) in [
            ("Authorization", true),
            ("set-cookie", true),
            ("x-amz-security-token", true),
            ("etag", false),
            ("www-authenticate", false),
        ] {
            assert_eq!(is_secret(name), secret, "{name}");
        }
    }
}
