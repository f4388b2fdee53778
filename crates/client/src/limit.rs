//! What registries say about how much they may be asked.
//!
//! Read are the `RateLimit` and `RateLimit-Policy` fields of draft-ietf-httpapi-ratelimit-headers (08 and later:
//! `"default";r=50;t=30`; 07: `limit=100, remaining=50, reset=5`), the separate `RateLimit-Limit`, `-Remaining` and
//! `-Reset` of the drafts before, Docker Hub's variety of these (`100;w=21600`), and the same with `X-` in front.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::HeaderMap;

use crate::Client;

/// A registry's rate limit as it last stated it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Host and port as in references.
    pub registry: String,
    /// The limit.
    pub limit: Limit,
}

/// How often something may be asked, and how much of that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// Requests in a window, if that was said.
    pub quota: Option<u64>,
    /// Requests left in this window.
    pub remaining: u64,
    /// How long a window is, if that was said.
    pub window: Option<Duration>,
    /// When the next window begins, counted from the answer, if that was said.
    pub reset: Option<Duration>,
}

/// Windows shorter than this are renewed faster than anybody could react.
const SHORT: Duration = Duration::from_secs(60);

impl Limit {
    /// Whether at most a tenth is left, of a limit that is not renewed within a minute.
    pub fn is_low(&self) -> bool {
        let low = match self.quota {
            Some(quota) => self.remaining <= quota / 10,
            None => self.remaining == 0,
        };
        low && self.window.or(self.reset).is_none_or(|time| time >= SHORT)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.quota, self.remaining) {
            (Some(quota), left) => write!(f, "{left} of {quota} requests")?,
            (None, 1) => f.write_str("1 request")?,
            (None, left) => write!(f, "{left} requests")?,
        }
        if let Some(window) = self.window {
            write!(f, " per {}", spoken(window))?;
        }
        f.write_str(" left")?;
        match self.reset {
            Some(reset) => write!(f, ", renewed in {}", spoken(reset)),
            None => Ok(()),
        }
    }
}

/// A time for people: the largest unit that leaves at least two of it, rounded up.
pub(crate) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        7_200..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

impl Client {
    /// The rate limits that registries have stated, each registry's last one, sorted by registry.
    pub fn rate_limits(&self) -> Vec<RateLimit> {
        let mut all: Vec<_> = self.0.rate_limits();
        all.sort_by(|a, b| a.registry.cmp(&b.registry));
        all
    }
}

/// The limit that an answer states; of several the one of which least is left. What is malformed is ignored.
pub(crate) fn parse(headers: &HeaderMap) -> Option<Limit> {
    let text = |name: &str| {
        let all: Vec<_> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
        (!all.is_empty()).then(|| all.join(","))
    };
    let policies = items(&text("ratelimit-policy").unwrap_or_default());
    let together = text("ratelimit").and_then(|value| together(&items(&value), &policies));
    together.or_else(|| {
        ["ratelimit", "x-ratelimit"].into_iter().find_map(|prefix| {
            let field = |name: &str| items(&text(&format!("{prefix}-{name}")).unwrap_or_default());
            apart(&field("remaining"), &field("limit"), &field("reset"), &policies)
        })
    })
}

/// One member of a list, `100;w=60` or `"name";r=5`: the value without quotes and its parameters.
struct Item {
    value: String,
    parameters: Vec<(String, String)>,
}

impl Item {
    fn number(&self, key: &str) -> Option<u64> {
        self.parameters.iter().find(|(k, _)| k == key)?.1.parse().ok()
    }

    fn seconds(&self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs)
    }
}

