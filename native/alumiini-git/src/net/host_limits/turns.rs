//! Which request is next at a host. Repositories take turns; the requests of each are served in the
//! order in which they came.
//!
//! Pure. The requests that wait for one repository with the same credentials are a line. A line
//! that has had its turn goes behind the others, so that a thousand requests for one repository
//! weigh as much as one. Lines of repositories that fail are kept apart, since they may be passed
//! over.

use std::collections::{BTreeMap, HashMap};

/// Identifies a line, by hashes: so a long URL is kept once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Line {
    /// Of the repository's URL, without credentials.
    pub(super) repository: u64,
    /// Of the credentials.
    pub(super) account: u64,
}

/// The lines of one host.
pub(super) struct Turns<T> {
    lines: HashMap<Line, Waiting<T>>,
    /// By the number of their turn.
    good: BTreeMap<u64, Line>,
    failing: BTreeMap<u64, Line>,
    count: usize,
    last: u64,
}

struct Waiting<T> {
    turn: u64,
    is_failing: bool,
    /// The URL, for people.
    shown: String,
    waiters: BTreeMap<u64, T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Turns {
            lines: HashMap::new(),
            good: BTreeMap::new(),
            failing: BTreeMap::new(),
            count: 0,
            last: 0,
        }
    }
}

