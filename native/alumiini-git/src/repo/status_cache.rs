//! What a repository was found to be, for as long as nothing in it is touched.
//!
//! To open a repository, to read what it is at and to compare its working tree costs more than the
//! stats of all its files, `.git` included. Where the working tree was once found to be as its
//! commit says, and no stat has changed since, all of that would come out the same. A worker that
//! has just started remembers nothing.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::reference::Reference;
use crate::repo::fingerprint::{Fingerprint, What};
use crate::repo::open;
use crate::repo::state::State;
use crate::repo::working_tree::Moved;
use crate::task::job::Job;

/// The coarsest file systems have ticks of two seconds; see `fingerprint::tick_of`.
const TICK: Duration = Duration::from_secs(3);
/// Bytes that may be remembered, some 3,000,000 names; with more, all repositories are looked at in
/// full again. One gets a part of it.
const MAX_BYTES: usize = 64 << 20;
const MAX_BYTES_OF_ONE: usize = MAX_BYTES / 4;
/// For each so many files, one thread more looks at them.
const FILES_PER_HELPER: usize = 1_000;
const MAX_HELPERS: usize = 3;

const GIT: &CStr = c".git";

/// What is remembered, for all repositories of this process. A `key` is where one is; its `path`
/// leads there, while it is locked.
pub(crate) struct StatusCache {
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
    /// None where nothing is checked out.
    tree: Option<Arc<Fingerprint>>,
    git: Git,
    /// Its index, which says the same as the commit at HEAD; none where nothing is checked out.
    index: Option<Identity>,
    /// For which ref its state was asked.
    reference: Reference,
    /// And its working tree was as the commit at HEAD says.
    pub(crate) state: State,
}

/// What `.git` was found to be.
#[derive(Debug, Clone)]
enum Git {
    Seen(Arc<Fingerprint>),
    /// The same just after we wrote there, too lately to know it again by its stats alone: it has
    /// to be read, too.
    Written(Arc<Fingerprint>),
}

/// Which file it is, and when it was written: the device, its number, its size, its times.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

fn identity(file: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(file).ok()?;
    let (modified, changed) = (
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    );
    Some((found.dev(), found.ino(), found.size(), modified, changed))
}

impl Known {
    fn bytes(&self) -> usize {
        let git = match &self.git {
            Git::Seen(look) | Git::Written(look) => look.bytes(),
        };
        self.tree.as_ref().map_or(0, |look| look.bytes()) + git
    }
}

impl Memory {
    fn remember(&mut self, path: &Path, known: Known) {
        self.forget(path);
        let bytes = known.bytes();
        if bytes > MAX_BYTES_OF_ONE {
            return;
        }
        if self.bytes + bytes > MAX_BYTES {
            *self = Memory::default();
        }
        self.bytes += bytes;
        self.known.insert(path.to_owned(), known);
    }

    fn forget(&mut self, path: &Path) {
        if let Some(known) = self.known.remove(path) {
            self.bytes -= known.bytes();
        }
    }
}

