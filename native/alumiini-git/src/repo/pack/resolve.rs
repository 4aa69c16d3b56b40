//! The second pass over a pack: its deltas, on all cores.
//!
//! An object that deltas wait for stays in memory until the last of them has been applied. Of those
//! that wait for one object the one with the most behind it comes last, when the object is not
//! needed any more: what is in memory at once grows with the logarithm of a pack's objects, not
//! with their number.

use std::collections::HashSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use git2::{Odb, Oid};

use super::arriving::Arrived;
use super::deltas::Deltas;
use super::links::Links;
use super::memory::Memory;
use super::thread_state::{Task, ThreadState};
use super::turns::{TURN, Turns};
use super::{Base, Entry, corrupt, thin};
use crate::error::{Error, Result};
use crate::task::job::Job;
use crate::task::progress::Phase;

/// Fewer deltas are not worth a second thread.
const WORTH_HELP: usize = 256;

/// A pack whose objects are all known.
pub(super) struct Resolved {
    pub(super) entries: Vec<Entry>,
    /// How many of them are of the repository, for a thin pack.
    pub(super) added: usize,
    /// Where the last one ends.
    pub(super) end: u64,
    pub(super) checksum: [u8; 20],
    pub(super) links: Links,
}

/// Finds out what the deltas in `file` make. What they need and the pack lacks is taken from `odb`.
pub(super) fn run(
    arrived: Arrived,
    file: &File,
    odb: &Odb<'_>,
    turns: &Turns,
    job: &Job,
) -> Result<Resolved> {
    let Arrived {
        mut entries,
        mut end,
        checksum,
        mut links,
        stats,
    } = arrived;
    let mut added = Vec::new();
    let deltas = entries
        .iter()
        .filter(|entry| entry.base != Base::None)
        .count();
    if deltas > 0 {
        let work = Work::new(&entries, end, file, deltas as u64, stats.bytes, turns, job);
        let helpers = if deltas < WORTH_HELP {
            0
        } else {
            turns.most - 1
        };
        let states = std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(|| work.help())).collect();
            let mut state = ThreadState::default();
            let result = work
                .lead(&mut state)
                .and_then(|()| work.complete(&mut state, file, odb, &mut end, &mut added));
            work.end();
            let mut states = vec![state];
            for helper in helpers {
                match helper.join() {
                    Ok(state) => states.push(state),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result.map(|()| states)
        })?;
        for state in states {
            for (place, id, kind) in state.found {
                let entry = &mut entries[place as usize];
                (entry.id, entry.kind) = (id, kind);
            }
            links.merge(state.links);
        }
    }
    let count = added.len();
    entries.append(&mut added);
    refuse_ambiguous(&entries)?;
    Ok(Resolved {
        entries,
        added: count,
        end,
        checksum,
        links,
    })
}

/// An object that is there twice can be looked up as either. Were one of them a delta of the other
/// by its id, that could be a delta of itself for who reads it, without end. Git refuses such a
/// pack, too.
fn refuse_ambiguous(entries: &[Entry]) -> Result<()> {
    let by_id: HashSet<Oid> = entries
        .iter()
        .filter_map(|entry| match entry.base {
            Base::Id(id) => Some(id),
            _ => None,
        })
        .collect();
    let mut seen = HashSet::new();
    let twice = entries
        .iter()
        .filter(|entry| by_id.contains(&entry.id))
        .find(|entry| !seen.insert(entry.id));
    match twice {
        None => Ok(()),
        Some(entry) => Err(corrupt(&format!(
            "the object {}, of which one in it is a delta, is there twice",
            entry.id
        ))),
    }
}

struct Work<'a> {
    deltas: Deltas<'a>,
    shared: Mutex<Shared>,
    changed: Condvar,
    /// Helpers that have nothing to do.
    idle: AtomicUsize,
    is_over: AtomicBool,
    memory: Memory<'a>,
    done: AtomicU64,
    total: u64,
    received: u64,
    turns: &'a Turns,
    job: &'a Job,
}

#[derive(Default)]
struct Shared {
    tasks: Vec<Task>,
    /// That take a lot of memory.
    large: Vec<Task>,
    /// Helpers that have something to do.
    at_work: usize,
    error: Option<Error>,
}

/// A helper that has something to do, until this is dropped.
struct AtWork<'a, 'b>(&'a Work<'b>);

impl Drop for AtWork<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().at_work -= 1;
        self.0.changed.notify_all();
    }
}

