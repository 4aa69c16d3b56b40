//! The place of a sync, and what an unfinished one leaves there.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::repo::held_dir::HeldDir;
use crate::repo::lock::{DirLock, remove_made};
use crate::repo::no_links::Made;
use crate::repo::{open, pack};
use crate::task::job::{Hold, Job};

/// The right to sync a path, and what has to be cleaned away if that does not end well. Held by every thread that is at
/// work there; the path is free again when the last of them has let go.
pub(super) struct SyncGuard {
    /// For messages, and for what is remembered of it. All work is done at [`SyncGuard::dir`].
    pub(super) path: PathBuf,
    made: Vec<Made>,
    /// The new `.git` until it has its name.
    build: Mutex<Option<PathBuf>>,
    /// Let go of in this order: who finds the lock taken looks whether the turn is.
    held: Arc<(DirLock, OwnedMutexGuard<()>, Hold)>,
    /// The sync ended well, or was cleaned up after.
    ended: AtomicBool,
}

impl SyncGuard {
    /// `made`: directories that were not there before, innermost first.
    pub(super) fn new(
        path: PathBuf,
        made: Vec<Made>,
        turn: OwnedMutexGuard<()>,
        lock: DirLock,
        job: &Job,
    ) -> SyncGuard {
        SyncGuard {
            path,
            made,
            build: Mutex::new(None),
            held: Arc::new((lock, turn, job.hold())),
            ended: AtomicBool::new(false),
        }
    }

    /// The directory that is locked.
    pub(super) fn dir(&self) -> &HeldDir {
        self.held.0.dir()
    }

    /// Notes where a new `.git` is being built, or that it has its name.
    pub(super) fn builds(&self, git_dir: Option<PathBuf>) {
        *self.build.lock().unwrap_or_else(PoisonError::into_inner) = git_dir;
    }

    fn build(&self) -> Option<PathBuf> {
        self.build.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The sync ended well, or was cleaned up after: nothing is left to clean away.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Takes away what an unfinished sync made.
    pub(super) fn clean(&self) {
        clean(self.dir(), self.build(), &self.made);
    }
}

fn clean(dir: &HeldDir, build: Option<PathBuf>, made: &[Made]) {
    if dir.check().is_err() {
        return;
    }
    if let Some(build) = build {
        let _ = fs::remove_dir_all(build);
    }
    let _ = fs::remove_dir_all(pack::incoming(&open::git_dir(dir.at())));
    remove_made(made);
}

impl Drop for SyncGuard {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let (made, build, held) = (std::mem::take(&mut self.made), self.build(), self.held.clone());
        let clean = move || clean(held.0.dir(), build, &made);
        // After a cancel the last to let go may be a thread of the runtime, which must not wait for the disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(clean)),
            Err(_) => clean(),
        }
    }
}
