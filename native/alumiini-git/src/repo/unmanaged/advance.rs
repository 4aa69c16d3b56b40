//! A move of somebody's own repository to another commit.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{CheckoutNotificationType, Repository};

use super::sparse::Sparse;
use super::{
    Checks, dirty, dirty_paths, moving, refuse_changes, refuse_commits, refuse_locks, refuse_others_work, tree,
};
use crate::answer::Phase;
use crate::error::Result;
use crate::job::Job;
use crate::repo::marker::Move;
use crate::repo::{git_failure, refs};

/// Moves files, index, refs and HEAD of `path`'s repository to `going.to`. Without [`Checks::None`], `dirty` where anything of the
/// owner's would be lost: libgit2 compares each file with the commit at HEAD and with the new one before it writes the first.
pub(crate) fn advance(path: &Path, going: &Move, checks: Checks, job: &Job) -> Result<()> {
    let repo = super::open(path)?;
    refuse_locks(&repo, &going.to)?;
    match checks {
        Checks::All => refuse_changes(&repo, path)?,
        Checks::Resumed => refuse_others_work(&repo, path, going)?,
        Checks::None => {}
    }
    if checks != Checks::None {
        refuse_commits(&repo, path, &going.to)?;
    }
    check_out(&repo, path, going, checks, job)?;
    if checks != Checks::None {
        // Their owner may have been at work meanwhile.
        let head = refs::head(&repo)?;
        if head != going.from && head.as_ref() != Some(&going.to) {
            return Err(dirty(path, "its HEAD was moved during the sync"));
        }
        refuse_commits(&repo, path, &going.to)?;
    }
    refs::point(&repo, &going.to, false, job)
}

/// Files and index, with libgit2 and the repository's own filters.
fn check_out(repo: &Repository, path: &Path, going: &Move, checks: Checks, job: &Job) -> Result<()> {
    let sparse = Sparse::of(repo, path)?;
    let conflicts = RefCell::new(Vec::new());
    let mut options = CheckoutBuilder::new();
    if checks == Checks::None {
        options.force();
    } else {
        options.safe().recreate_missing(true).overwrite_ignored(false);
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
    let mut left_out = Vec::new();
    // All files, or those that are not left out: with force, what was edited is put right, too.
    if sparse.is_some() || checks != Checks::None {
        let mut listed = false;
        let names = match (&sparse, checks) {
            (Some(sparse), Checks::None) => sparse.all(repo, going)?,
            _ => moving(repo, going)?,
        };
        let blocked = blocked(path, &names);
        if checks != Checks::None && !blocked.is_empty() {
            return Err(dirty_paths(path, "are in the way of the commit's", &blocked));
        }
        options.disable_pathspec_match(true);
        for name in names {
            if sparse.as_ref().is_some_and(|sparse| sparse.leaves_out(&name)) {
                left_out.push(name);
            } else {
                options.path(name);
                listed = true;
            }
        }
        if !listed {
            // An empty list would mean all.
            return Sparse::record(repo, path, going, &left_out);
        }
    }
    let to = tree(repo, going.to.commit)?;
    repo.checkout_tree(to.as_object(), Some(&mut options))
        .map_err(|error| match error.code() {
            git2::ErrorCode::Conflict => dirty_paths(path, "are in the way of the commit's", &conflicts.borrow()),
            _ => git_failure("check out")(error),
        })?;
    Sparse::record(repo, path, going, &left_out)
}

/// Files of the owner's where `names` need a directory. libgit2, which is told of `names` only, does not see them.
fn blocked(path: &Path, names: &HashSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut looked_at = HashSet::new();
    let mut blocked = Vec::new();
    for name in names {
        for (slash, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let above = &name[..slash];
            if !looked_at.insert(above) || names.contains(above) {
                continue;
            }
            let there = fs::symlink_metadata(path.join(OsStr::from_bytes(above)));
            if there.is_ok_and(|there| !there.is_dir()) {
                blocked.push(above.to_vec());
            }
        }
    }
    blocked
}
