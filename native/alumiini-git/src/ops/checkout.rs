//! `checkout`: put the working tree at a commit, with HEAD detached there. The branch is not moved.

use std::path::{Path, PathBuf};

use git2::Oid;

use crate::error::{Error, Kind, Result};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::sync::{Place, arrive};
use crate::ops::sync_guard::{Missing, SyncGuard};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::marker::Target;
use crate::repo::tree_check::CheckedTrees;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::{cleanup, finish, open, partial, raw_object, refs, revision, scope_file};
use crate::selection::scope::Scope;
use crate::task::job::Job;

#[derive(Debug)]
pub(crate) struct Checkout {
    path: PathBuf,
    rev: Vec<u8>,
    force: bool,
}

impl Operation for Checkout {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Checkout {
            path: fields.path("path")?,
            rev: fields.bytes("rev")?,
            force: fields.flag("force")?,
        })
    }

    fn describe(&self) -> String {
        format!("checkout of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        revision::check(&self.rev)?;
        let path = self.path;
        let repo = {
            let shared = context.worker.clone();
            context
                .worker
                .reads
                .run(move || shared.repo_at(&path))
                .await?
        };
        let turn = repo.turn.clone().lock_owned().await;
        // Without a repository nothing is locked, and so no directory is made.
        let path = repo.path.clone();
        context
            .worker
            .reads
            .run(move || open::any(&path).map(drop))
            .await?;
        let guard =
            SyncGuard::take(context.worker, &repo, turn, context.job, Missing::Refuse).await?;
        let (rev, force, worker) = (self.rev, self.force, context.worker.clone());
        let work =
            move |path: &Path, job: &Job| check_out(path, &rev, force, &worker.checked_trees, job);
        let sha = guard.end(guard.moving(work).await).await?;
        Ok((Answer::Id(sha), None))
    }
}

fn check_out(
    path: &Path,
    rev: &[u8],
    force: bool,
    checked: &CheckedTrees,
    job: &Job,
) -> Result<String> {
    let git_dir = open::git_dir(path);
    let is_managed = open::is_managed(&git_dir);
    if is_managed {
        cleanup::locks_of(&git_dir);
    }
    // An unfinished move comes first: this one starts from a whole commit.
    finish::resume(path, job)?;
    let repo = if is_managed {
        open::any(path)?
    } else {
        unmanaged::open(path)?
    };
    let commit = revision::commit(&repo, path, rev)?;
    // A sync checks the tree of the newest commit only.
    let tree = raw_object::tree_of(&repo, commit)?;
    checked.check(&repo, tree, job)?;
    let scope = match is_managed {
        true => scope_file::read(&git_dir)?,
        false => Scope::default(),
    };
    if partial::is_partial(&git_dir)
        && !partial::missing(&repo, tree, &scope.filter()?, job)?.is_empty()
    {
        return Err(not_fetched(commit));
    }
    let to = Target {
        commit,
        branch: None,
        bare: is_managed && open::is_bare(&git_dir),
        scope,
    };
    let place = if is_managed {
        Place::Managed {
            from: refs::head(&repo)?,
            is_clean: false,
        }
    } else {
        Place::Unmanaged {
            checks: match force {
                true => Checks::None,
                false => Checks::All { remote_had: None },
            },
            is_origin: false,
        }
    };
    drop(repo);
    arrive(path, to, place, None, job)?;
    Ok(commit.to_string())
}

fn not_fetched(commit: Oid) -> Error {
    let message = format!(
        "files of {commit} were not fetched: only those of some paths were, of the commits that \
         were synced; sync that commit"
    );
    Error::new(Kind::PathNotFound, message)
}
