//! Whether anything below a directory was touched since it was last found to be as it should.
//!
//! The full comparison (`repo::worktree`) reads the index and the commit's trees, which costs more than the stats of all files.
//! Where it once said yes and no stat has changed since, it would say so again. What is remembered of a directory is one
//! number; a worker that has just started remembers nothing and compares in full.

#![allow(clippy::unnecessary_cast, reason = "the types of a stat differ between systems")]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git2::Oid;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::error::Result;
use crate::job::Job;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A file that changes again within one tick of its file system's clock shows the same ctime. One that changed this long ago
/// cannot: file systems with ticks of two seconds are the coarsest.
const TICK: Duration = Duration::from_secs(3);
/// Directories that are open at once, one in the other. A deeper work tree is compared in full.
const MOST_DEEP: usize = 64;
/// Directories that are remembered; with more, all are compared in full again.
const MOST_KNOWN: usize = 16_384;

/// What is remembered, for all repositories of this process.
pub(crate) struct Glances {
    /// Keyed anew in each process: nobody can make two states that look alike.
    keys: RandomState,
    known: Mutex<HashMap<PathBuf, (Oid, u64)>>,
    tick: Duration,
}

impl Glances {
    pub(crate) fn new() -> Glances {
        Glances {
            keys: RandomState::new(),
            known: Mutex::default(),
            tick: TICK,
        }
    }

    /// Whether `work` is as `tree` says: what `compare` answers, which is asked unless nothing has been touched since it last
    /// said yes. Only while nobody else syncs there.
    pub(crate) fn settled(
        &self,
        work: &Path,
        tree: Oid,
        job: &Job,
        compare: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        // Before the comparison: what changes meanwhile must look different next time.
        let look = self.look(work, job)?;
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if look.is_some_and(|look| known().get(work) == Some(&(tree, look))) {
            return Ok(true);
        }
        let settled = compare()?;
        let mut known = known();
        match look.filter(|_| settled) {
            Some(look) => {
                if known.len() >= MOST_KNOWN {
                    known.clear();
                }
                known.insert(work.to_owned(), (tree, look));
            }
            None => drop(known.remove(work)),
        }
        Ok(settled)
    }

    /// One number for the names and stats of all that is below `work`, `.git` included: a changed index or a damaged pack is
    /// a change, too. None where they cannot tell, for want of age or of access.
    fn look(&self, work: &Path, job: &Job) -> Result<Option<u64>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut look = Look {
            keys: &self.keys,
            job,
            old: now.saturating_sub(self.tick),
            sum: 0,
        };
        let Ok(root) = rustix::fs::open(work, DIR, Mode::empty()) else {
            return Ok(None);
        };
        let whole = look.directory(root, 0, MOST_DEEP);
        // The comparison would end this way, too.
        job.check()?;
        Ok(whole.map(|()| look.sum))
    }
}

struct Look<'a> {
    keys: &'a RandomState,
    job: &'a Job,
    /// What changed from then on is too young, in time since 1970.
    old: Duration,
    /// Of a number for each entry, since directories are read in no certain order.
    sum: u64,
}

impl Look<'_> {
    /// `place` stands for the directory's own path.
    fn directory(&mut self, dir: OwnedFd, place: u64, depth: usize) -> Option<()> {
        if depth == 0 || self.job.is_cancelled() {
            return None;
        }
        let mut dir = Dir::new(dir).ok()?;
        while let Some(entry) = dir.read() {
            let entry = entry.ok()?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let at = dir.fd().ok()?;
            let place = self.keys.hash_one((place, name));
            if entry.file_type() == FileType::Directory {
                self.sum = self.sum.wrapping_add(place);
                let sub = rustix::fs::openat(at, name, DIR | OFlags::NOFOLLOW, Mode::empty()).ok()?;
                self.directory(sub, place, depth - 1)?;
                continue;
            }
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let times = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
            let changed = Duration::new(stat.st_ctime as u64, stat.st_ctime_nsec as u32);
            // A file system may tell only here that it is a directory.
            if changed >= self.old || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return None;
            }
            let identity = (stat.st_dev as u64, stat.st_ino as u64);
            let what = (stat.st_mode as u32, stat.st_size as i64);
            let entry = self.keys.hash_one((place, times, changed, identity, what));
            self.sum = self.sum.wrapping_add(entry);
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "glance_tests.rs"]
mod tests;
