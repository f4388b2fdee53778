//! When and after what time a request is made again.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use http::StatusCode;

use crate::{Error, response::Response, transport::Transport};

/// However often something failed, the next attempt comes within this time.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How often and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// How many times after the first.
    pub(crate) retries: u32,
    /// The wait before the first repetition; doubled for each further one.
    pub(crate) base: Duration,
    /// The longest `Retry-After` that is honoured.
    pub(crate) longest_retry_after: Duration,
}

impl Policy {
    /// The wait before repetition number `attempt` (from 0). Where the registry names a time, that and a little more,
    /// so that many clients do not come back at once; else exponential with jitter.
    pub(crate) fn delay(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        match retry_after {
            Some(wait) => wait.min(self.longest_retry_after) + self.base.mul_f64(fastrand::f64() / 2.0),
            None => {
                let full = self.base.saturating_mul(1 << attempt.min(16)).min(LONGEST_BACKOFF);
                full.mul_f64(0.5 + fastrand::f64() / 2.0)
            }
        }
    }
}

impl Transport {
    /// Repeats what fails for the moment.
    pub(crate) async fn repeat<F>(&self, allowed: bool, send: impl Fn() -> F) -> Result<Response, Error>
    where
        F: Future<Output = Result<Response, Error>>,
    {
        let mut attempt = 0;
        loop {
            let outcome = send().await;
            let retry_after = match &outcome {
                Ok(answer) if is_transient(answer.status()) => answer.retry_after(),
                Err(error) if error.is_transient() => None,
                _ => return outcome,
            };
            if !allowed || attempt >= self.retry.retries {
                return outcome;
            }
            drop(outcome);
            self.pause(attempt, retry_after).await;
            attempt += 1;
        }
    }

    /// Waits before repetition number `attempt`.
    pub(crate) async fn pause(&self, attempt: u32, retry_after: Option<Duration>) {
        let delay = self.retry.delay(attempt, retry_after);
        tracing::debug!(attempt, ?delay, "trying again");
        self.wire.counters.retries.fetch_add(1, Relaxed);
        tokio::time::sleep(delay).await;
    }
}

/// Statuses that mean "not now".
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// RFC 9110 section 10.2.3: seconds, or a date.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(value, now).map(|d| d.as_secs()), expected, "{value:?}");
        }
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        let policy = Policy {
            retries: 3,
            base: Duration::from_millis(100),
            longest_retry_after: Duration::from_secs(60),
        };
        for (attempt, from, to) in [(0, 50, 100), (1, 100, 200), (3, 400, 800), (40, 15_000, 30_000)] {
            let delay = policy.delay(attempt, None).as_millis();
            assert!((from..=to).contains(&delay), "attempt {attempt}: {delay} ms");
        }
        for (asked, from) in [(1, 1_000), (7, 7_000), (86_400, 60_000)] {
            let delay = policy.delay(0, Some(Duration::from_secs(asked))).as_millis();
            assert!((from..=from + 50).contains(&delay), "{asked} s: {delay} ms");
        }
    }
}
