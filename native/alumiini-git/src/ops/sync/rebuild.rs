//! A sync that puts a new `.git` in place: a first clone, a damaged repository that is built again, many packs that become one.

use std::fs;
use std::sync::Arc;

use git2::Oid;

use super::Pipeline;
use crate::error::{Error, Kind, Name, Result};
use crate::ops::sync_guard::SyncGuard;
use crate::repo::marker::{self, Move};
use crate::repo::refs::{self, Others};
use crate::repo::{finish, open, repack, staging};
use crate::task::progress::{Event, Stats};

impl Pipeline {
    /// Builds a new `.git` with the branch in it, and puts it and the working tree in place.
    pub(super) async fn clone(&self, site: &Arc<SyncGuard>) -> Result<(Oid, Stats)> {
        let commit = self.resolve().await?;
        let keep = site.clone();
        let git_dir = self.disk(site, move |path, _| {
            let git_dir = staging::begin(path)?;
            keep.builds(Some(git_dir.clone()));
            Ok(git_dir)
        });
        let git_dir = git_dir.await?;
        let depth = Some(self.spec.depth).filter(|depth| *depth > 0);
        let (commit, stats) = self.fetch(site, &git_dir, commit, depth).await?;
        let (target, record, keep) = (self.target(commit), self.record(), site.clone());
        let remember = self.remembering(site);
        self.moving(site, move |path, job| {
            // With the marker in it from before it has its name: what is renamed is a checkout to be finished.
            job.reach("marker");
            let going = Move {
                to: target,
                from: None,
                branch_was: None,
            };
            marker::set(&git_dir, &going)?;
            let old = open::git_dir(path);
            let was_bare = match fs::symlink_metadata(&old) {
                Ok(_) => open::is_bare(&old),
                Err(_) => going.to.bare,
            };
            // Of what is to be replaced the files are still there: the move knows by this whether to take them away.
            open::set_bare(&git_dir, was_bare)?;
            let repo = open::managed(&git_dir)?;
            record.write(&repo)?;
            refs::point(&repo, &going.to, Others::Go, job)?;
            drop(repo);
            let moved = finish::exchange(path, &git_dir, &going, job, || keep.builds(None))?;
            remember(path, None, moved)
        })
        .await?;
        self.worker.trees.is_new(&site.path);
        Ok((commit, stats))
    }

    /// Builds a damaged repository anew. What is there stays until the new one is whole.
    pub(super) async fn repair(&self, site: &Arc<SyncGuard>, damage: Error) -> Result<(Oid, Stats)> {
        let done = self.clone(site).await.map_err(|error| match error.kind {
            // The remote's copy is damaged too, or the disk is: the first error is as good.
            Kind::Corrupt => damage.clone(),
            _ => error,
        })?;
        let path = Name(std::os::unix::ffi::OsStrExt::as_bytes(site.path.as_os_str()).to_vec());
        self.job.tell(&Event::Repaired {
            path,
            reason: site.dir().named(damage).on_one_line().message,
        });
        Ok(done)
    }

    /// Now and then, after a fetch: one pack instead of many.
    pub(super) async fn compact(&self, site: &Arc<SyncGuard>, commit: Oid) -> Result<()> {
        let (target, keep) = (self.target(commit), site.clone());
        let to = target.clone();
        let copied = self.disk(site, move |path, job| {
            if !repack::is_due(&open::git_dir(path)) {
                return Ok(None);
            }
            repack::copy(path, &to, job, |git_dir| keep.builds(Some(git_dir))).map(Some)
        });
        let Some(git_dir) = copied.await? else { return Ok(()) };
        self.worker.status_cache.forget(&site.path);
        let keep = site.clone();
        let remember = self.remembering(site);
        self.moving(site, move |path, job| {
            let going = Move {
                to: target,
                from: None,
                branch_was: None,
            };
            let moved = finish::exchange(path, &git_dir, &going, job, || keep.builds(None))?;
            remember(path, None, moved)
        })
        .await
    }
}
