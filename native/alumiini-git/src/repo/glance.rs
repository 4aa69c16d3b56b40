//! What a repository was found to be, for as long as nothing in it is touched.
//!
//! To open a repository, to read what it is at and to compare its work tree costs more than the stats of all its files, `.git`
//! included. Where the work tree was once found to be as its commit says, and no stat has changed since, all of that would come out
//! the same. A worker that has just started remembers nothing.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::branch::Branch;
use crate::error::Result;
use crate::job::Job;
use crate::repo::look::Look;
use crate::repo::state::State;

/// A file that changes again within one tick of its file system's clock shows the same ctime. One that changed this long ago
/// cannot: file systems with ticks of two seconds are the coarsest.
const TICK: Duration = Duration::from_secs(3);
/// Bytes that may be remembered, some 3,000,000 names; with more, all repositories are looked at in full again. One gets a part of it.
const MOST_BYTES: usize = 64 << 20;
const MOST_BYTES_OF_ONE: usize = MOST_BYTES / 4;
/// For each so many files, one thread more looks at them.
const FILES_PER_HELPER: usize = 1_000;
const MOST_HELPERS: usize = 3;

/// What is remembered, for all repositories of this process.
pub(crate) struct Glances {
    /// Keyed anew in each process: nobody can make two states that look alike.
    keys: RandomState,
    memory: Mutex<Memory>,
    tick: Duration,
    helpers: usize,
}

#[derive(Default)]
struct Memory {
    known: HashMap<PathBuf, Known>,
    bytes: usize,
}

/// What a repository was found to be.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    look: Arc<Look>,
    /// For which branch its state was asked.
    branch: Branch,
    /// And its work tree was as the commit at HEAD says.
    pub(crate) state: State,
}

impl Memory {
    fn remember(&mut self, path: &Path, known: Known) {
        self.forget(path);
        let bytes = known.look.bytes();
        if bytes > MOST_BYTES_OF_ONE {
            return;
        }
        if self.bytes + bytes > MOST_BYTES {
            *self = Memory::default();
        }
        self.bytes += bytes;
        self.known.insert(path.to_owned(), known);
    }

    fn forget(&mut self, path: &Path) {
        if let Some(known) = self.known.remove(path) {
            self.bytes -= known.look.bytes();
        }
    }
}

impl Glances {
    pub(crate) fn new() -> Glances {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Glances {
            keys: RandomState::new(),
            memory: Mutex::default(),
            tick: TICK,
            helpers: (cores - 1).min(MOST_HELPERS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of the repository at `path`, for a sync of `branch`.
    pub(crate) fn known(&self, path: &Path, branch: &Branch) -> Option<Known> {
        let memory = self.lock();
        memory.known.get(path).filter(|known| known.branch == *branch).cloned()
    }

    /// Whether all at `path` is still as it was when `known` was found. Only while nobody else syncs there.
    pub(crate) fn is_untouched(&self, path: &Path, known: &Known, job: &Job) -> Result<bool> {
        let helpers = (known.look.files / FILES_PER_HELPER).min(self.helpers);
        let still = known.look.is_still(path, &self.keys, job.token(), helpers);
        job.check()?;
        Ok(still)
    }

    /// Runs `find`, which says what the repository at `path` is at and whether its work tree is as HEAD says, and remembers that. Only
    /// while nobody else syncs there.
    pub(crate) fn find(
        &self,
        path: &Path,
        branch: &Branch,
        job: &Job,
        find: impl FnOnce() -> Result<(State, bool)>,
    ) -> Result<(State, bool)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // At first: what changes meanwhile must look different next time.
        let look = Look::at(path, &self.keys, now.saturating_sub(self.tick), job.token());
        job.check()?;
        let (state, settled) = find()?;
        match look.filter(|_| settled) {
            Some(look) => {
                let known = Known {
                    look: Arc::new(look),
                    branch: branch.clone(),
                    state: state.clone(),
                };
                self.lock().remember(path, known);
            }
            None => self.forget(path),
        }
        Ok((state, settled))
    }

    /// For who is about to change what is there: to hold it against what was would be for nothing.
    pub(crate) fn forget(&self, path: &Path) {
        self.lock().forget(path);
    }
}

#[cfg(test)]
#[path = "glance_tests.rs"]
mod tests;