impl StatusCache {
    pub(crate) fn new() -> StatusCache {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        StatusCache {
            keys: RandomState::new(),
            memory: Mutex::default(),
            tick: TICK,
            helpers: (cores - 1).min(MAX_HELPERS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of the repository at `key`, for a sync of `reference`; without a working
    /// tree where it is `bare`.
    pub(crate) fn known(&self, key: &Path, reference: &Reference, bare: bool) -> Option<Known> {
        let memory = self.lock();
        let known = memory.known.get(key)?;
        (known.reference == *reference && known.tree.is_none() == bare).then(|| known.clone())
    }

    /// Whether `.git` at `path` is still as it was when `known` was found. Only while nobody else
    /// syncs there. `read` says what the repository is at.
    pub(crate) fn is_still_at(
        &self,
        key: &Path,
        path: &Path,
        known: &Known,
        job: &Job,
        read: impl FnOnce() -> Result<State>,
    ) -> Result<bool> {
        let git_dir = open::git_dir(path);
        match &known.git {
            Git::Seen(look) => Ok(look.is_still(What::All, &git_dir, &self.keys, job.token(), 0)),
            Git::Written(written) => {
                let look = Fingerprint::at(&git_dir, None, &self.keys, self.tick, job.token());
                let is_same = written.is_still(What::All, &git_dir, &self.keys, job.token(), 0)
                    && read()? == known.state;
                if let Some(look) = look.filter(|_| is_same) {
                    let git = Git::Seen(Arc::new(look));
                    self.lock().remember(
                        key,
                        Known {
                            git,
                            ..known.clone()
                        },
                    );
                }
                Ok(is_same)
            }
        }
    }

    /// The same of its working tree and index: whether an update may build on both. `false`, too,
    /// where it is given up by `token`.
    pub(crate) fn is_as_clean(
        &self,
        path: &Path,
        known: &Known,
        token: &CancellationToken,
    ) -> bool {
        if identity(&open::git_dir(path).join("index")) != known.index {
            return false;
        }
        let Some(tree) = &known.tree else { return true };
        tree.is_still(What::All, path, &self.keys, token, self.helpers(tree.files))
    }

    /// Whether a working tree that was clean a moment ago has the same names and the same index
    /// still. A file that was written to since then shows when it is held against `known` next,
    /// also after an update that builds on it.
    pub(crate) fn has_same_names(
        &self,
        path: &Path,
        known: &Known,
        token: &CancellationToken,
    ) -> bool {
        if identity(&open::git_dir(path).join("index")) != known.index {
            return false;
        }
        let Some(tree) = &known.tree else { return true };
        tree.is_still(
            What::Names,
            path,
            &self.keys,
            token,
            self.helpers(tree.folders()),
        )
    }

    fn helpers(&self, stats: usize) -> usize {
        (stats / FILES_PER_HELPER).min(self.helpers)
    }

    /// Runs `find`, which says what the repository at `path` is at and whether its working tree is
    /// as HEAD says, and remembers that. Only while nobody else syncs there.
    pub(crate) fn find(
        &self,
        key: &Path,
        path: &Path,
        reference: &Reference,
        bare: bool,
        job: &Job,
        find: impl FnOnce() -> Result<(State, bool)>,
    ) -> Result<(State, bool)> {
        // At first: what changes meanwhile must look different next time.
        let index = identity(&open::git_dir(path).join("index"));
        let git = Fingerprint::at(
            &open::git_dir(path),
            None,
            &self.keys,
            self.tick,
            job.token(),
        );
        let look =
            || Fingerprint::at(path, Some(GIT), &self.keys, self.tick, job.token()).map(Arc::new);
        let tree = if bare { Some(None) } else { look().map(Some) };
        job.check()?;
        let (state, is_clean) = find()?;
        match (git, tree) {
            (Some(git), Some(tree)) if is_clean => {
                let known = Known {
                    tree,
                    git: Git::Seen(Arc::new(git)),
                    index,
                    reference: reference.clone(),
                    state: state.clone(),
                };
                self.lock().remember(key, known);
            }
            _ => self.forget(key),
        }
        Ok((state, is_clean))
    }

    /// Remembers what a move has made of the working tree at `path`, which was as in `before`,
    /// where that is known; of none, where nothing is checked out. Only while nobody else syncs
    /// there.
    pub(crate) fn moved(
        &self,
        key: &Path,
        path: &Path,
        reference: &Reference,
        before: Option<&Known>,
        moved: Option<&Moved>,
        state: State,
    ) {
        let nothing = Fingerprint::of_nothing();
        let base = before
            .and_then(|known| known.tree.as_deref())
            .unwrap_or(&nothing);
        let index = identity(&open::git_dir(path).join("index"));
        let git = Fingerprint::at_once(&open::git_dir(path), &self.keys).map(Arc::new);
        let tree = match (moved, index) {
            (None, None) => Some(None),
            // Somebody may have staged something since it was written: that is another file.
            (Some(moved), Some((device, number, _, modified, _)))
                if moved.is_index(device, number, modified) =>
            {
                base.after(moved, path, GIT, &self.keys)
                    .map(|look| Some(Arc::new(look)))
            }
            _ => None,
        };
        match (git, tree) {
            (Some(git), Some(tree)) => {
                let known = Known {
                    tree,
                    git: Git::Written(git),
                    index,
                    reference: reference.clone(),
                    state,
                };
                self.lock().remember(key, known);
            }
            _ => self.forget(key),
        }
    }

    /// For who is about to change what is there: to hold it against what was would be for nothing.
    pub(crate) fn forget(&self, path: &Path) {
        self.lock().forget(path);
    }
}

#[cfg(test)]
#[path = "status_cache_tests.rs"]
mod tests;
