//! Who may do what to a repository, within this process: one sync at a time, readers apart from
//! whoever moves the working tree, and identical syncs that wait together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use git2::Oid;

use crate::reference::{Branch, Tip};
use crate::spec::SyncSpec;
use crate::task::progress::Stats;
use crate::task::single_flight::SingleFlight;

/// The repositories in use, by canonical path.
#[derive(Default)]
pub(crate) struct Repos(Mutex<HashMap<PathBuf, Weak<Repo>>>);

/// One repository in use, and what its users wait for.
pub(crate) struct Repo {
    /// Without symbolic links, as far as it exists.
    pub(crate) path: PathBuf,
    /// Held by the one sync or checkout that is at work, until all its blocking work has let go.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Written by whoever moves refs or the working tree, and only while they move; never held
    /// across the network.
    pub(crate) tree: Arc<tokio::sync::RwLock<()>>,
    /// Syncs that wait for their turn.
    pub(crate) syncs: Arc<SingleFlight<SyncSpec, Synced>>,
}

/// What a sync came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Synced {
    pub(crate) tip: Tip,
    /// The branch that HEAD is on; none where it is detached.
    pub(crate) branch: Option<Branch>,
    /// The commit that was there before; none where there was none, or it could not be read.
    pub(crate) previous: Option<Oid>,
    /// Whether what the sync is of differs between the two.
    pub(crate) changed: bool,
    pub(crate) change: Change,
    pub(crate) stats: Stats,
}

/// What a sync did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// Nothing: all was as wanted.
    None,
    /// A move of what was there: to a new commit, or back to what its commit says.
    Updated,
    /// A first clone.
    Cloned,
    /// A new clone in place of a damaged repository.
    Repaired,
}

impl Repos {
    /// The repository at `path`. The path need not exist; as far as it does, it is without
    /// symbolic links. Equal paths give the same [`Repo`] while anybody holds it.
    pub(crate) fn at(&self, path: PathBuf) -> Arc<Repo> {
        let mut repos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = repos.get(&path).and_then(Weak::upgrade) {
            return repo;
        }
        // A sweep now and then keeps the map as small as what is in use, at a cost that does not
        // grow with each call.
        if repos.len() >= 64 && repos.len() == repos.capacity() {
            repos.retain(|_, repo| repo.strong_count() > 0);
        }
        let repo = Arc::new(Repo {
            path: path.clone(),
            turn: Arc::default(),
            tree: Arc::default(),
            syncs: Arc::default(),
        });
        repos.insert(path, Arc::downgrade(&repo));
        repo
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
