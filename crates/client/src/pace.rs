//! How fast one registry is asked.
//!
//! As many requests at once as it bears: half as many after it said that these were too many, one more after a round
//! of good answers. None while a `Retry-After` runs: who was not refused yet waits too, instead of being refused.

use std::{
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{sync::Notify, time::Instant};

use crate::{
    limit::{self, Limit},
    response::Response,
    retry,
};

/// The pace of one registry.
pub(crate) struct Pace {
    /// Requests under way, until the head of their answer.
    requests: Lane,
    /// The same for requests that stream a body: these may have to wait for a request of the other kind.
    uploads: Lane,
    /// Nobody asks before this.
    quiet: Mutex<Option<Instant>>,
    /// Requests that were not refused.
    answers: AtomicU64,
    limit: Mutex<Option<Limit>>,
    zero: Mutex<Zero>,
}

/// What good answers mean by "nothing is left".
#[derive(Clone, Copy, Default)]
enum Zero {
    /// Not said yet.
    #[default]
    Unheard,
    /// Said first at this time; waited for.
    Since(Instant),
    /// Who asked after that was served, and heard the same again.
    Untrue,
}

impl Pace {
    /// At most `most` requests of each kind at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            requests: Lane::new(most),
            uploads: Lane::new(most),
            quiet: Mutex::default(),
            answers: AtomicU64::new(0),
            limit: Mutex::default(),
            zero: Mutex::default(),
        }
    }

    /// Waits until a request may go.
    pub(crate) async fn enter(&self, upload: bool) -> Permit<'_> {
        let lane = if upload { &self.uploads } else { &self.requests };
        loop {
            let permit = lane.enter().await;
            match self.quiet_until() {
                None => return permit,
                Some(end) => {
                    drop(permit);
                    tokio::time::sleep_until(end).await;
                }
            }
        }
    }

    /// Takes in what an answer says about the pace. `longest`: so long a silence is kept, not longer.
    pub(crate) fn hear(&self, permit: &Permit<'_>, answer: &Response, longest: Duration) {
        let (status, wait) = (answer.status(), answer.retry_after());
        let refused = status == StatusCode::TOO_MANY_REQUESTS
            || (status == StatusCode::SERVICE_UNAVAILABLE && wait.is_some());
        if refused {
            permit.slower();
            if let Some(wait) = wait {
                self.keep_quiet(wait.min(longest));
            }
        } else if !retry::is_transient(status) {
            self.answers.fetch_add(1, Relaxed);
            permit.lane.faster();
        }
        let Some(limit) = limit::parse(answer.headers()) else { return };
        tracing::debug!(host = answer.url().authority(), "rate limit: {limit}");
        // A renewal that is hours away is not waited for: the registry says so itself when it has had enough.
        if let Some(reset) = limit.reset.filter(|reset| limit.remaining == 0 && *reset <= longest) {
            let host = answer.url().authority();
            if refused || self.heeds_zero(permit.since, &format!("{host} has served all it serves"), reset) {
                self.keep_quiet(reset);
            }
        }
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
    }

    /// Whether to wait because a good answer to a request from `since` says that nothing is left: once. A registry that
    /// says so and goes on serving means something else, and says so itself when it has had enough.
    fn heeds_zero(&self, since: Instant, what: &str, reset: Duration) -> bool {
        let mut zero = self.zero.lock().unwrap_or_else(PoisonError::into_inner);
        match *zero {
            Zero::Unheard => {
                *zero = Zero::Since(Instant::now());
                if !reset.is_zero() {
                    tracing::warn!("{what} for now, waiting {}", limit::spoken(reset));
                }
                true
            }
            Zero::Since(first) => {
                if since > first {
                    *zero = Zero::Untrue;
                }
                false
            }
            Zero::Untrue => false,
        }
    }

    /// How many requests were not refused so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// What the registry last said about its rate limit.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep_quiet(&self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = Some(quiet.map_or(end, |known| known.max(end)));
    }

    fn quiet_until(&self) -> Option<Instant> {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = quiet.filter(|end| *end > Instant::now());
        *quiet
    }
}

/// Requests of one kind.
struct Lane {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    /// How many may be under way; the fraction counts good answers on the way to one more.
    allowed: f64,
    busy: usize,
    lowered: Option<Instant>,
}

