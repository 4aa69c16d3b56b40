//! The state that all requests share: connections, locks, caches, and the threads that may block.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::net::{Endpoint, Net};
use crate::policy::Allowed;
use crate::reference::Tip;
use crate::registry::{Repo, Repos};
use crate::repo::cached_read::CachedReads;
use crate::repo::open_repos::OpenRepos;
use crate::repo::pack;
use crate::repo::place;
use crate::repo::status_cache::StatusCache;
use crate::repo::tree_check::CheckedTrees;
use crate::task::keyed_lock::KeyedLock;
use crate::task::pool::Pool;
use crate::task::single_flight::SingleFlight;

/// A question to a remote: what the ref of this full name is at.
pub(crate) type Question = (Endpoint, Vec<u8>);

/// The state that all requests share. There are several pools of threads, so that slow remotes can
/// stop no read, no cancel and no exit.
pub(crate) struct Worker {
    pub(crate) repos: Repos,
    pub(crate) net: Net,
    /// Which remotes may be reached.
    pub(crate) allowed: Allowed,
    /// Questions to remotes that are under way. Paths with the same question share its answer.
    pub(crate) polls: Arc<SingleFlight<Question, Option<Tip>>>,
    /// One request at a time for each question, unless it takes long.
    pub(crate) asking: KeyedLock<Question>,
    /// Repositories whose state is known, and whose files were found clean.
    pub(crate) status_cache: StatusCache,
    /// Reads that are answered from memory, without waiting.
    pub(crate) cached_reads: CachedReads,
    /// Open repositories, for reads of their objects.
    pub(crate) trees: OpenRepos,
    /// Trees that were checked, and may be checked out.
    pub(crate) checked_trees: CheckedTrees,
    /// Local reads: `files`, `read`, `head`.
    pub(crate) reads: Pool,
    /// Bytes that large files, lists of files and commits may take until they are written to the
    /// client.
    pub(crate) unsent: Pool,
    /// Short work on a repository during a sync: opening, comparing, moving refs and files.
    pub(crate) disk: Pool,
    /// One thread for each pack that is arriving, until it has arrived.
    pub(crate) indexing: Pool,
    /// Packs that are made from the objects of local remotes. They have threads of their own, since
    /// such a remote may be on a file system that hangs.
    pub(crate) packing: Pool,
    /// The threads that resolve the deltas of packs that have arrived.
    pub(crate) resolving: pack::Turns,
}

impl Worker {
    pub(crate) fn new() -> Arc<Worker> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Worker {
            repos: Repos::default(),
            net: Net::new(),
            allowed: Allowed::default(),
            polls: Arc::default(),
            asking: KeyedLock::default(),
            status_cache: StatusCache::new(),
            cached_reads: CachedReads::default(),
            trees: OpenRepos::default(),
            checked_trees: CheckedTrees::default(),
            reads: Pool::new(cores * 4),
            unsent: Pool::new(64 << 20),
            disk: Pool::new(cores * 2),
            indexing: Pool::new(512),
            packing: Pool::new(cores * 2),
            resolving: pack::Turns::new(cores),
        })
    }

    /// The repository at `path`, which need not exist, and is below the root where there is one.
    /// `unsafe_path` where the path leads out of that, or of the working tree that it is in. Looks
    /// at the disk: call it from blocking code.
    pub(crate) fn repo_at(&self, path: &Path) -> Result<Arc<Repo>> {
        let root = self.allowed.now().root.clone();
        Ok(self.repos.at(place::find(path, root.as_deref())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_one_repository_however_its_path_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        let worker = Worker::new();
        let a = worker.repo_at(&dir.path().join("app")).unwrap();
        let b = worker.repo_at(&dir.path().join("link/./app")).unwrap();
        assert!(Arc::ptr_eq(&a, &b));
        std::fs::create_dir(dir.path().join("app")).unwrap();
        assert!(Arc::ptr_eq(
            &a,
            &worker.repo_at(&dir.path().join("link/app")).unwrap()
        ));
    }
}
