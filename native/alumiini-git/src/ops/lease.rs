//! `lease` and `release`: a commit whose objects stay for as long as somebody reads it.

use std::path::{Path, PathBuf};

use git2::Oid;

use crate::error::{Error, Kind, Result};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::sync_guard::{Missing, SyncGuard};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::{cleanup, kept_refs, open, raw_object, revision};

/// The most bytes of a lease's id, which the client chooses.
const LONGEST_ID: usize = 64;

#[derive(Debug)]
pub(crate) struct Lease {
    path: PathBuf,
    sha: Oid,
    lease: String,
}

#[derive(Debug)]
pub(crate) struct Release {
    path: PathBuf,
    lease: String,
}

fn id(fields: &mut Fields) -> Result<String> {
    let id = fields.text("lease")?;
    let is_id = (1..=LONGEST_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-'));
    match is_id {
        true => Ok(id),
        false => Err(Error::invalid(format!(
            "`lease` is 1 to {LONGEST_ID} digits, small letters and dashes"
        ))),
    }
}

impl Operation for Lease {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let sha = fields.bytes("sha")?;
        let sha = raw_object::id(&sha)
            .ok_or_else(|| Error::invalid("`sha` is a full id of 40 hexadecimal digits"))?;
        Ok(Lease {
            path: fields.path("path")?,
            sha,
            lease: id(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("lease in {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    /// This takes the directory's lock, as a sync does: a sync that repacks could otherwise miss
    /// the lease.
    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let worker = context.worker.clone();
        let path = self.path;
        let repo = context
            .worker
            .reads
            .run(move || {
                let repo = worker.repo_at(&path)?;
                managed(&repo.path)?;
                Ok(repo)
            })
            .await?;
        let turn = repo.turn.clone().lock_owned().await;
        let guard =
            SyncGuard::take(context.worker, &repo, turn, context.job, Missing::Refuse).await?;
        let (sha, lease) = (self.sha, self.lease);
        let done = guard.disk(move |path, job| {
            job.reach("object");
            let repo = managed(path)?;
            let commit = revision::commit(&repo, path, sha.to_string().as_bytes())?;
            alone(&repo, || kept_refs::lease(&repo, &lease, commit))
        });
        guard.end(done.await).await?;
        Ok((Answer::Flag(true), None))
    }
}

impl Operation for Release {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Release {
            path: fields.path("path")?,
            lease: id(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("release in {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let (worker, job) = (context.worker.clone(), context.job.clone());
        let (at, lease) = (self.path.clone(), self.lease.clone());
        let release = move || {
            job.reach("object");
            let repo = worker.repo_at(&at)?;
            open::dir(&repo.path).and_then(|dir| kept_refs::release(&managed(dir.at())?, &lease))
        };
        let released = match context.worker.disk.run(release).await {
            Err(error) if error.kind == Kind::Locked => self.release_alone(context).await,
            released => released,
        };
        match released {
            // The repository is gone, and its leases with it.
            Err(error) if is_gone(&error) => {}
            released => released?,
        }
        Ok((Answer::Flag(true), None))
    }
}

impl Release {
    /// A lease that another worker was just releasing, or a worker that was killed at it.
    async fn release_alone(self, context: Context<'_>) -> Result<()> {
        let (worker, path) = (context.worker.clone(), self.path);
        let find = move || worker.repo_at(&path);
        let repo = context.worker.disk.run(find).await?;
        let turn = repo.turn.clone().lock_owned().await;
        let guard =
            SyncGuard::take(context.worker, &repo, turn, context.job, Missing::Refuse).await?;
        let lease = self.lease;
        let done = guard.disk(move |path, _| {
            let repo = managed(path)?;
            alone(&repo, || kept_refs::release(&repo, &lease))
        });
        guard.end(done.await).await
    }
}

/// Runs `change` on refs of ours, under the lock of the directory: what is locked nevertheless was
/// left so by a worker that was killed, and is unlocked.
fn alone(repo: &git2::Repository, change: impl Fn() -> Result<()>) -> Result<()> {
    match change() {
        Err(error) if error.kind == Kind::Locked => {
            cleanup::locks_of(repo.path());
            change()
        }
        changed => changed,
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind, Kind::PathNotFound | Kind::NotARepository)
}

/// Opens a repository that this library made. No other one has our refs.
fn managed(path: &Path) -> Result<git2::Repository> {
    let git_dir = open::git_dir(path);
    if open::is_managed(&git_dir) {
        return open::managed(&git_dir);
    }
    open::any(path)?;
    let message = format!(
        "{} was not made by a sync: what stays there is up to its owner",
        path.display()
    );
    Err(Error::new(Kind::Unsupported, message))
}
