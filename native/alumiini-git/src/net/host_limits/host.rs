//! One host: which requests it gets, and what is learned from its answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::error::{Error, Hint, Key, Result, panicked};
use crate::net::host_limits::settings::Settings;
use crate::net::host_limits::state::{Circuit, Hold, State, is_answer};
use crate::net::host_limits::turns::Line;
use crate::task::patience;

/// A host, with the requests that wait for it.
pub(super) struct Host {
    settings: Arc<Settings>,
    state: Mutex<State<Waiter>>,
}

struct Waiter {
    admitted: oneshot::Sender<Result<Share>>,
    deadline: Option<Instant>,
}

/// The permit for one request to a host.
pub(super) struct Share {
    host: Arc<Host>,
    number: u64,
    line: Line,
    withdraw: Arc<Notify>,
}

/// A host's state, in numbers.
pub(crate) struct Seen {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) limit: usize,
    pub(crate) per_second: Option<f64>,
    pub(crate) tokens: Option<f64>,
    pub(crate) circuit: Circuit,
    pub(crate) held_for: Option<Duration>,
    pub(crate) failing: usize,
    pub(crate) repositories: Vec<(String, usize)>,
}

/// Takes its request out of the queue when the request is given up.
struct InLine<'a> {
    host: &'a Arc<Host>,
    line: Line,
    number: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.host.lock().turns.remove(self.line, self.number);
    }
}

