//! What is known of one host: who runs, who waits, who fails, and what follows from that.
//!
//! Pure but for the clock's times that it is given, and for telling a request to give way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::{Error, Key, Kind, Result};
use crate::net::host_limits::bucket::Bucket;
use crate::net::host_limits::failing::Failing;
use crate::net::host_limits::settings::Settings;
use crate::net::host_limits::turns::{Line, Turns};

/// One part in so many: of its limit, a host gets this part before it has answered; of a host's
/// places, the repositories that fail get this part.
const PART: usize = 4;
/// A request without an answer is slow after this time, unless the host's answers usually take
/// long...
const SLOW: Duration = Duration::from_secs(10);
/// ...then after this many times their usual time...
const SLOW_TIMES: u32 = 4;
/// ...but after this time in any case.
const SLOWEST: Duration = Duration::from_secs(60);
/// A request that is given up sooner says nothing about its repository.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// The longest time for which a host is left alone. One request after that does no harm, and tells
/// whether the host still wants a pause.
const MAX_HOLD: Duration = Duration::from_secs(300);
/// The longest pause that a request waits for. For a longer one it gets an error at once, which is
/// of more use to its caller.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Accounts of one host that may be on hold. Beyond that, the hold that ends first is dropped.
pub(super) const MAX_HOLDS: usize = 256;

/// The state of a host. `W` stands for a request that waits.
pub(super) struct State<W> {
    pub(super) circuit: Circuit,
    pub(super) bucket: Bucket,
    /// By the request's number. Numbers grow.
    pub(super) running: HashMap<u64, Running>,
    /// Requests that have no answer yet, in the order of their beginnings.
    pub(super) unanswered: BTreeSet<(Instant, u64)>,
    /// How many of the running requests count as failing, and how many of these were told to give
    /// way.
    pub(super) burdens: usize,
    pub(super) withdrawn: usize,
    pub(super) turns: Turns<W>,
    pub(super) failing: Failing,
    /// By account.
    pub(super) holds: HashMap<u64, Hold>,
    /// How long answers take: an average in which the latest count most.
    usual: Duration,
    last: u64,
    pub(super) timer: Option<(Instant, AbortHandle)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Circuit {
    /// It has not answered yet: not at all, or not since it could not be reached or asked to be
    /// left alone.
    HalfOpen,
    /// It answers.
    Closed,
    /// It could not be reached.
    Open,
}

/// A request that was let in.
pub(super) struct Running {
    pub(super) line: Line,
    /// When the request was sent. `None` while it waits for its place among the requests to all
    /// hosts.
    pub(super) begun: Option<Instant>,
    pub(super) is_answered: bool,
    /// Whether it counts as failing because it has no answer, although its repository was good when
    /// it began.
    pub(super) is_slow: bool,
    /// Whether it counts as failing.
    pub(super) is_burden: bool,
    /// Whether it was told to give way.
    pub(super) is_withdrawn: bool,
    /// Whether its outcome was noted.
    pub(super) is_judged: bool,
    pub(super) withdraw: Arc<Notify>,
}

/// A pause that the host wants from an account.
#[derive(Clone)]
pub(super) struct Hold {
    /// Until when no request is sent.
    pub(super) until: Instant,
    /// Until when the host said that it answers nothing.
    pub(super) said: Instant,
    pub(super) error: Error,
}

impl<W> Default for State<W> {
    fn default() -> State<W> {
        State {
            circuit: Circuit::HalfOpen,
            bucket: Bucket::default(),
            running: HashMap::new(),
            unanswered: BTreeSet::new(),
            burdens: 0,
            withdrawn: 0,
            turns: Turns::default(),
            failing: Failing::default(),
            holds: HashMap::new(),
            usual: Duration::ZERO,
            last: 0,
            timer: None,
        }
    }
}

impl<W> State<W> {
    /// How many requests may run.
    pub(super) fn limit(&self, settings: &Settings) -> usize {
        let limit = settings.per_host.load(Ordering::Relaxed);
        match self.circuit {
            Circuit::Closed => limit,
            Circuit::HalfOpen => (limit / PART).max(1),
            Circuit::Open => 1,
        }
    }

    /// How many of them may be for repositories that fail.
    pub(super) fn part(&self, settings: &Settings) -> usize {
        (self.limit(settings) / PART).max(1)
    }