impl<'a> Work<'a> {
    fn new(
        entries: &'a [Entry],
        end: u64,
        file: &'a File,
        total: u64,
        received: u64,
        turns: &'a Turns,
        job: &'a Job,
    ) -> Work<'a> {
        Work {
            deltas: Deltas::new(entries, end, file),
            shared: Mutex::default(),
            changed: Condvar::new(),
            idle: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            memory: Memory::new(turns, job),
            done: AtomicU64::new(0),
            total,
            received,
            turns,
            job,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is below whole objects of the pack.
    fn lead(&self, state: &mut ThreadState) -> Result<()> {
        self.job
            .progress(Phase::Index, 0, self.total, self.received);
        let mut wholes = self.deltas.entries.iter().enumerate();
        self.until_done(state, |state| {
            for (place, entry) in wholes.by_ref() {
                if entry.base != Base::None {
                    continue;
                }
                let next = self.deltas.next(place, entry.id);
                if !next.is_empty() {
                    let charge = self.memory.charge(entry.size as usize, true)?;
                    let mut bytes = Vec::new();
                    self.deltas
                        .inflate(&mut state.inflater, place, &mut bytes)?;
                    state.push(&self.deltas, next, entry.kind, bytes, charge);
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// All that is below objects of the repository, which are put behind the pack's.
    fn complete(
        &self,
        state: &mut ThreadState,
        file: &File,
        odb: &Odb<'_>,
        end: &mut u64,
        added: &mut Vec<Entry>,
    ) -> Result<()> {
        let mut wanted = self.deltas.wanted().into_iter();
        self.until_done(state, |state| {
            for id in wanted.by_ref() {
                // What is above may have made it meanwhile.
                if !self.deltas.is_wanted(id) {
                    continue;
                }
                self.job.check()?;
                let Some((entry, bytes, behind)) = thin::add(file, *end, odb, id)? else {
                    continue;
                };
                *end = behind;
                let (kind, charge) = (entry.kind, self.memory.charge(bytes.len(), true)?);
                added.push(entry);
                let next = self.deltas.take_waiting(id);
                state.push(&self.deltas, next, kind, bytes, charge);
                return Ok(true);
            }
            Ok(false)
        })?;
        match self.deltas.wanted().iter().min() {
            None => Ok(()),
            Some(id) => Err(corrupt(&format!(
                "it lacks the object {id}, of which one in it is a delta"
            ))),
        }
    }

    /// Resolves what `more` puts into `state`, and all that is below, until it has no more.
    fn until_done(
        &self,
        state: &mut ThreadState,
        mut more: impl FnMut(&mut ThreadState) -> Result<bool>,
    ) -> Result<()> {
        let mut has_more = true;
        let mut turn = self.turns.begin(self.job)?;
        loop {
            self.job.check()?;
            if turn.is_over() {
                drop(turn);
                turn = self.turns.begin(self.job)?;
            }
            if let Some(task) = state.tasks.pop() {
                self.resolve(state, task, true)?;
                self.share(state);
                continue;
            }
            let mut shared = self.lock();
            if let Some(error) = shared.error.take() {
                return Err(error);
            }
            if let Some(task) = shared.large.pop() {
                state.tasks.push(task);
            } else if has_more && shared.tasks.len() < 2 * self.turns.most {
                drop(shared);
                has_more = more(state)?;
                self.share(state);
            } else if let Some(task) = shared.tasks.pop() {
                state.tasks.push(task);
            } else if shared.at_work == 0 {
                return Ok(());
            } else {
                // Not for ever, to see a cancel.
                let waited = self.changed.wait_timeout(shared, TURN);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        drop(self.lock());
        self.changed.notify_all();
    }

    /// What the other threads do, until it is over.
    fn help(&self) -> ThreadState {
        let mut state = ThreadState::default();
        let mut shared = self.lock();
        while !self.is_over.load(Ordering::Acquire) {
            let turn = match shared.tasks.is_empty() {
                true => None,
                false => self.turns.threads.try_take(),
            };
            let task = turn.as_ref().and_then(|_| shared.tasks.pop());
            let Some(task) = task else {
                self.idle.fetch_add(1, Ordering::Relaxed);
                // Not for ever: nobody tells when a turn is to be had.
                let waited = self.changed.wait_timeout(shared, TURN);
                (shared, _) = waited.unwrap_or_else(PoisonError::into_inner);
                self.idle.fetch_sub(1, Ordering::Relaxed);
                continue;
            };
            shared.at_work += 1;
            drop(shared);
            let at_work = AtWork(self);
            let began = Instant::now();
            state.tasks.push(task);
            while let Some(task) = state.tasks.pop() {
                if self.is_over.load(Ordering::Relaxed) || self.job.is_cancelled() {
                    state.tasks.clear();
                } else if let Err(error) = self.resolve(&mut state, task, false) {
                    state.tasks.clear();
                    self.lock().error.get_or_insert(error);
                } else if began.elapsed() > TURN {
                    self.lock().tasks.append(&mut state.tasks);
                } else {
                    self.share(&mut state);
                }
            }
            drop(turn);
            drop(at_work);
            shared = self.lock();
        }
        drop(shared);
        state
    }

    /// Gives half of what a thread has to do to others that have nothing: the oldest, which have
    /// most below them.
    fn share(&self, state: &mut ThreadState) {
        if state.tasks.len() > 1 && self.idle.load(Ordering::Relaxed) > 0 {
            let half = state.tasks.len() / 2;
            self.lock().tasks.extend(state.tasks.drain(..half));
            self.changed.notify_all();
        }
    }

    /// Resolves one delta, or leaves it to the leading thread.
    fn resolve(&self, state: &mut ThreadState, task: Task, leads: bool) -> Result<()> {
        if let Some(large) = state.resolve(&self.deltas, &self.memory, task, leads)? {
            self.lock().large.push(large);
            return Ok(());
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.job.reach("index");
        self.job
            .progress(Phase::Index, done, self.total, self.received);
        Ok(())
    }
}
