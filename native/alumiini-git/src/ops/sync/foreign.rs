//! A sync of somebody's own repository: moved only where nothing of theirs can be lost.

use std::path::Path;
use std::sync::Arc;

use git2::Oid;

use super::Sync;
use crate::answer::Stats;
use crate::error::Result;
use crate::job::Job;
use crate::ops::site::Site;
use crate::repo::marker::{Move, Target};
use crate::repo::state::State;
use crate::repo::unmanaged::Checks;
use crate::repo::{byte_refs, finish, open, raw_object, refs, unmanaged};

impl Sync {
    pub(super) async fn unmanaged(&self, site: &Arc<Site>) -> Result<(Oid, Stats)> {
        let (branch, force) = (self.key.branch.clone(), self.key.force);
        let local = self.disk(site, move |path, _| {
            let repo = unmanaged::open(path)?;
            if !force {
                unmanaged::refuse_changes(&repo, path)?;
            }
            State::read(&repo, &branch)
        });
        let (state, commit) = tokio::try_join!(local, self.resolve())?;
        if state.head == Some(commit) && state.branch == Some(self.key.branch.local()) && !force {
            return Ok((commit, Stats::default()));
        }
        let here = self.disk(site, move |path, _| {
            Ok(raw_object::is_commit(&open::any(path)?, commit))
        });
        // Its history is its owner's: made neither deeper nor shallower.
        let (commit, stats) = match here.await? {
            true if state.tracked == Some(commit) || state.head == Some(commit) => (commit, Stats::default()),
            _ => {
                let to = self.target(commit);
                let unlocked = self.disk(site, move |path, _| {
                    unmanaged::refuse_locks(&unmanaged::open(path)?, &to)
                });
                unlocked.await?;
                self.fetch(site, &open::git_dir(&site.path), commit, None).await?
            }
        };
        let to = self.target(commit);
        let checks = if force { Checks::None } else { Checks::All };
        self.moving(site, move |path, job| unmanaged_move(path, to, checks, job))
            .await?;
        Ok((commit, stats))
    }
}

/// Moves somebody's own repository, now that nobody reads it.
pub(crate) fn unmanaged_move(path: &Path, to: Target, checks: Checks, job: &Job) -> Result<()> {
    let repo = unmanaged::open(path)?;
    let going = Move {
        from: refs::head(&repo)?,
        branch_was: to
            .branch
            .as_ref()
            .and_then(|branch| byte_refs::id(&repo, &branch.local()).ok()),
        to,
    };
    drop(repo);
    // Whatever is refused is refused before there is anything to take back.
    unmanaged::check(path, &going, checks)?;
    finish::carry_out(path, &going, checks, job, || Ok(()))
}
