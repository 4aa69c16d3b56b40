//! What is known of one host: who runs, who waits, who fails, and what follows from that.
//!
//! Pure but for the clock's times that it is given, and for telling a request to give way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::{Error, Key, Kind, Result};
use crate::net::host_limits::bucket::Bucket;
use crate::net::host_limits::failing::Failing;
use crate::net::host_limits::turns::{Line, Turns};

const PER_HOST: usize = 32;
/// The part of its limit that a host gets before it has answered anything, and the part of its
/// places that repositories get which fail.
const PART: usize = 4;
/// A request that has no answer for so long is slow, unless this host's answers take long...
const SLOW: Duration = Duration::from_secs(10);
/// ...so many times as long as they do...
const SLOW_TIMES: u32 = 4;
/// ...and in any case after this.
const SLOWEST: Duration = Duration::from_secs(60);
/// One that is given up sooner says nothing of the repository.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// How long a host is left alone at most. It does no harm to look then whether it still means it.
const MAX_HOLD: Duration = Duration::from_secs(300);
/// How long that is waited for. Who would wait longer has more use of an answer.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Accounts of one host that may be held off. Beyond that, the one that is free first is.
pub(super) const MAX_HOLDS: usize = 256;

/// What holds for each host.
pub(super) struct Settings {
    pub(super) per_host: AtomicUsize,
    /// The bits of a number; 0 for none.
    per_second: AtomicU64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            per_host: AtomicUsize::new(PER_HOST),
            per_second: AtomicU64::new(0),
        }
    }
}

impl Settings {
    pub(super) fn set_per_second(&self, rate: f64) {
        self.per_second.store(rate.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn per_second(&self) -> Option<f64> {
        Some(f64::from_bits(self.per_second.load(Ordering::Relaxed))).filter(|rate| *rate > 0.0)
    }
}

/// A host's numbers, and those who wait: `W` each.
pub(super) struct State<W> {
    pub(super) circuit: Circuit,
    pub(super) bucket: Bucket,
    /// By number, which grows.
    pub(super) running: HashMap<u64, Running>,
    /// Those that have no answer yet, by when they began.
    pub(super) unanswered: BTreeSet<(Instant, u64)>,
    /// How many of those that run count as failing, and how many of them were told to give way.
    pub(super) burdens: usize,
    pub(super) withdrawn: usize,
    pub(super) turns: Turns<W>,
    pub(super) failing: Failing,
    /// By account.
    pub(super) holds: HashMap<u64, Hold>,
    /// How long its answers take, the last ones counting most.
    usual: Duration,
    last: u64,
    pub(super) timer: Option<(Instant, AbortHandle)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Circuit {
    /// Not reached yet, or not since it could not be, or since it asked to be left alone.
    HalfOpen,
    /// It answers.
    Closed,
    /// It could not be reached.
    Open,
}

/// A request that was let in.
pub(super) struct Running {
    pub(super) line: Line,
    /// When it was asked. `None` while it waits for its place among all.
    pub(super) begun: Option<Instant>,
    pub(super) is_answered: bool,
    /// Whether it was let in as a good one, and counts as failing since it has no answer.
    pub(super) is_slow: bool,
    /// Whether it counts as failing.
    pub(super) is_burden: bool,
    /// Whether it was told to give way.
    pub(super) is_withdrawn: bool,
    /// Whether it is known what came of it.
    pub(super) is_judged: bool,
    pub(super) withdraw: Arc<Notify>,
}

/// An account that the host wants to be left alone by.
#[derive(Clone)]
pub(super) struct Hold {
    /// Until when nothing is asked.
    pub(super) until: Instant,
    /// Until when it said that it answers nothing.
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
    /// How many may run.
    pub(super) fn limit(&self, settings: &Settings) -> usize {
        let limit = settings.per_host.load(Ordering::Relaxed);
        match self.circuit {
            Circuit::Closed => limit,
            Circuit::HalfOpen => (limit / PART).max(1),
            Circuit::Open => 1,
        }
    }

    /// How many of them may be of repositories that fail.
    pub(super) fn part(&self, settings: &Settings) -> usize {
        (self.limit(settings) / PART).max(1)
    }

    /// Lets in one of `line`, if there is room for it now: its number, and what tells it to give
    /// way.
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

    /// Where slow requests have more than their part of the places and others wait, the youngest of
    /// them give way. They ask again, when it is their turn among those that fail.
    pub(super) fn withdraw(&mut self, settings: &Settings, now: Instant) {
        let kept = match self.circuit {
            // Where there is one place only, it is nobody's part.
            Circuit::Closed => self.part(settings).min(self.limit(settings) - 1),
            // Somebody has to find out whether the host can be reached.
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
                // What is to be known of the repository is known: it is slow.
                running.is_judged = true;
                running.withdraw.notify_one();
                self.withdrawn += 1;
            }
        }
    }

    /// Leaves the host alone for `account`. Returns whether that is new.
    pub(super) fn hold_off(&mut self, account: u64, hold: Hold, now: Instant) -> bool {
        if self.circuit == Circuit::Closed {
            // What comes after is not to come all at once.
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

    /// When time alone may have made room. `None`: it will not.
    pub(super) fn next(&self, settings: &Settings, now: Instant) -> Option<Instant> {
        let has_room = self.running.len() < self.limit(settings);
        let rate = settings.per_second().filter(|_| has_room);
        let token = self.bucket.next(rate, now);
        let holds = self.holds.values().map(|hold| hold.until);
        let held = holds.filter(|until| *until > now).min();
        let slow = self.unanswered.first().map(|(at, _)| *at + self.slow());
        [token, held, slow].into_iter().flatten().min()
    }

    /// The host is asked by the request `number`.
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

    /// Counts as failing what has had no answer for too long.
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

    /// What came of the request `number`: whether its repository is in order. `None`: that does not
    /// say.
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

    /// What made the request `number` slow was not its repository.
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

    /// A refusal is in order: it costs the host next to nothing.
    pub(super) fn judge_by<T>(&mut self, number: u64, result: &Result<T>) {
        self.judge(number, Some(is_answer(result)));
    }
}

/// Whether it is one: refusals are, and no answer, half of one or the server's own failure is not.
pub(super) fn is_answer<T>(result: &Result<T>) -> bool {
    !matches!(result, Err(failed) if failed.kind == Kind::Network)
}

impl Hold {
    pub(super) fn new(seconds: u64, error: Error, now: Instant) -> Hold {
        // What no clock can count to is for ever.
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

    /// The answer to one that would wait for nothing.
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