impl<T> Turns<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn ring(&mut self, is_failing: bool) -> &mut BTreeMap<u64, Line> {
        match is_failing {
            true => &mut self.failing,
            false => &mut self.good,
        }
    }

    /// Puts a request at the end of its line. The number that is returned takes it out again.
    pub(super) fn push(
        &mut self,
        line: Line,
        is_failing: bool,
        shown: impl FnOnce() -> String,
        waiter: T,
    ) -> u64 {
        let number = self.number();
        if !self.lines.contains_key(&line) {
            self.ring(is_failing).insert(number, line);
            let waiting = Waiting {
                turn: number,
                is_failing,
                shown: shown(),
                waiters: BTreeMap::new(),
            };
            self.lines.insert(line, waiting);
        }
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.waiters.insert(number, waiter);
            self.count += 1;
        }
        number
    }

    /// The line whose turn it is. Lines that fail count only where they may run, and lines whose
    /// account is on hold do not count.
    pub(super) fn next(
        &self,
        may_fail: bool,
        is_held: impl Fn(u64) -> bool,
    ) -> Option<(Line, bool)> {
        let first = |ring: &BTreeMap<u64, Line>| {
            let mut lines = ring.iter();
            let found = lines.find(|(_, line)| !is_held(line.account));
            found.map(|(turn, line)| (*turn, *line))
        };
        let good = first(&self.good);
        let failing = may_fail.then(|| first(&self.failing)).flatten();
        match (good, failing) {
            (Some((turn, line)), Some((other, _))) if turn < other => Some((line, false)),
            (_, Some((_, line))) => Some((line, true)),
            (Some((_, line)), None) => Some((line, false)),
            (None, None) => None,
        }
    }

    /// Takes the first request of a line. The line has then had its turn.
    pub(super) fn take(&mut self, line: Line) -> Option<T> {
        let number = self.number();
        let waiting = self.lines.get_mut(&line)?;
        let (_, waiter) = waiting.waiters.pop_first()?;
        let (turn, is_failing) = (waiting.turn, waiting.is_failing);
        let is_over = waiting.waiters.is_empty();
        waiting.turn = number;
        self.count -= 1;
        let ring = self.ring(is_failing);
        ring.remove(&turn);
        if is_over {
            self.lines.remove(&line);
        } else {
            ring.insert(number, line);
        }
        Some(waiter)
    }

    /// Takes out a request that no longer waits.
    pub(super) fn remove(&mut self, line: Line, number: u64) {
        if let Some(waiting) = self.lines.get_mut(&line)
            && waiting.waiters.remove(&number).is_some()
        {
            self.count -= 1;
            self.close(line);
        }
    }

    /// Forgets a line in which nobody waits.
    fn close(&mut self, line: Line) {
        if let Some(waiting) = self.lines.get(&line)
            && waiting.waiters.is_empty()
        {
            let (turn, is_failing) = (waiting.turn, waiting.is_failing);
            self.ring(is_failing).remove(&turn);
            self.lines.remove(&line);
        }
    }

    /// Takes out all requests that `is_meant` selects, by their account and themselves.
    pub(super) fn drain(&mut self, is_meant: impl Fn(u64, &T) -> bool) -> Vec<T> {
        let mut taken = vec![];
        for (line, waiting) in &mut self.lines {
            let meant: Vec<u64> = waiting
                .waiters
                .iter()
                .filter(|(_, waiter)| is_meant(line.account, waiter))
                .map(|(number, _)| *number)
                .collect();
            taken.extend(
                meant
                    .iter()
                    .filter_map(|number| waiting.waiters.remove(number)),
            );
        }
        self.count -= taken.len();
        for line in self.lines.keys().copied().collect::<Vec<_>>() {
            self.close(line);
        }
        taken
    }

    /// Notes that a repository fails, or no longer does. Its lines keep their turns.
    pub(super) fn mark(&mut self, repository: u64, is_failing: bool) {
        let mut moved = vec![];
        for (line, waiting) in &mut self.lines {
            if line.repository == repository && waiting.is_failing != is_failing {
                waiting.is_failing = is_failing;
                moved.push((waiting.turn, *line));
            }
        }
        for (turn, line) in moved {
            self.ring(!is_failing).remove(&turn);
            self.ring(is_failing).insert(turn, line);
        }
    }

    /// How many requests of lines that do not fail could be let in, counted up to `most`.
    pub(super) fn good(&self, most: usize, is_held: impl Fn(u64) -> bool) -> usize {
        let lines = self.good.values().filter(|line| !is_held(line.account));
        let mut count = 0;
        for line in lines {
            count += self.lines.get(line).map_or(0, |line| line.waiters.len());
            if count >= most {
                return most;
            }
        }
        count
    }

    /// The first lines by their turns, as many as `most`: the URL of each, and how many wait.
    pub(super) fn first(&self, most: usize) -> Vec<(String, usize)> {
        let mut lines: Vec<(u64, &Line)> = self
            .good
            .iter()
            .take(most)
            .chain(self.failing.iter().take(most))
            .map(|(turn, line)| (*turn, line))
            .collect();
        lines.sort_unstable_by_key(|(turn, _)| *turn);
        lines
            .into_iter()
            .take(most)
            .filter_map(|(_, line)| self.lines.get(line))
            .map(|waiting| (waiting.shown.clone(), waiting.waiters.len()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(repository: u64) -> Line {
        Line {
            repository,
            account: 0,
        }
    }

    fn push(turns: &mut Turns<u32>, repository: u64, waiter: u32) -> u64 {
        turns.push(line(repository), false, || format!("r{repository}"), waiter)
    }

    fn all(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| {
            let (line, _) = turns.next(true, |_| false)?;
            turns.take(line)
        })
        .collect()
    }

    #[test]
    fn a_thousand_of_one_repository_are_one_among_those_that_wait() {
        let mut turns = Turns::default();
        for waiter in 0..1_000 {
            push(&mut turns, 1, waiter);
        }
        for (repository, waiter) in [(2, 2_000), (3, 3_000), (2, 2_001)] {
            push(&mut turns, repository, waiter);
        }
        assert_eq!(turns.len(), 1_003);
        assert_eq!(turns.first(2), [("r1".into(), 1_000), ("r2".into(), 2)]);
        let order = all(&mut turns);
        assert_eq!(&order[..6], &[0, 2_000, 3_000, 1, 2_001, 2]);
        assert_eq!(order.len(), 1_003);
        assert!(turns.is_empty() && turns.lines.is_empty());
    }

    #[test]
    fn those_that_fail_are_passed_over_where_they_may_not() {
        let mut turns = Turns::default();
        for (repository, waiter) in [(1, 10), (2, 20), (1, 11), (3, 30)] {
            push(&mut turns, repository, waiter);
        }
        turns.mark(1, true);
        assert_eq!(turns.next(true, |_| false), Some((line(1), true)));
        assert_eq!(turns.next(false, |_| false), Some((line(2), false)));
        assert_eq!((turns.good(9, |_| false), turns.good(1, |_| false)), (2, 1));
        turns.mark(2, true);
        turns.mark(3, true);
        assert_eq!(turns.next(false, |_| false), None);
        turns.mark(1, false);
        assert_eq!(turns.next(true, |_| false), Some((line(1), false)));
        assert_eq!(all(&mut turns), [10, 20, 30, 11]);
    }

    #[test]
    fn who_does_not_wait_any_more_leaves_nothing() {
        let mut turns = Turns::default();
        let first = push(&mut turns, 1, 10);
        let second = push(&mut turns, 1, 11);
        let other = push(&mut turns, 2, 20);
        turns.remove(line(1), first);
        turns.remove(line(1), first);
        turns.remove(line(2), other);
        assert_eq!((turns.len(), turns.lines.len()), (1, 1));
        assert_eq!(all(&mut turns), [11]);
        turns.remove(line(1), second);
        assert!(turns.good.is_empty() && turns.failing.is_empty() && turns.is_empty());
    }

    #[test]
    fn accounts_that_are_held_off_are_passed_over() {
        let mut turns = Turns::default();
        let line = |repository, account| Line {
            repository,
            account,
        };
        for (at, waiter) in [(line(1, 7), 10), (line(1, 8), 20), (line(2, 7), 30)] {
            turns.push(at, false, String::new, waiter);
        }
        assert_eq!(
            turns.next(true, |account| account == 7),
            Some((line(1, 8), false))
        );
        assert_eq!(turns.good(9, |account| account == 7), 1);
        let mut taken = turns.drain(|account, waiter| account == 7 && *waiter > 10);
        taken.sort_unstable();
        assert_eq!((taken, turns.len()), (vec![30], 2));
        assert_eq!(all(&mut turns), [10, 20]);
    }
}