impl Lane {
    fn new(most: usize) -> Self {
        let state = State { allowed: most as f64, busy: 0, lowered: None };
        Self { most, state: Mutex::new(state), freed: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter(&self) -> Permit<'_> {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.try_enter() {
                return Permit { lane: self, since: Instant::now() };
            }
            freed.await;
        }
    }

    fn try_enter(&self) -> bool {
        let mut state = self.state();
        let free = state.busy < state.allowed as usize;
        state.busy += usize::from(free);
        free
    }

    fn faster(&self) {
        let mut state = self.state();
        let before = state.allowed as usize;
        state.allowed = (state.allowed + 1.0 / state.allowed).min(self.most as f64);
        if state.allowed as usize > before {
            self.freed.notify_one();
        }
    }
}

/// One request under way.
pub(crate) struct Permit<'a> {
    lane: &'a Lane,
    since: Instant,
}

impl Permit<'_> {
    /// The registry has too much to do: half of what is under way, at least one.
    pub(crate) fn slower(&self) {
        let mut state = self.lane.state();
        // Requests that were under way already when it was lowered say nothing new.
        if state.lowered.is_some_and(|at| self.since <= at) {
            return;
        }
        state.lowered = Some(Instant::now());
        state.allowed = (state.allowed.min(state.busy as f64) / 2.0).floor().max(1.0);
        tracing::debug!(allowed = state.allowed as usize, "fewer requests at once");
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.lane.state().busy -= 1;
        self.lane.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pace: &Pace) -> usize {
        pace.requests.state().allowed as usize
    }

    async fn take(pace: &Pace, count: usize) -> Vec<Permit<'_>> {
        let mut out = Vec::new();
        for _ in 0..count {
            out.push(pace.enter(false).await);
        }
        out
    }

    #[tokio::test]
    async fn a_burst_of_refusals_halves_once_and_good_answers_bring_it_back() {
        let pace = Pace::new(8);
        let burst = take(&pace, 8).await;
        burst.iter().for_each(Permit::slower);
        assert_eq!(allowed(&pace), 4);
        drop(burst);
        for expected in [2, 1, 1] {
            let some = take(&pace, allowed(&pace)).await;
            some[0].slower();
            assert_eq!(allowed(&pace), expected);
        }
        for (answers, expected) in [(1, 2), (3, 3), (4, 4), (100, 8)] {
            (0..answers).for_each(|_| pace.requests.faster());
            assert_eq!(allowed(&pace), expected);
        }
    }

    /// Four jobs that are refused must become two, however many would be allowed.
    #[tokio::test]
    async fn what_is_halved_is_what_was_under_way() {
        let pace = Pace::new(32);
        let some = take(&pace, 4).await;
        some[3].slower();
        assert_eq!(allowed(&pace), 2);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_and_nobody_goes_too_many() {
        let pace = Pace::new(3);
        let most = AtomicU64::new(0);
        let work = (0..50).map(|i| {
            let (pace, most) = (&pace, &most);
            async move {
                let permit = pace.enter(false).await;
                most.fetch_max(pace.requests.state().busy as u64, Relaxed);
                for _ in 0..i % 7 {
                    tokio::task::yield_now().await;
                }
                match i % 10 {
                    0 => permit.slower(),
                    _ => permit.lane.faster(),
                }
            }
        });
        futures_util::future::join_all(work).await;
        assert_eq!(most.load(Relaxed), 3);
        assert_eq!(pace.requests.state().busy, 0);
    }

    /// A registry that always says that nothing is left once made every request wait.
    #[tokio::test]
    async fn nothing_left_is_believed_once() {
        let pace = Pace::new(8);
        let reset = Duration::from_secs(30);
        let (early, heard) = (Instant::now(), |since| pace.heeds_zero(since, "x", reset));
        assert!(heard(early));
        // Under way already when it was said: says nothing new.
        assert!(!heard(early));
        assert!(matches!(*pace.zero.lock().unwrap(), Zero::Since(_)));
        assert!(!heard(Instant::now() + Duration::from_millis(1)));
        assert!(matches!(*pace.zero.lock().unwrap(), Zero::Untrue));
        assert!(!heard(Instant::now()));
    }

    #[tokio::test]
    async fn all_are_quiet_together() {
        let pace = Pace::new(8);
        let start = Instant::now();
        pace.keep_quiet(Duration::from_millis(50));
        pace.keep_quiet(Duration::from_millis(20));
        let work = (0..20).map(|i| pace.enter(i % 2 == 0));
        let work = work.map(|enter| async { drop(enter.await) });
        futures_util::future::join_all(work).await;
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(pace.quiet_until().is_none());
    }
}
