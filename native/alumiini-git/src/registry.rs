//! Who may do what to a repository, within this process: one sync at a time, readers apart from whoever moves the work
//! tree, and identical syncs that wait together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Result, panicked};
use crate::spec::SyncSpec;
use crate::task::job::Job;
use crate::task::progress::Stats;

/// The repositories in use, by canonical path.
#[derive(Default)]
pub(crate) struct Repos(Mutex<HashMap<PathBuf, Weak<Repo>>>);

pub(crate) struct Repo {
    /// Canonical as far as it exists.
    pub(crate) path: PathBuf,
    /// Held by the one sync or checkout that is at work, until all its blocking work has let go.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Written by whoever moves refs or the working tree, and only while they move; never held across the network.
    pub(crate) tree: Arc<tokio::sync::RwLock<()>>,
    /// Syncs that wait for their turn. Once a sync has begun, nobody joins it any more: what it fetches may be older than
    /// the newcomer's reason to ask.
    waiting: Mutex<HashMap<SyncSpec, Arc<Shared>>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Synced {
    pub(crate) sha: String,
    pub(crate) stats: Stats,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repos {
    /// The repository at `path`, which need not exist, and is without links as far as it does.
    pub(crate) fn at(&self, path: PathBuf) -> Arc<Repo> {
        let mut repos = lock(&self.0);
        if let Some(repo) = repos.get(&path).and_then(Weak::upgrade) {
            return repo;
        }
        // A sweep now and then keeps the map as small as what is in use, at a cost that does not grow with each call.
        if repos.len() >= 64 && repos.len() == repos.capacity() {
            repos.retain(|_, repo| repo.strong_count() > 0);
        }
        let repo = Arc::new(Repo {
            path: path.clone(),
            turn: Arc::default(),
            tree: Arc::default(),
            waiting: Mutex::default(),
        });
        repos.insert(path, Arc::downgrade(&repo));
        repo
    }
}

/// A sync that several requests may share.
pub(crate) struct Shared {
    pub(crate) job: Arc<Job>,
    members: Mutex<usize>,
    result: watch::Sender<Option<Result<Synced>>>,
}

impl Shared {
    /// Answers all members.
    pub(crate) fn finish(&self, result: Result<Synced>) {
        self.result.send_replace(Some(result));
    }
}

/// One request's part in a shared sync. When the last member is dropped before the end, the sync is cancelled.
struct Member {
    repo: Arc<Repo>,
    key: SyncSpec,
    shared: Arc<Shared>,
    job: Arc<Job>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut waiting = lock(&self.repo.waiting);
        let mut members = lock(&self.shared.members);
        *members -= 1;
        if *members == 0 {
            self.shared.job.token().cancel();
            self.job.leave(&self.shared.job);
            // Nobody may join what has just been cancelled.
            if waiting
                .get(&self.key)
                .is_some_and(|shared| Arc::ptr_eq(shared, &self.shared))
            {
                waiting.remove(&self.key);
            }
        }
    }
}

impl Repo {
    /// Joins the sync for `key` that has not begun yet, or lets `start` begin one, and waits for its result. Dropping the
    /// future leaves the sync; it goes on while others are in it.
    pub(crate) async fn sync(
        self: &Arc<Self>,
        key: SyncSpec,
        job: &Arc<Job>,
        start: impl FnOnce(Arc<Shared>),
    ) -> Result<Synced> {
        let (member, mut result) = {
            let mut waiting = lock(&self.waiting);
            let joined = waiting.get(&key).filter(|_| !job.fault.is_set()).cloned();
            let (shared, fresh) = match joined {
                Some(shared) => (shared, false),
                None => {
                    let job = Arc::new(Job::new(CancellationToken::new(), job.fault.clone()));
                    let shared = Arc::new(Shared {
                        job,
                        members: Mutex::new(0),
                        result: watch::Sender::new(None),
                    });
                    (shared, true)
                }
            };
            *lock(&shared.members) += 1;
            let listener = job.clone();
            shared.job.listen(listener);
            let result = shared.result.subscribe();
            if fresh {
                if !job.fault.is_set() {
                    waiting.insert(key.clone(), shared.clone());
                }
                start(shared.clone());
            }
            (
                Member {
                    repo: self.clone(),
                    key,
                    shared,
                    job: job.clone(),
                },
                result,
            )
        };
        let answer = match result.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone(),
            Err(_) => None,
        };
        drop(member);
        answer.unwrap_or_else(|| Err(panicked()))
    }

    /// From now on nobody joins this sync.
    pub(crate) fn begin(&self, key: &SyncSpec, shared: &Arc<Shared>) {
        let mut waiting = lock(&self.waiting);
        if waiting.get(key).is_some_and(|waiting| Arc::ptr_eq(waiting, shared)) {
            waiting.remove(key);
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
