//! Who may do what to a repository, within this process: one sync at a time, readers apart from whoever moves the work
//! tree, and identical syncs that wait together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::answer::Stats;
use crate::branch::Branch;
use crate::error::Result;
use crate::job::Job;
use crate::protocol::RemoteRequest;
use crate::repo::place;

/// The repositories in use, by canonical path.
#[derive(Default)]
pub(crate) struct Repos(Mutex<HashMap<PathBuf, Weak<Repo>>>);

pub(crate) struct Repo {
    /// Canonical as far as it exists.
    pub(crate) path: PathBuf,
    /// Held by the one sync or checkout that is at work, until all its blocking work has let go.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Written by whoever moves refs or the work tree, and only while they move; never held across the network.
    pub(crate) tree: Arc<tokio::sync::RwLock<()>>,
    /// Syncs that wait for their turn. Once a sync has begun, nobody joins it any more: what it fetches may be older than
    /// the newcomer's reason to ask.
    waiting: Mutex<HashMap<SyncKey, Arc<Shared>>>,
}

/// What makes two syncs of a repository the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SyncKey {
    pub(crate) remote: RemoteRequest,
    pub(crate) branch: Branch,
    pub(crate) depth: u32,
    pub(crate) force: bool,
    /// Whether nothing is to be checked out.
    pub(crate) bare: bool,
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
    /// The repository at `path`, which need not exist, and is below `root` where there is one. Looks at the disk: call it from blocking code.
    pub(crate) fn at(&self, path: &Path, root: Option<&Path>) -> Result<Arc<Repo>> {
        let path = place::find(path, root)?;
        let mut repos = lock(&self.0);
        if let Some(repo) = repos.get(&path).and_then(Weak::upgrade) {
            return Ok(repo);
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
        Ok(repo)
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
    key: SyncKey,
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
        key: SyncKey,
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
        answer.unwrap_or_else(|| Err(crate::ops::panicked()))
    }

    /// From now on nobody joins this sync.
    pub(crate) fn begin(&self, key: &SyncKey, shared: &Arc<Shared>) {
        let mut waiting = lock(&self.waiting);
        if waiting.get(key).is_some_and(|waiting| Arc::ptr_eq(waiting, shared)) {
            waiting.remove(key);
        }
    }
}

#[cfg(test)]
#[path = "repos_tests.rs"]
mod tests;
