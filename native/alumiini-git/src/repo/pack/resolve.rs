//! The second pass over a pack: its deltas, on all cores.
//!
//! An object that deltas wait for stays in memory until the last of them has been applied. Of those
//! that wait for one object the one with the most behind it comes last, when the object is not
//! needed any more: what is in memory at once grows with the logarithm of a pack's objects, not
//! with their number.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flate2::{Decompress, FlushDecompress, Status};
use git2::{ObjectType, Odb, Oid};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::arriving::Arrived;
use super::children::Children;
use super::header::Delta;
use super::links::Links;
use super::{Base, Entry, MAX_FILE, Turns, checked_size, corrupt, hasher, id, read_at, thin};
use crate::error::{Error, Key, Kind, Result};
use crate::task::job::Job;
use crate::task::pool::Pool;
use crate::task::progress::Phase;

/// Fewer deltas are not worth a second thread.
const WORTH_HELP: usize = 256;
/// What makes more bytes is left to the leading thread.
const LARGE: usize = 8 << 20;
/// Bytes of one pack's objects in memory that need no leave.
const FREE: u64 = 64 << 20;
/// And that may be there at all: the largest object, what it is made of, and some small ones.
const MAX_ALIVE: u64 = 2 * MAX_FILE as u64 + FREE;
/// How long a thread works before it looks whether another pack waits for one.
const TURN: Duration = Duration::from_millis(50);

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
        let hands = std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(|| work.help())).collect();
            let mut hand = Hand::default();
            let result = work
                .lead(&mut hand)
                .and_then(|()| work.complete(&mut hand, file, odb, &mut end, &mut added));
            work.end();
            let mut hands = vec![hand];
            for helper in helpers {
                match helper.join() {
                    Ok(hand) => hands.push(hand),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result.map(|()| hands)
        })?;
        for hand in hands {
            for (place, id, kind) in hand.found {
                let entry = &mut entries[place as usize];
                (entry.id, entry.kind) = (id, kind);
            }
            links.merge(hand.links);
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

/// An object in memory that deltas wait for.
struct Known {
    kind: ObjectType,
    bytes: Vec<u8>,
    _charge: Charge,
}

/// Bytes in memory, for as long as this is there.
struct Charge {
    alive: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A delta whose base is there.
struct Task {
    entry: u32,
    base: Arc<Known>,
}

/// What one thread has.
struct Hand {
    inflate: Decompress,
    packed: Vec<u8>,
    delta: Vec<u8>,
    /// To do next: the last first.
    tasks: Vec<Task>,
    found: Vec<(u32, Oid, ObjectType)>,
    links: Links,
}

impl Default for Hand {
    fn default() -> Hand {
        Hand {
            inflate: Decompress::new(true),
            packed: Vec::new(),
            delta: Vec::new(),
            tasks: Vec::new(),
            found: Vec::new(),
            links: Links::default(),
        }
    }
}

struct Work<'a> {
    file: &'a File,
    entries: &'a [Entry],
    end: u64,
    children: Children,
    /// Deltas of objects that are known by id only, until those are found; and how many ids that
    /// are.
    waiting: Mutex<HashMap<Oid, Vec<u32>>>,
    ids_waiting: AtomicUsize,
    shared: Mutex<Shared>,
    changed: Condvar,
    /// Helpers that have nothing to do.
    idle: AtomicUsize,
    is_over: AtomicBool,
    alive: Arc<AtomicU64>,
    leave: Mutex<Option<OwnedSemaphorePermit>>,
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

/// A thread's turn at the processor.
struct Turn {
    _place: OwnedSemaphorePermit,
    began: Instant,
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
        let mut waiting: HashMap<Oid, Vec<u32>> = HashMap::new();
        for (place, entry) in entries.iter().enumerate() {
            if let Base::Id(id) = entry.base {
                waiting.entry(id).or_default().push(place as u32);
            }
        }
        Work {
            file,
            entries,
            end,
            children: Children::new(entries),
            ids_waiting: AtomicUsize::new(waiting.len()),
            waiting: Mutex::new(waiting),
            shared: Mutex::default(),
            changed: Condvar::new(),
            idle: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            alive: Arc::default(),
            leave: Mutex::new(None),
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

    fn waiting(&self) -> MutexGuard<'_, HashMap<Oid, Vec<u32>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is below whole objects of the pack.
    fn lead(&self, hand: &mut Hand) -> Result<()> {
        self.job
            .progress(Phase::Index, 0, self.total, self.received);
        let mut wholes = self.entries.iter().enumerate();
        self.until_done(hand, |hand| {
            for (place, entry) in wholes.by_ref() {
                if entry.base != Base::None {
                    continue;
                }
                let next = self.next(place, entry.id);
                if !next.is_empty() {
                    let charge = self.charge(entry.size as usize, true)?;
                    let mut bytes = Vec::new();
                    self.inflate(hand, place, &mut bytes)?;
                    self.push(hand, next, entry.kind, bytes, charge);
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// All that is below objects of the repository, which are put behind the pack's.
    fn complete(
        &self,
        hand: &mut Hand,
        file: &File,
        odb: &Odb<'_>,
        end: &mut u64,
        added: &mut Vec<Entry>,
    ) -> Result<()> {
        let mut wanted: Vec<(u32, Oid)> = self
            .waiting()
            .iter()
            .map(|(id, deltas)| (deltas[0], *id))
            .collect();
        wanted.sort_unstable();
        let mut wanted = wanted.into_iter();
        self.until_done(hand, |hand| {
            for (_, id) in wanted.by_ref() {
                // What is above may have made it meanwhile.
                if !self.waiting().contains_key(&id) {
                    continue;
                }
                self.job.check()?;
                let Some((entry, bytes, behind)) = thin::add(file, *end, odb, id)? else {
                    continue;
                };
                *end = behind;
                let (kind, charge) = (entry.kind, self.charge(bytes.len(), true)?);
                added.push(entry);
                let next = self.take_waiting(id);
                self.push(hand, next, kind, bytes, charge);
                return Ok(true);
            }
            Ok(false)
        })?;
        match self.waiting().keys().min() {
            None => Ok(()),
            Some(id) => Err(corrupt(&format!(
                "it lacks the object {id}, of which one in it is a delta"
            ))),
        }
    }

    /// Resolves what `more` puts into the hand, and all that is below, until it has no more.
    fn until_done(
        &self,
        hand: &mut Hand,
        mut more: impl FnMut(&mut Hand) -> Result<bool>,
    ) -> Result<()> {
        let mut has_more = true;
        let mut turn = self.turn()?;
        loop {
            self.job.check()?;
            if turn.began.elapsed() > TURN {
                drop(turn);
                turn = self.turn()?;
            }
            if let Some(task) = hand.tasks.pop() {
                self.resolve(hand, task, true)?;
                self.share(hand);
                continue;
            }
            let mut shared = self.lock();
            if let Some(error) = shared.error.take() {
                return Err(error);
            }
            if let Some(task) = shared.large.pop() {
                hand.tasks.push(task);
            } else if has_more && shared.tasks.len() < 2 * self.turns.most {
                drop(shared);
                has_more = more(hand)?;
                self.share(hand);
            } else if let Some(task) = shared.tasks.pop() {
                hand.tasks.push(task);
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
    fn help(&self) -> Hand {
        let mut hand = Hand::default();
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
            hand.tasks.push(task);
            while let Some(task) = hand.tasks.pop() {
                if self.is_over.load(Ordering::Relaxed) || self.job.is_cancelled() {
                    hand.tasks.clear();
                } else if let Err(error) = self.resolve(&mut hand, task, false) {
                    hand.tasks.clear();
                    self.lock().error.get_or_insert(error);
                } else if began.elapsed() > TURN {
                    self.lock().tasks.append(&mut hand.tasks);
                } else {
                    self.share(&mut hand);
                }
            }
            drop(turn);
            drop(at_work);
            shared = self.lock();
        }
        drop(shared);
        hand
    }

    fn turn(&self) -> Result<Turn> {
        Ok(Turn {
            _place: self.place(&self.turns.threads)?,
            began: Instant::now(),
        })
    }

    /// Waits for a place, unless the job is cancelled.
    fn place(&self, pool: &Pool) -> Result<OwnedSemaphorePermit> {
        if let Some(place) = pool.try_take() {
            return Ok(place);
        }
        Handle::current().block_on(async {
            tokio::select! {
                place = pool.take(1) => place,
                () = self.job.token().cancelled() => Err(Error::new(Kind::Cancelled, "cancelled")),
            }
        })
    }

    /// Gives half of what a thread has to do to others that have nothing: the oldest, which have
    /// most below them.
    fn share(&self, hand: &mut Hand) {
        if hand.tasks.len() > 1 && self.idle.load(Ordering::Relaxed) > 0 {
            let half = hand.tasks.len() / 2;
            self.lock().tasks.extend(hand.tasks.drain(..half));
            self.changed.notify_all();
        }
    }

    /// Room for so many bytes in memory.
    fn charge(&self, bytes: usize, leads: bool) -> Result<Charge> {
        let bytes = bytes as u64;
        let alive = self.alive.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let charge = Charge {
            alive: self.alive.clone(),
            bytes,
        };
        if alive > MAX_ALIVE {
            let message = format!(
                "the deltas that the remote sent take more than {MAX_ALIVE} bytes of memory"
            );
            return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_ALIVE));
        }
        if alive > FREE && leads {
            let mut leave = self.leave.lock().unwrap_or_else(PoisonError::into_inner);
            if leave.is_none() {
                *leave = Some(self.place(&self.turns.large)?);
            }
        }
        Ok(charge)
    }

    /// Resolves one delta, and puts those that wait for what it makes into the hand.
    fn resolve(&self, hand: &mut Hand, task: Task, leads: bool) -> Result<()> {
        let place = task.entry as usize;
        if !leads && self.entries[place].size as usize > LARGE {
            self.lock().large.push(task);
            return Ok(());
        }
        let mut delta = std::mem::take(&mut hand.delta);
        self.inflate(hand, place, &mut delta)?;
        let parsed =
            Delta::new(&delta).filter(|parsed| parsed.base == task.base.bytes.len() as u64);
        let Some(parsed) = parsed else {
            return Err(corrupt("a delta in it does not fit what it is of"));
        };
        let kind = task.base.kind;
        let size = checked_size(
            Some(kind).filter(|kind| *kind != ObjectType::Blob),
            parsed.result,
        )?;
        if !leads && size > LARGE {
            self.lock().large.push(task);
            return Ok(());
        }
        let charge = self.charge(size, leads)?;
        let mut bytes = Vec::with_capacity(size);
        if parsed.apply(&task.base.bytes, &mut bytes).is_none() {
            return Err(corrupt("a delta in it does not do what it says"));
        }
        drop(task);
        if delta.capacity() <= LARGE {
            hand.delta = delta;
        }
        let mut hash = hasher(kind, size);
        hash.update(&bytes);
        let id = id(hash)?;
        hand.links.add(kind, id, &bytes);
        hand.found.push((place as u32, id, kind));
        let next = self.next(place, id);
        self.push(hand, next, kind, bytes, charge);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.job.reach("index");
        self.job
            .progress(Phase::Index, done, self.total, self.received);
        Ok(())
    }

    /// The deltas of the entry at `place`, whose id is `id`.
    fn next(&self, place: usize, id: Oid) -> Vec<u32> {
        let mut next = self.children.of(place).to_vec();
        next.append(&mut self.take_waiting(id));
        next
    }

    fn take_waiting(&self, id: Oid) -> Vec<u32> {
        if self.ids_waiting.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut waiting = self.waiting();
        let deltas = waiting.remove(&id).unwrap_or_default();
        self.ids_waiting.store(waiting.len(), Ordering::Release);
        deltas
    }

    fn push(
        &self,
        hand: &mut Hand,
        mut next: Vec<u32>,
        kind: ObjectType,
        bytes: Vec<u8>,
        charge: Charge,
    ) {
        if next.is_empty() {
            return;
        }
        next.sort_unstable_by_key(|entry| Reverse(self.children.weight[*entry as usize]));
        let base = Arc::new(Known {
            kind,
            bytes,
            _charge: charge,
        });
        hand.tasks.extend(next.into_iter().map(|entry| Task {
            entry,
            base: base.clone(),
        }));
    }

    /// Inflates what the entry at `place` holds into `out`, in place of what is there.
    fn inflate(&self, hand: &mut Hand, place: usize, out: &mut Vec<u8>) -> Result<()> {
        let entry = &self.entries[place];
        let end = self
            .entries
            .get(place + 1)
            .map_or(self.end, |next| next.offset);
        let begin = entry.offset + u64::from(entry.head);
        read_at(self.file, begin, (end - begin) as usize, &mut hand.packed)?;
        out.clear();
        // One more, since nothing is inflated into no room, not even nothing.
        out.reserve_exact(entry.size as usize + 1);
        hand.inflate.reset(true);
        let whole = hand
            .inflate
            .decompress_vec(&hand.packed, out, FlushDecompress::Finish);
        // It was inflated before, as it arrived: what differs now is the disk.
        if !matches!(whole, Ok(Status::StreamEnd)) || out.len() != entry.size as usize {
            return Err(Error::new(
                Kind::Io,
                "cannot read the pack back as it was written",
            ));
        }
        if hand.packed.capacity() > LARGE {
            hand.packed = Vec::new();
        }
        Ok(())
    }
}