impl Host {
    pub(super) fn new(settings: Arc<Settings>) -> Arc<Host> {
        Arc::new(Host {
            settings,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<Waiter>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn of `line`. `shown` is the line's URL as it may be shown.
    ///
    /// `network`: the host could not be reached by a request for which this one waited.
    /// `rate_limited`: it wants to be left alone for longer than this one waits.
    pub(super) async fn enter(
        self: &Arc<Self>,
        line: Line,
        shown: impl FnOnce() -> String,
    ) -> Result<Share> {
        let deadline = patience::deadline();
        let (number, admitted) = {
            let mut state = self.lock();
            let now = Instant::now();
            if let Some(hold) = state.hold(line.account, now)
                && hold.is_too_long(deadline, now)
            {
                return Err(hold.refusal(now));
            }
            if state.turns.is_empty()
                && let Some(share) = self.let_in(&mut state, line, now)
            {
                return Ok(share);
            }
            let (sender, admitted) = oneshot::channel();
            let waiter = Waiter {
                admitted: sender,
                deadline,
            };
            let is_failing = state.failing.contains(line.repository);
            (state.turns.push(line, is_failing, shown, waiter), admitted)
        };
        let _in_line = InLine {
            host: self,
            line,
            number,
        };
        self.admit();
        // The sender goes only with what it sends.
        admitted.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Lets in one of `line`, if there is room for it now.
    fn let_in(
        self: &Arc<Self>,
        state: &mut State<Waiter>,
        line: Line,
        now: Instant,
    ) -> Option<Share> {
        let (number, withdraw) = state.let_in(&self.settings, line, now)?;
        Some(Share {
            host: self.clone(),
            number,
            line,
            withdraw,
        })
    }

    /// Lets in as many requests as there is room for, and makes room for the others.
    pub(super) fn admit(self: &Arc<Self>) {
        let mut admitted = vec![];
        {
            let mut state = self.lock();
            let now = Instant::now();
            state.find_slow(now);
            while state.running.len() < state.limit(&self.settings) {
                let may_fail = state.burdens < state.part(&self.settings);
                let next = state
                    .turns
                    .next(may_fail, |account| state.is_held(account, now));
                let Some((line, _)) = next else { break };
                let Some(share) = self.let_in(&mut state, line, now) else {
                    break;
                };
                admitted.push((state.turns.take(line), share));
            }
            state.withdraw(&self.settings, now);
            self.wake(&mut state, now);
        }
        for (waiter, share) in admitted {
            // A request that no longer waits drops its permit, which calls this function again.
            if let Some(waiter) = waiter {
                let _ = waiter.admitted.send(Ok(share));
            }
        }
    }

    /// Looks again at the time when there may be room without any other event.
    fn wake(self: &Arc<Self>, state: &mut State<Waiter>, now: Instant) {
        if state.turns.is_empty() {
            return;
        }
        let Some(at) = state.next(&self.settings, now) else {
            return;
        };
        if let Some((sooner, timer)) = &state.timer {
            if *sooner <= at {
                return;
            }
            timer.abort();
        }
        // Without a runtime no request waits.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let host = Arc::downgrade(self);
        let timer = runtime.spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(host) = host.upgrade() {
                let mut state = host.lock();
                if state.timer.as_ref().is_some_and(|(set, _)| *set == at) {
                    state.timer = None;
                }
                drop(state);
                host.admit();
            }
        });
        state.timer = Some((at, timer.abort_handle()));
    }

    /// The host could not be reached. All requests that wait for it get that error.
    fn fail(&self, failed: &Error) {
        let waiting = {
            let mut state = self.lock();
            state.circuit = Circuit::Open;
            state.turns.drain(|_, _| true)
        };
        for waiter in waiting {
            let _ = waiter.admitted.send(Err(failed.clone()));
        }
    }

    /// The host wants no requests of `account` for a time.
    fn hold(&self, account: u64, seconds: u64, error: &Error) {
        if seconds == 0 {
            return;
        }
        let now = Instant::now();
        let hold = Hold::new(seconds, error.clone(), now);
        let late = {
            let mut state = self.lock();
            if !state.hold_off(account, hold.clone(), now) {
                return;
            }
            state.turns.drain(|of, waiter: &Waiter| {
                of == account && hold.is_too_long(waiter.deadline, now)
            })
        };
        for waiter in late {
            let _ = waiter.admitted.send(Err(hold.refusal(now)));
        }
    }

    /// What there is to see, with the first `most` of those that wait. `None` where nothing is
    /// under way, waits, is held off, cannot be reached or fails.
    pub(super) fn look(&self, most: usize) -> Option<Seen> {
        let mut state = self.lock();
        let now = Instant::now();
        state.holds.retain(|_, hold| hold.until > now);
        let is_idle = state.running.is_empty() && state.turns.is_empty();
        let is_in_order = state.circuit != Circuit::Open && state.failing.len() == 0;
        if is_idle && is_in_order && state.holds.is_empty() {
            return None;
        }
        let per_second = self.settings.per_second();
        let held = state.holds.values().map(|hold| hold.until).max();
        Some(Seen {
            running: state.running.len(),
            waiting: state.turns.len(),
            limit: state.limit(&self.settings),
            per_second,
            tokens: per_second.map(|rate| state.bucket.level(rate, now)),
            circuit: state.circuit,
            held_for: held.map(|until| until - now),
            failing: state.failing.len(),
            repositories: state.turns.first(most),
        })
    }

    #[cfg(test)]
    pub(super) fn close(self: &Arc<Self>) {
        self.lock().circuit = Circuit::Closed;
        self.admit();
    }
}

impl Share {
    /// The request is sent to the host now.
    pub(super) fn begin(&self) {
        let mut state = self.host.lock();
        let now = Instant::now();
        state.begin(self.number, now);
        self.host.wake(&mut state, now);
    }

    /// Returns when the request is to give way to others, and be made again.
    pub(super) async fn withdrawn(&self) {
        self.withdraw.notified().await;
    }

    /// Learns from the beginning of an answer, or from the error in its place.
    pub(super) fn watch<T>(&self, result: &Result<T>) {
        let wait = |failed: &Error| failed.detail.get(&Key::RetryAfter)?.as_u64();
        let mut state = self.host.lock();
        state.answered(self.number, is_answer(result), Instant::now());
        match result {
            Err(failed) if failed.hint == Some(Hint::Unreachable) => {
                state.is_no_fault(self.number);
                state.judge(self.number, None);
                drop(state);
                return self.host.fail(failed);
            }
            Err(failed) if wait(failed).is_some() => {
                state.judge(self.number, None);
                drop(state);
                let seconds = wait(failed).unwrap_or_default();
                self.host.hold(self.line.account, seconds, failed);
            }
            result => {
                state.circuit = Circuit::Closed;
                if result.is_err() {
                    state.judge_by(self.number, result);
                }
                drop(state);
            }
        }
        self.host.admit();
    }

    /// Learns from the end of an answer.
    pub(super) fn judge<T>(&self, result: &Result<T>) {
        self.host.lock().judge_by(self.number, result);
        self.host.admit();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.host.lock();
        state.end(&self.host.settings, self.number, Instant::now());
        drop(state);
        self.host.admit();
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
