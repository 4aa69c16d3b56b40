//! A sync of somebody's own repository: moved only where nothing of theirs can be lost.

use std::path::Path;
use std::sync::Arc;

use git2::Oid;

use super::Pipeline;
use crate::error::Result;
use crate::net::url::RemoteUrl;
use crate::ops::sync_guard::SyncGuard;
use crate::repo::marker::{Move, Target};
use crate::repo::state::State;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::{byte_refs, finish, open, raw_object, refs};
use crate::task::job::Job;
use crate::task::progress::Stats;

impl Pipeline {
    pub(super) async fn unmanaged(&self, site: &Arc<SyncGuard>) -> Result<(Oid, Stats)> {
        let (branch, force) = (self.spec.branch.clone(), self.spec.force);
        let local = self.disk(site, move |path, _| {
            let repo = unmanaged::open(path)?;
            if !force {
                unmanaged::refuse_changes(&repo, path)?;
            }
            State::read(&repo, &branch)
        });
        let (state, commit) = tokio::try_join!(local, self.resolve())?;
        // Of another remote, such as the one that this was forked from, `origin` says nothing.
        let is_origin = state.url.as_deref().is_some_and(|url| self.is_origin(url));
        if state.head == Some(commit) && state.branch == Some(self.spec.branch.local()) && !force {
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
                self.fetch(site, &open::git_dir(site.dir().at()), commit, None).await?
            }
        };
        let to = self.target(commit);
        let checks = match force {
            true => Checks::None,
            false => Checks::All {
                remote_had: state.tracked.filter(|_| is_origin),
            },
        };
        let branch = self.spec.branch.clone();
        self.moving(site, move |path, job| {
            unmanaged_move(path, to, checks, job)?;
            if is_origin {
                // As `git fetch` notes it. Where it cannot be, since another ref is in the way, nothing depends on it.
                let _ = byte_refs::write(&open::any(path)?, &branch.tracking(), commit, "sync");
            }
            Ok(())
        })
        .await?;
        Ok((commit, stats))
    }

    fn is_origin(&self, url: &str) -> bool {
        let urls = (
            RemoteUrl::parse(url.as_bytes()),
            RemoteUrl::parse(&self.spec.remote.url),
        );
        matches!(urls, (Ok(origin), Ok(asked)) if origin.is_same_repository(&asked))
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
    finish::carry_out(path, &going, checks, false, job, || Ok(())).map(drop)
}
