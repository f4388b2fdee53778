//! When and after what time a request is made again.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use http::StatusCode;

use crate::{Error, limit, pace::Pace, response::Response, transport::Transport};

/// However often something failed, the next attempt comes within this time.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How often a refusal does not count because others were served meanwhile.
const MAX_SPARED: u32 = 10;
/// So much waiting that a registry asked for does not count: many limits are per minute, and are named second by second.
const PATIENCE: Duration = Duration::from_secs(120);

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

/// How a request failed for the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// There were too many; the registry may have said when to come back.
    Refused(Option<Duration>),
    Other,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        if error.is_refusal() { Self::Refused(error.retry_after()) } else { Self::Other }
    }
}

/// How often one operation has failed.
pub(crate) struct Attempts {
    failures: u32,
    spared: u32,
    /// How long refusals have asked to wait, together.
    asked: Duration,
    /// What the registry had answered when it failed last.
    answers: u64,
}

impl Attempts {
    pub(crate) fn new(pace: Option<&Pace>) -> Self {
        Self { failures: 0, spared: 0, asked: Duration::ZERO, answers: pace.map_or(0, Pace::answers) }
    }

    /// There was progress: as if it had not failed yet.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Notes a failure. `None`: it was one too many, else which it was, from 0.
    ///
    /// Many requests share what a registry allows, and chance decides which are refused: that does not count while
    /// others are served, nor while the registry says when to come back and that is soon.
    pub(crate) fn fail(&mut self, policy: &Policy, failure: Failure, pace: Option<&Pace>) -> Option<u32> {
        let answers = pace.map_or(0, Pace::answers);
        if let Failure::Refused(wait) = failure {
            if answers > self.answers && self.spared < MAX_SPARED {
                self.answers = answers;
                self.spared += 1;
                return Some(self.failures);
            }
            if let Some(wait) = wait.filter(|_| policy.retries > 0) {
                // None that is too long counts for later ones, and those that say "at once" end, too.
                let asked = self.asked.saturating_add(wait.max(Duration::from_secs(1)));
                if asked <= PATIENCE {
                    self.asked = asked;
                    return Some(self.failures);
                }
            }
        }
        let number = self.failures;
        self.failures += 1;
        (number < policy.retries).then_some(number)
    }
}

impl Transport {
    /// Repeats what fails for the moment.
    pub(crate) async fn repeat<F>(&self, allowed: bool, send: impl Fn() -> F) -> Result<Response, Error>
    where
        F: Future<Output = Result<Response, Error>>,
    {
        self.repeat_at(None, allowed, send).await
    }

    /// As [`Transport::repeat`], for requests that keep a registry's pace.
    pub(crate) async fn repeat_at<F>(
        &self,
        pace: Option<&Pace>,
        allowed: bool,
        send: impl Fn() -> F,
    ) -> Result<Response, Error>
    where
        F: Future<Output = Result<Response, Error>>,
    {
        let mut attempts = Attempts::new(pace);
        loop {
            let outcome = send().await;
            let (failure, retry_after) = match &outcome {
                Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                    (Failure::Refused(answer.retry_after()), answer.retry_after())
                }
                Ok(answer) if is_transient(answer.status()) => (Failure::Other, answer.retry_after()),
                Err(error) if error.is_transient() => (Failure::Other, None),
                _ => return outcome,
            };
            let Some(attempt) = attempts.fail(&self.retry, failure, pace).filter(|_| allowed) else {
                return outcome;
            };
            drop(outcome);
            self.pause(attempt, retry_after).await;
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

/// Statuses that mean "not now"; 499 and above 519 are what proxies say of the registry behind them.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 499 | 500 | 502..=504 | 520..=524)
}

/// RFC 9110 section 10.2.3: seconds, or a date. Seconds since 1970 are understood, too: some servers send these.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(limit::from_now(seconds, now));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_says_when_to_come_back_does_not_count_for_two_minutes() {
        let policy = |retries| Policy {
            retries,
            base: Duration::from_millis(1),
            longest_retry_after: Duration::from_secs(60),
        };
        // How often it is tried again.
        let tried = |retries, failure| {
            let mut attempts = Attempts::new(None);
            (0..1_000).take_while(|_| attempts.fail(&policy(retries), failure, None).is_some()).count()
        };
        let refused = |seconds| Failure::Refused(Some(Duration::from_secs(seconds)));
        let cases = [
            (3, Failure::Other, 3),
            (3, Failure::Refused(None), 3),
            (3, refused(21_600), 3),
            (3, refused(60), 5),
            (3, refused(1), 123),
            (3, refused(0), 123),
            (0, refused(1), 0),
        ];
        for (retries, failure, expected) in cases {
            assert_eq!(tried(retries, failure), expected, "{retries} {failure:?}");
        }
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("1000000000", Some(215_888_223)),
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
