//! The right to change the directory at a path, and the cleanup after a change that failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::error::Result;
use crate::registry::Repo;
use crate::repo::held_dir::HeldDir;
use crate::repo::lock::{DirLock, make_dir, remove_made};
use crate::repo::no_links::Made;
use crate::repo::{open, pack};
use crate::task::job::{Hold, Job};
use crate::worker::Worker;

/// What happens if a path does not exist.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Missing {
    /// Its directories are made.
    Make,
    /// It is an error.
    Refuse,
}

/// The right to change the directory at a path, with a list of what to remove if the change fails.
/// Every thread that works there holds it; the path is free again when the last of them has dropped
/// it.
pub(super) struct SyncGuard {
    pub(super) worker: Arc<Worker>,
    /// The path for messages and for caches. All work is done at [`SyncGuard::dir`].
    pub(super) path: PathBuf,
    pub(super) job: Arc<Job>,
    repo: Arc<Repo>,
    /// Directories that this change made, innermost first.
    made: Vec<Made>,
    /// The directory of a new `.git`, until that is in its place.
    staged: Mutex<Option<PathBuf>>,
    /// Released in this order: a request that finds the lock taken checks whether the turn is
    /// taken, too.
    held: Arc<(DirLock, OwnedMutexGuard<()>, Hold)>,
    /// The change succeeded, or was cleaned up.
    ended: AtomicBool,
}

impl SyncGuard {
    /// Waits for the lock of the repository's directory. `turn` makes sure that only one request of
    /// this process waits for it.
    pub(super) async fn take(
        worker: &Arc<Worker>,
        repo: &Arc<Repo>,
        turn: OwnedMutexGuard<()>,
        job: &Arc<Job>,
        missing: Missing,
    ) -> Result<Arc<SyncGuard>> {
        let made = Arc::new(Mutex::new(Vec::new()));
        let lock = DirLock::take(|| {
            let (path, made) = (repo.path.clone(), made.clone());
            worker.disk.run(move || {
                if missing == Missing::Make {
                    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                    make_dir(&path, &mut made)?;
                }
                DirLock::try_take(&path)
            })
        })
        .await?;
        let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Arc::new(SyncGuard {
            worker: worker.clone(),
            path: repo.path.clone(),
            job: job.clone(),
            repo: repo.clone(),
            made,
            staged: Mutex::new(None),
            held: Arc::new((lock, turn, job.hold())),
            ended: AtomicBool::new(false),
        }))
    }

    /// The directory that is locked.
    pub(super) fn dir(&self) -> &HeldDir {
        self.held.0.dir()
    }

    /// Runs `work` where blocking is allowed, and holds the guard until it has ended. `work` gets a
    /// path that leads to the locked directory; its errors are changed to name the request's path.
    pub(super) async fn disk<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &Job) -> Result<T> + Send + 'static,
    {
        let guard = self.clone();
        let work = move || {
            let dir = guard.dir();
            dir.check()?;
            work(dir.at(), &guard.job).map_err(|error| dir.named(error))
        };
        self.worker.disk.run(work).await
    }

    /// The same, while no request reads the working tree.
    pub(super) async fn moving<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Path, &Job) -> Result<T> + Send + 'static,
    {
        let tree = self.repo.tree.clone().write_owned().await;
        self.disk(move |path, job| {
            let _tree = tree;
            work(path, job)
        })
        .await
    }

    /// Notes the directory where a new `.git` is made, to remove it if the change fails. Once the
    /// new `.git` is in its place, the directory no longer exists.
    pub(super) fn stages(&self, git_dir: PathBuf) {
        *self.staged.lock().unwrap_or_else(PoisonError::into_inner) = Some(git_dir);
    }

    /// Ends the change before its reply is sent, so that a caller that gets an error finds nothing
    /// left behind.
    pub(super) async fn end<T>(self: &Arc<Self>, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let guard = self.clone();
            let clean = move || {
                guard.clean();
                Ok(())
            };
            self.worker.disk.run(clean).await?;
        }
        self.ended.store(true, Ordering::Release);
        result
    }

    fn staged(&self) -> Option<PathBuf> {
        self.staged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn clean(&self) {
        clean(self.dir(), self.staged(), &self.made);
    }
}

/// Removes what an unfinished change made.
fn clean(dir: &HeldDir, staged: Option<PathBuf>, made: &[Made]) {
    if dir.check().is_err() {
        return;
    }
    if let Some(staged) = staged {
        let _ = fs::remove_dir_all(staged);
    }
    let _ = fs::remove_dir_all(pack::incoming(&open::git_dir(dir.at())));
    remove_made(made);
}

impl Drop for SyncGuard {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let (made, staged, held) = (
            std::mem::take(&mut self.made),
            self.staged(),
            self.held.clone(),
        );
        let clean = move || clean(held.0.dir(), staged, &made);
        // After a cancel, the last holder may be a thread of the runtime, which must not wait for
        // the disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(clean)),
            Err(_) => clean(),
        }
    }
}