    /// Lets in a request of `line` if there is room for it now. Returns its number, and the signal
    /// that tells it to give way.
    pub(super) fn let_in(
        &mut self,
        settings: &Settings,
        line: Line,
        now: Instant,
    ) -> Option<(u64, Arc<Notify>)> {
        let is_burden = self.failing.contains(line.repository);
        if self.running.len() >= self.limit(settings)
            || is_burden && self.burdens >= self.part(settings)
            || self.is_held(line.account, now)
            || !self.bucket.take(settings.per_second(), now)
        {
            return None;
        }
        self.last += 1;
        let number = self.last;
        self.burdens += usize::from(is_burden);
        let withdraw = Arc::new(Notify::new());
        let running = Running {
            line,
            begun: None,
            is_answered: false,
            is_slow: false,
            is_burden,
            is_withdrawn: false,
            is_judged: false,
            withdraw: withdraw.clone(),
        };
        self.running.insert(number, running);
        Some((number, withdraw))
    }

    /// If slow requests hold more than their part of the places while others wait, the youngest of
    /// them give way. They are made again at their turn among those that fail.
    pub(super) fn withdraw(&mut self, settings: &Settings, now: Instant) {
        let kept = match self.circuit {
            // A single place is not divided.
            Circuit::Closed => self.part(settings).min(self.limit(settings) - 1),
            // One request has to find out whether the host can be reached.
            Circuit::HalfOpen | Circuit::Open => self.part(settings),
        };
        let beyond = (self.burdens - self.withdrawn).saturating_sub(kept);
        if beyond == 0 || self.running.len() < self.limit(settings) {
            return;
        }
        let waiting = self.turns.good(beyond + self.withdrawn, |account| {
            self.is_held(account, now)
        });
        let mut slow: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, running)| running.is_slow && !running.is_answered && !running.is_withdrawn)
            .map(|(number, _)| *number)
            .collect();
        slow.sort_unstable_by(|a, b| b.cmp(a));
        let count = beyond.min(waiting.saturating_sub(self.withdrawn));
        for number in slow.into_iter().take(count) {
            if let Some(running) = self.running.get_mut(&number) {
                running.is_withdrawn = true;
                // The repository is judged already: it is slow.
                running.is_judged = true;
                running.withdraw.notify_one();
                self.withdrawn += 1;
            }
        }
    }

    /// Leaves the host alone for `account`. Returns whether that is new.
    pub(super) fn hold_off(&mut self, account: u64, hold: Hold, now: Instant) -> bool {
        if self.circuit == Circuit::Closed {
            // After the pause, not all requests are sent at once.
            self.circuit = Circuit::HalfOpen;
        }
        self.holds.retain(|_, hold| hold.until > now);
        // Of two answers at about the same time, the longer one counts.
        let held = self.holds.get(&account);
        if held.is_some_and(|held| held.said >= hold.said) {
            return false;
        }
        let first = self.holds.iter().min_by_key(|(_, hold)| hold.until);
        if let Some(first) = first.map(|(account, _)| *account)
            && self.holds.len() >= MAX_HOLDS
        {
            self.holds.remove(&first);
        }
        self.holds.insert(account, hold);
        true
    }

    /// The time at which there may be room without any other event. `None`: there is no such time.
    pub(super) fn next(&self, settings: &Settings, now: Instant) -> Option<Instant> {
        let has_room = self.running.len() < self.limit(settings);
        let rate = settings.per_second().filter(|_| has_room);
        let token = self.bucket.next(rate, now);
        let holds = self.holds.values().map(|hold| hold.until);
        let held = holds.filter(|until| *until > now).min();
        let slow = self.unanswered.first().map(|(at, _)| *at + self.slow());
        [token, held, slow].into_iter().flatten().min()
    }

    /// The request `number` is sent to the host.
    pub(super) fn begin(&mut self, number: u64, now: Instant) {
        if let Some(running) = self.running.get_mut(&number) {
            running.begun = Some(now);
            self.unanswered.insert((now, number));
        }
    }

    /// The request `number` is over.
    pub(super) fn end(&mut self, settings: &Settings, number: u64, now: Instant) {
        let Some(running) = self.running.remove(&number) else {
            return;
        };
        self.burdens -= usize::from(running.is_burden);
        self.withdrawn -= usize::from(running.is_withdrawn);
        match running.begun {
            None => self.bucket.give_back(settings.per_second(), now),
            Some(begun) => {
                self.unanswered.remove(&(begun, number));
                if !running.is_judged && now - begun >= GIVEN_UP {
                    self.fails(running.line.repository);
                }
            }
        }
    }

    pub(super) fn hold(&self, account: u64, now: Instant) -> Option<&Hold> {
        self.holds.get(&account).filter(|hold| hold.until > now)
    }

    pub(super) fn is_held(&self, account: u64, now: Instant) -> bool {
        !self.holds.is_empty() && self.hold(account, now).is_some()
    }

    /// From when on a request is slow.
    pub(super) fn slow(&self) -> Duration {
        (self.usual * SLOW_TIMES).clamp(SLOW, SLOWEST)
    }

    /// Counts requests that have had no answer for too long as failing.
    pub(super) fn find_slow(&mut self, now: Instant) {
        while let Some((at, number)) = self.unanswered.first().copied()
            && at + self.slow() <= now
        {
            self.unanswered.pop_first();
            let Some(running) = self.running.get_mut(&number) else {
                continue;
            };
            if !running.is_burden {
                running.is_slow = true;
                running.is_burden = true;
                self.burdens += 1;
            }
            let repository = running.line.repository;
            self.fails(repository);
        }
    }

    pub(super) fn fails(&mut self, repository: u64) {
        self.failing.insert(repository);
        self.turns.mark(repository, true);
    }

    pub(super) fn succeeds(&mut self, repository: u64) {
        if self.failing.remove(repository) {
            self.turns.mark(repository, false);
        }
    }

    /// Notes the outcome of the request `number`: whether its repository is good. `None`: the
    /// outcome does not tell.
    pub(super) fn judge(&mut self, number: u64, is_good: Option<bool>) {
        let Some(running) = self.running.get_mut(&number) else {
            return;
        };
        running.is_judged = true;
        let repository = running.line.repository;
        match is_good {
            Some(true) => self.succeeds(repository),
            Some(false) => self.fails(repository),
            None => {}
        }
    }

    /// The request `number` was slow for another reason than its repository.
    pub(super) fn is_no_fault(&mut self, number: u64) {
        if let Some(running) = self.running.get(&number).filter(|running| running.is_slow) {
            self.succeeds(running.line.repository);
        }
    }

    /// An answer to the request `number` has begun, or none will.
    pub(super) fn answered(&mut self, number: u64, is_answer: bool, now: Instant) {
        let Some(running) = self.running.get_mut(&number) else {
            return;
        };
        running.is_answered = true;
        if std::mem::take(&mut running.is_withdrawn) {
            self.withdrawn -= 1;
        }
        if running.is_slow && running.is_burden {
            running.is_burden = false;
            self.burdens -= 1;
        }
        if let Some(begun) = running.begun {
            self.unanswered.remove(&(begun, number));
            if is_answer {
                self.usual = (self.usual * 7 + (now - begun)) / 8;
            }
        }
    }

    /// A repository that is refused counts as good: a refusal costs the host next to nothing.
    pub(super) fn judge_by<T>(&mut self, number: u64, result: &Result<T>) {
        self.judge(number, Some(is_answer(result)));
    }
}

/// Whether a result is an answer of the host: refusals are; no answer, half an answer or a failure
/// of the server is not.
pub(super) fn is_answer<T>(result: &Result<T>) -> bool {
    !matches!(result, Err(failed) if failed.kind == Kind::Network)
}

impl Hold {
    pub(super) fn new(seconds: u64, error: Error, now: Instant) -> Hold {
        // A time that the clock cannot represent is for ever.
        let said = now + Duration::from_secs(seconds.min(u64::from(u32::MAX)));
        Hold {
            until: said.min(now + MAX_HOLD),
            said,
            error,
        }
    }

    pub(super) fn is_too_long(&self, deadline: Option<Instant>, now: Instant) -> bool {
        self.said > now + MAX_WAIT || deadline.is_some_and(|deadline| deadline < self.said)
    }

    /// The error for a request that would wait in vain.
    pub(super) fn refusal(&self, now: Instant) -> Error {
        let left = self.said.saturating_duration_since(now);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let mut error = self.error.clone();
        error.kind = Kind::RateLimited;
        error
            .message
            .push_str("; that was its answer a moment ago, and it was not asked again");
        error.with(Key::RetryAfter, seconds)
    }
}
