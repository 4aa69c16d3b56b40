//! Writes the files of a working tree that are not there, on all cores, in the order of their
//! directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::content::{Content, Keeps, refuse};
use super::descent::{Descent, split};

use super::index::{Entry, Recorded};
use crate::error::{Error, Result};
use crate::repo::{open, raw_object};
use crate::task::job::Job;
use crate::task::progress::Phase;

/// Files that are worth a thread of their own, and threads. Each has as many directories open as
/// they are deep.
const WORTH_HELP: usize = 64;
const MAX_THREADS: usize = 8;

/// Writes those of `wanted` that are `missing`, by place, and takes over their stats. Their
/// directories are there.
pub(super) fn files(
    git_dir: &Path,
    work: &Path,
    keeps: &Keeps,
    wanted: &mut [Entry],
    missing: &[usize],
    job: &Job,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MAX_THREADS).min(missing.len() / WORTH_HELP + 1);
    let writing = Writing {
        git_dir,
        work,
        keeps,
        wanted,
        job,
        total: wanted.len() as u64,
        done: AtomicU64::new((wanted.len() - missing.len()) as u64),
        bytes: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let written = std::thread::scope(|scope| {
        let mut shares = missing.chunks(missing.len().div_ceil(threads).max(1));
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| scope.spawn(|| writing.share(share)))
            .collect();
        let mut written = vec![writing.share(own)];
        for other in others {
            written.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        written.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let (done, bytes) = (writing.total, writing.bytes.into_inner());
    for (place, stat) in written.into_iter().flatten() {
        wanted[place].stat = stat;
    }
    job.progress(Phase::Checkout, done, done, bytes);
    Ok(())
}

struct Writing<'a> {
    git_dir: &'a Path,
    work: &'a Path,
    keeps: &'a Keeps,
    wanted: &'a [Entry],
    job: &'a Job,
    total: u64,
    done: AtomicU64,
    bytes: AtomicU64,
    /// Somebody failed.
    is_over: AtomicBool,
}

impl Writing<'_> {
    fn share(&self, missing: &[usize]) -> Result<Vec<(usize, Recorded)>> {
        self.write(missing)
            .inspect_err(|_| self.is_over.store(true, Ordering::Relaxed))
    }

    fn write(&self, missing: &[usize]) -> Result<Vec<(usize, Recorded)>> {
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        // libgit2's handles are for one thread each.
        let repo = open::managed(self.git_dir)?;
        let odb = raw_object::odb(&repo)?;
        let content = Content::new(&odb, self.work, self.keeps, self.job);
        let mut descent =
            Descent::new(self.work).map_err(|errno| Error::io("open", self.work, &errno.into()))?;
        let mut written = Vec::with_capacity(missing.len());
        for place in missing {
            self.job.check()?;
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let entry = &self.wanted[*place];
            let (parent, name) = split(&entry.path);
            for name in entry.path.split(|byte| *byte == b'/') {
                refuse(name, &entry.path)?;
            }
            let dir = descent.to(parent).map_err(|errno| {
                Error::io(
                    "open",
                    &self.work.join(OsStr::from_bytes(parent)),
                    &errno.into(),
                )
            })?;
            let (stat, bytes) = content.write(dir, OsStr::from_bytes(name), entry)?;
            written.push((*place, Recorded::of(&stat)));
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            let bytes = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
            self.job.reach("checkout");
            if done < self.total {
                self.job.progress(Phase::Checkout, done, self.total, bytes);
            }
        }
        Ok(written)
    }
}
