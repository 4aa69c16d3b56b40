//! A sync of somebody's own repository: moved only where nothing of theirs can be lost.

use std::sync::Arc;

use git2::Oid;

use super::Sync;
use crate::answer::{Name, Stats};
use crate::error::{Error, Kind, Result};
use crate::ops::site::Site;
use crate::repo::state::State;
use crate::repo::{marker, open, refs, unmanaged};

impl Sync {
    pub(super) async fn unmanaged(&self, site: &Arc<Site>) -> Result<(Oid, Stats)> {
        let (branch, force) = (self.key.branch.clone(), self.key.force);
        let local = self.disk(site, move |path, _| {
            let git_dir = open::git_dir(path);
            if !git_dir.is_dir() {
                let message = format!(
                    "{} is a linked work tree or a submodule (its .git is a file); sync needs a repository of its own",
                    path.display()
                );
                return Err(Error::new(Kind::Unsupported, message).with("path", Name::of(path)));
            }
            let repo = open::any(path)?;
            if !force {
                unmanaged::refuse_changes(&repo, path)?;
            }
            State::read(&repo, &branch)
        });
        let (state, commit) = tokio::try_join!(local, self.resolve())?;
        if state.head == Some(commit) && state.branch == Some(self.full_branch()) && !force {
            return Ok((commit, Stats::default()));
        }
        let here = self.disk(site, move |path, _| {
            let found = open::any(path)?.find_commit(commit).is_ok();
            Ok(found)
        });
        // Its history is its owner's: made neither deeper nor shallower.
        let (commit, stats) = match here.await? {
            true if state.tracked == Some(commit) || state.head == Some(commit) => (commit, Stats::default()),
            _ => self.fetch(site, &open::git_dir(&site.path), commit, None).await?,
        };
        let target = self.target(commit);
        self.moving(site, move |path, job| {
            let git_dir = open::git_dir(path);
            if !force {
                let repo = open::any(path)?;
                unmanaged::refuse_changes(&repo, path)?;
                unmanaged::refuse_commits(&repo, path, &target)?;
            }
            job.reach("marker");
            marker::set(&git_dir, &target)?;
            if let Err(error) = unmanaged::check_out(path, &target, force, job) {
                // libgit2 looks for conflicts before it writes anything.
                if error.kind == Kind::Dirty {
                    marker::clear(&git_dir)?;
                }
                return Err(error);
            }
            refs::point(&open::any(path)?, &target, false, job)?;
            job.reach("unmark");
            marker::clear(&git_dir)
        })
        .await?;
        Ok((commit, stats))
    }
}
