//! Somebody's own repository: its files and commits are theirs. It is moved only where nothing of theirs can be lost, unless
//! told to by `force`; untracked files stay, and its own configuration decides about filters.

use std::cell::RefCell;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{CheckoutNotificationType, Repository, StatusOptions};

use crate::answer::{Name, Phase};
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::repo::marker::Target;
use crate::repo::{git_failure, open, refs};

/// How many changed paths an error names.
const SHOWN: usize = 20;

/// Refuses a work tree with local changes.
pub(crate) fn refuse_changes(repo: &Repository, path: &Path) -> Result<()> {
    let mut options = StatusOptions::new();
    options
        .include_untracked(false)
        .include_ignored(false)
        .exclude_submodules(true);
    let statuses = repo
        .statuses(Some(&mut options))
        .map_err(git_failure("compare the work tree"))?;
    if statuses.is_empty() {
        return Ok(());
    }
    let changed: Vec<_> = statuses.iter().map(|status| status.path_bytes().to_vec()).collect();
    Err(dirty_paths(path, "have local changes", &changed))
}

/// Refuses where commits that only this repository has would be lost: on the branch that is to move, or under a detached HEAD.
pub(crate) fn refuse_commits(repo: &Repository, path: &Path, target: &Target) -> Result<()> {
    let mut held = Vec::new();
    if repo.head_detached().unwrap_or(false) {
        held.extend(repo.refname_to_id("HEAD").ok());
    }
    let mut tracked = None;
    if let Some(branch) = &target.branch {
        held.extend(repo.refname_to_id(&format!("refs/heads/{branch}")).ok());
        tracked = repo.refname_to_id(&format!("refs/remotes/origin/{branch}")).ok();
    }
    for commit in held {
        // What the remote once had is not theirs alone, even where the remote dropped it by a force-push.
        let mut safe = false;
        for kept in [Some(target.commit), tracked].into_iter().flatten() {
            safe = safe || refs::is_ancestor(repo, commit, kept)?;
        }
        if !safe {
            return Err(dirty(
                path,
                &format!("the commit {commit} is not in the remote's branch"),
            ));
        }
    }
    Ok(())
}

/// Names the files that would be lost, or some of them.
fn dirty_paths(path: &Path, what: &str, changed: &[Vec<u8>]) -> Error {
    let first = changed.first().map(|name| String::from_utf8_lossy(name).into_owned());
    let why = format!(
        "{} files {what}, `{}` among them",
        changed.len(),
        first.unwrap_or_default()
    );
    let shown = changed.iter().take(SHOWN).map(|name| Name::value(name)).collect();
    dirty(path, &why).with("changed", rmpv::Value::Array(shown))
}

fn dirty(path: &Path, why: &str) -> Error {
    let message = format!(
        "{} is a repository of its own, not made by a sync, and would lose work: {why}; commit and push it, sync \
         elsewhere, or pass force",
        path.display()
    );
    Error::new(Kind::Dirty, message).with("path", Name::of(path))
}

/// Checks `target` out with libgit2, its filters and its index.
pub(crate) fn check_out(path: &Path, target: &Target, force: bool, job: &Job) -> Result<()> {
    let repo = open::any(path)?;
    let commit = repo
        .find_object(target.commit, None)
        .map_err(git_failure("read the commit"))?;
    let conflicts = RefCell::new(Vec::new());
    let mut options = CheckoutBuilder::new();
    if force {
        options.force();
    } else {
        options.safe().recreate_missing(true);
    }
    options
        .notify_on(CheckoutNotificationType::all())
        .notify(|why, name, _, _, _| {
            if why.is_conflict() {
                let name = name.map(|name| name.as_os_str().as_bytes().to_vec());
                conflicts.borrow_mut().extend(name);
            }
            !job.is_cancelled()
        })
        .progress(|_, done, total| {
            job.reach("checkout");
            job.progress(Phase::Checkout, done as u64, total as u64, 0);
        });
    repo.checkout_tree(&commit, Some(&mut options))
        .map_err(|error| match error.code() {
            git2::ErrorCode::Conflict => dirty_paths(path, "are in the way of the commit's", &conflicts.borrow()),
            _ => git_failure("check out")(error),
        })
}