fn items(text: &str) -> Vec<Item> {
    let item = |part: &str| {
        let mut fields = part.split(';').map(str::trim);
        let value = fields.next()?.trim_matches('"').to_ascii_lowercase();
        let pair = |field: &str| {
            let (key, value) = field.split_once('=')?;
            Some((key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        };
        (!value.is_empty()).then(|| Item { value, parameters: fields.filter_map(pair).collect() })
    };
    text.split(',').filter_map(item).collect()
}

/// Everything in one field.
fn together(items: &[Item], policies: &[Item]) -> Option<Limit> {
    let named = |item: &Item| {
        let policy = policies.iter().find(|p| p.value == item.value);
        Some(Limit {
            quota: policy.and_then(|p| p.number("q")),
            remaining: item.number("r")?,
            window: policy.and_then(|p| p.seconds("w")),
            reset: item.seconds("t"),
        })
    };
    let member = |key: &str| {
        let mut pairs = items.iter().filter_map(|i| i.value.split_once('='));
        pairs.find(|(k, _)| k.trim() == key)?.1.trim().parse().ok()
    };
    items.iter().filter_map(named).min_by_key(|limit| limit.remaining).or_else(|| {
        let quota = member("limit");
        Some(Limit {
            quota,
            remaining: member("remaining")?,
            window: window_of(policies, quota),
            reset: member("reset").map(Duration::from_secs),
        })
    })
}

/// One field for each number.
fn apart(remaining: &[Item], quota: &[Item], reset: &[Item], policies: &[Item]) -> Option<Limit> {
    let number = |items: &[Item]| items.first()?.value.parse::<u64>().ok();
    let left = number(remaining)?;
    let total = number(quota);
    let window = quota.iter().chain(remaining).find_map(|item| item.seconds("w"));
    Some(Limit {
        quota: total,
        remaining: left,
        window: window.or_else(|| window_of(policies, total)),
        reset: number(reset).map(|seconds| from_now(seconds, SystemTime::now())),
    })
}

/// The window of the policy with this quota, as the drafts before 08 wrote policies.
fn window_of(policies: &[Item], quota: Option<u64>) -> Option<Duration> {
    let quota = quota?.to_string();
    policies.iter().find(|p| p.value == quota)?.seconds("w")
}

/// Larger numbers of seconds are points in time: some servers send these where seconds from now belong.
const EPOCH: u64 = 1_000_000_000;

/// Seconds from now, or since 1970 where that is the only sensible reading.
pub(crate) fn from_now(seconds: u64, now: SystemTime) -> Duration {
    if seconds < EPOCH {
        return Duration::from_secs(seconds);
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(EPOCH * 100));
    time.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn limits_are_read_in_every_form() {
        type Case =
            (&'static [(&'static str, &'static str)], Option<(Option<u64>, u64, Option<u64>, Option<u64>)>);
        let cases: [Case; 18] = [
            // Docker Hub.
            (
                &[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")],
                Some((Some(100), 76, Some(21_600), None)),
            ),
            // Drafts before 07.
            (
                &[("ratelimit-limit", "100"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "50")],
                Some((Some(100), 0, None, Some(50))),
            ),
            (
                &[
                    ("ratelimit-limit", "10"),
                    ("ratelimit-policy", "10;w=1, 1000;w=3600"),
                    ("ratelimit-remaining", "9"),
                ],
                Some((Some(10), 9, Some(1), None)),
            ),
            (
                &[("ratelimit-limit", "10, 10;w=1, 50;w=60"), ("ratelimit-remaining", "9")],
                Some((Some(10), 9, Some(1), None)),
            ),
            // Draft 07.
            (
                &[
                    ("ratelimit", "limit=100, remaining=50, reset=5"),
                    ("ratelimit-policy", "100;w=60;comment=\"fixed, more or less\""),
                ],
                Some((Some(100), 50, Some(60), Some(5))),
            ),
            (&[("ratelimit", "remaining=50")], Some((None, 50, None, None))),
            // Draft 08 and later; the tightest of several counts.
            (
                &[
                    ("ratelimit", "\"hour\";r=50;t=30, \"day\";r=7;t=3000"),
                    ("ratelimit-policy", "\"hour\";q=100;w=3600, \"day\";q=1000;w=86400"),
                ],
                Some((Some(1000), 7, Some(86_400), Some(3000))),
            ),
            (&[("ratelimit", "default;r=50;t=30")], Some((None, 50, None, Some(30)))),
            (&[("ratelimit", "\"a\";r=3"), ("ratelimit", "\"b\";r=2")], Some((None, 2, None, None))),
            (
                &[("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "59")],
                Some((Some(60), 59, None, None)),
            ),
            // A point in time, long ago.
            (
                &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1000000001")],
                Some((None, 1, None, Some(0))),
            ),
            (&[], None),
            (&[("ratelimit-limit", "100;w=21600")], None),
            (&[("ratelimit-remaining", "")], None),
            (&[("ratelimit-remaining", "-1")], None),
            (&[("ratelimit-remaining", "99999999999999999999")], None),
            (&[("ratelimit", ";;=,\"")], None),
            (&[("ratelimit", "\u{fc}")], None),
        ];
        for (fields, expected) in cases {
            let found = parse(&headers(fields));
            let seconds = |d: Option<Duration>| d.map(|d| d.as_secs());
            let found = found.map(|l| (l.quota, l.remaining, seconds(l.window), seconds(l.reset)));
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn low_is_a_tenth_of_what_lasts() {
        let limit = |quota, remaining, window: Option<u64>| Limit {
            quota,
            remaining,
            window: window.map(Duration::from_secs),
            reset: None,
        };
        for (limit, low, text) in [
            (limit(Some(100), 11, Some(21_600)), false, "11 of 100 requests per 6 h left"),
            (limit(Some(100), 10, Some(21_600)), true, "10 of 100 requests per 6 h left"),
            (limit(Some(10), 0, Some(1)), false, "0 of 10 requests per 1 s left"),
            (limit(None, 0, None), true, "0 requests left"),
            (limit(None, 1, None), false, "1 request left"),
        ] {
            assert_eq!((limit.is_low(), limit.to_string().as_str()), (low, text));
        }
    }

    #[test]
    fn times_for_people() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (121, "3 min"),
            (7_200, "2 h"),
            (21_600, "6 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }
}
