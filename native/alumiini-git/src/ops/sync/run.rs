//! The state of one sync, which has its path for itself: its request, and what the remote's ref is
//! at.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use git2::Oid;

use crate::error::{Error, Kind, Result, panicked};
use crate::ops::sync_guard::SyncGuard;
use crate::reference::{Reference, Tip};
use crate::remote::{Remote, Wanted};
use crate::repo::marker::Target;
use crate::repo::state::Record;
use crate::repo::{open, raw_object};
use crate::spec::SyncSpec;
use crate::task::job::Job;
use crate::task::progress::{Phase, Stats};

pub(super) struct SyncRun {
    pub(super) guard: Arc<SyncGuard>,
    pub(super) remote: Remote,
    pub(super) spec: SyncSpec,
    /// A commit that the ref is expected to be at.
    pub(super) hint: Option<Oid>,
    /// The outcome of fetching the hint.
    pub(super) hinted: OnceLock<Stats>,
}

impl SyncRun {
    /// The commit of the ref. Asks the remote, unless the answer is known.
    pub(super) async fn resolve(&self) -> Result<Tip> {
        let name = match &self.spec.reference {
            Reference::Commit(commit) => return Ok(Tip::of(*commit)),
            Reference::TagAt(_, tip) => return Ok(tip.clone()),
            named => named.full()?.unwrap_or_default(),
        };
        self.guard.job.progress(Phase::Connect, 0, 0, 0);
        self.reach("connect").await?;
        self.remote
            .resolve(&self.guard.worker, &name, &self.guard.job)
            .await
            .map_err(fetching)
    }

    /// Fetches the hint, if it is missing. Only the remote's list of refs tells whether the ref is
    /// really there. If this fails, the commit is fetched again later.
    pub(super) async fn fetch_hint(&self) {
        let Some(hint) = self.hint else { return };
        let git_dir = open::git_dir(self.guard.dir().at());
        if self.is_here(&git_dir, hint).await.unwrap_or(true) {
            return;
        }
        let tip = Tip::of(hint);
        let wanted = Wanted {
            tips: std::slice::from_ref(&tip),
            name: None,
            depth: Some(self.spec.depth),
            without_files: !self.spec.scope.is_all(),
            is_guess: true,
        };
        let guard = &self.guard;
        let fetch = self
            .remote
            .fetch(&guard.worker, &git_dir, &wanted, &guard.job, guard);
        if let Ok(stats) = fetch.await {
            let _ = self.hinted.set(stats);
        }
    }

    /// Whether [`SyncRun::fetch_hint`] has brought `commit`.
    pub(super) fn is_fetched(&self, commit: Oid) -> bool {
        self.hint == Some(commit) && self.hinted.get().is_some()
    }

    pub(super) fn target(&self, tip: &Tip) -> Target {
        Target {
            commit: tip.commit,
            branch: self.spec.reference.head_branch(tip),
            bare: self.spec.is_bare(),
            scope: self.spec.scope.clone(),
        }
    }

    /// Whether `commit` is in the repository at `git_dir`, and can be checked out.
    pub(super) async fn is_here(&self, git_dir: &Path, commit: Oid) -> Result<bool> {
        let (git_dir, worker) = (git_dir.to_owned(), self.guard.worker.clone());
        let look = move |path: &Path, job: &Job| {
            let repo = match open::is_managed(&git_dir) {
                true => open::managed(&git_dir)?,
                false => open::any(path)?,
            };
            if !raw_object::is_commit(&repo, commit) {
                return Ok(false);
            }
            let tree = raw_object::tree_of(&repo, commit)?;
            worker.checked_trees.check(&repo, tree, job).map(|()| true)
        };
        self.guard.disk(look).await
    }

    /// What a repository of ours remembers, which is at `tip`.
    pub(super) fn record(&self, tip: &Tip) -> Record {
        Record {
            depth: self.spec.depth,
            url: self.remote.redacted(),
            keep: self.spec.keep,
            synced: match self.spec.reference.head_branch(tip) {
                Some(_) => None,
                None => Some(tip.id),
            },
        }
    }

    /// A point at which tests can inject a fault. It runs in a thread, since a test may park it.
    async fn reach(&self, at: &'static str) -> Result<()> {
        let job = &self.guard.job;
        if !job.fault.is_set() {
            return Ok(());
        }
        let job = job.clone();
        tokio::task::spawn_blocking(move || job.reach(at))
            .await
            .map_err(|_| panicked())
    }
}

pub(super) fn fetching(error: Error) -> Error {
    match error.kind {
        Kind::Cancelled => error,
        _ => error.context("failed to fetch"),
    }
}
