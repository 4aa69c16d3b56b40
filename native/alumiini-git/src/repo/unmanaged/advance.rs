//! A move of somebody's own repository to another commit.

use std::cell::RefCell;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{CheckoutNotificationType, Repository};

use super::compare::at;
use super::plan::{Plan, refuse_checked_out_elsewhere};
use super::sparse::Sparse;
use super::{
    Checks, dirty, dirty_paths, refuse_changes, refuse_commits, refuse_locks, refuse_others_work,
    tree,
};
use crate::error::Result;
use crate::repo::git_failure;
use crate::repo::marker::Move;
use crate::repo::refs::{self, Others};
use crate::task::job::Job;
use crate::task::progress::Phase;

/// Refuses a move before anything is written: `locked` where another Git program is at work,
/// `dirty` where anything of the owner's would be lost, `corrupt` where a commit of the two cannot
/// be read.
pub(crate) fn check(path: &Path, going: &Move, checks: Checks) -> Result<()> {
    let repo = super::open(path)?;
    refuse_locks(&repo, &going.to)?;
    refuse_checked_out_elsewhere(&repo, path, going)?;
    match checks {
        Checks::All { .. } => refuse_changes(&repo, path)?,
        Checks::Resumed => refuse_others_work(&repo, path, going)?,
        Checks::None => {}
    }
    refuse_commits(&repo, path, going, checks)?;
    Plan::of(&repo, path, going, checks)?.check(&repo, path, going, checks)
}

/// Moves files, index, refs and HEAD of `path`'s repository to `going.to`, after [`check`]. Without
/// [`Checks::None`], `dirty` where anything of the owner's has come since: libgit2 compares each
/// file with the commit at HEAD and with the new one before it writes the first.
pub(crate) fn advance(path: &Path, going: &Move, checks: Checks, job: &Job) -> Result<()> {
    if checks == Checks::Resumed {
        check(path, going, checks)?;
    }
    let repo = super::open(path)?;
    check_out(&repo, path, going, checks, job)?;
    if checks != Checks::None {
        // Their owner may have been at work meanwhile.
        let head = refs::head(&repo)?;
        if head != going.from && head.as_ref() != Some(&going.to) {
            return Err(dirty(path, "its HEAD was moved during the sync"));
        }
        refuse_commits(&repo, path, going, checks)?;
    }
    refs::point(
        &repo,
        &going.to,
        Others::Stay {
            was: going.branch_was,
        },
        job,
    )?;
    if checks == Checks::None {
        end_merge(&repo);
    }
    Ok(())
}

/// Ends a merge, cherry-pick or revert that was not finished, as `git reset --hard` does.
fn end_merge(repo: &Repository) {
    for name in [
        "MERGE_HEAD",
        "MERGE_MODE",
        "MERGE_MSG",
        "MERGE_RR",
        "SQUASH_MSG",
        "AUTO_MERGE",
        "CHERRY_PICK_HEAD",
        "REVERT_HEAD",
    ] {
        // Most are not there.
        let _ = fs::remove_file(repo.path().join(name));
    }
}

/// Files and index, with libgit2 and the repository's own filters.
fn check_out(
    repo: &Repository,
    path: &Path,
    going: &Move,
    checks: Checks,
    job: &Job,
) -> Result<()> {
    let plan = Plan::of(repo, path, going, checks)?;
    plan.clear(repo, path)?;
    let conflicts = RefCell::new(Vec::new());
    let mut options = CheckoutBuilder::new();
    if checks == Checks::None {
        options.force();
    } else {
        options
            .safe()
            .recreate_missing(true)
            .overwrite_ignored(false);
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
        })
        .disable_pathspec_match(true);
    let to = tree(repo, going.to.commit)?;
    // An empty list would mean all.
    if !plan.files.is_empty() {
        for name in &plan.files {
            options.path(name.as_slice());
        }
        repo.checkout_tree(to.as_object(), Some(&mut options))
            .map_err(|error| match error.code() {
                git2::ErrorCode::Conflict => {
                    dirty_paths(path, "are in the way of the commit's", &conflicts.borrow())
                }
                _ => git_failure("check out")(error),
            })?;
    }
    if !plan.absent.is_empty() {
        let mut options = CheckoutBuilder::new();
        options.force().disable_pathspec_match(true);
        for name in &plan.absent {
            // Something to be replaced. One that was written by now is as it is to be.
            let file = at(path, name);
            let _ = file.parent().map(fs::create_dir_all);
            let _ = fs::File::create_new(file);
            options.path(name.as_slice());
        }
        repo.checkout_tree(to.as_object(), Some(&mut options))
            .map_err(git_failure("check out"))?;
    }
    plan.record_gitlinks(repo, path)?;
    Sparse::record(repo, path, &to, &plan.left_out)
}
