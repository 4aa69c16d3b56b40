//! Somebody's own repository: its files and commits are theirs. It is moved only where nothing of
//! theirs can be lost, unless told to by `force`; untracked files stay, and its own configuration
//! decides about filters and about what is checked out.

mod advance;
mod compare;
mod plan;
mod rollback;
mod sparse;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{Delta, Diff, Index, Oid, Repository, RepositoryState, Status, StatusOptions, Tree};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::reference::shown;
use crate::repo::marker::{Move, Target};
use crate::repo::{byte_refs, git_dir_check, git_failure, locked, open, partial, raw_object, refs};

pub(crate) use advance::{advance, check};
pub(crate) use rollback::roll_back;

/// How many changed paths an error names.
const SHOWN: usize = 20;
/// The index flag of `git update-index --assume-unchanged`.
const ASSUME_UNCHANGED: u16 = 0x8000;
/// The extended index flag of what a sparse checkout leaves out.
const SKIP_WORKTREE: u16 = 0x4000;

/// What is asked of a repository before a move touches anything of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Checks {
    /// Whether anything of the owner's would be lost. What the remote once had is not theirs alone,
    /// even where the remote dropped it by a force-push.
    All { remote_had: Option<Oid> },
    /// The same of a move that was interrupted: what it did by then is not the owner's.
    Resumed,
    /// Nothing: the caller said `force`.
    None,
}

/// Opens a repository whose working tree `path` is.
pub(crate) fn open(path: &Path) -> Result<Repository> {
    let unsupported = |why: &str| {
        let message = format!("{} {why}; sync into a directory of its own", path.display());
        Error::new(Kind::Unsupported, message).with(Key::Path, Name::of(path))
    };
    if !open::git_dir(path).is_dir() {
        return Err(unsupported(
            "is a linked working tree or a submodule (its .git is a file)",
        ));
    }
    git_dir_check::check_moved(&open::git_dir(path))?;
    let repo = open::any(path)?;
    if partial::is_partial(&open::git_dir(path)) {
        return Err(unsupported(
            "is a partial clone, whose missing files only git fetches",
        ));
    }
    let Some(workdir) = repo.workdir() else {
        return Err(unsupported(
            "is a bare repository, which has no working tree",
        ));
    };
    if workdir != path {
        match (workdir.canonicalize(), path.canonicalize()) {
            (Ok(there), Ok(here)) if there == here => {}
            _ => {
                return Err(unsupported(
                    "has its working tree elsewhere (core.worktree)",
                ));
            }
        }
        // By the path that leads there whatever is renamed.
        repo.set_workdir(path, false)
            .map_err(git_failure("open the working tree"))?;
    }
    index(&repo, path)?;
    Ok(repo)
}

fn index(repo: &Repository, path: &Path) -> Result<Index> {
    repo.index().map_err(|error| {
        if error.message().contains("mandatory extension") {
            let message = format!(
                "the index of {} is split or sparse, which libgit2 cannot read; run `git \
                 update-index --no-split-index` and `git sparse-checkout reapply \
                 --no-sparse-index` there, or sync into a directory of its own",
                path.display()
            );
            return Error::new(Kind::Unsupported, message).with(Key::Path, Name::of(path));
        }
        git_failure("read the index")(error)
    })
}

/// `locked` where another Git program is at work on what a move to `to` writes.
pub(crate) fn refuse_locks(repo: &Repository, to: &Target) -> Result<()> {
    let mut files = [&b"index"[..], b"HEAD", b"packed-refs"]
        .map(<[u8]>::to_vec)
        .to_vec();
    if let Some(branch) = &to.branch {
        files.extend([branch.local(), branch.tracking()]);
    }
    for file in files {
        let lock = repo
            .path()
            .join(OsStr::from_bytes(&[&file[..], b".lock"].concat()));
        if fs::symlink_metadata(&lock).is_ok() {
            return Err(locked(&lock));
        }
    }
    Ok(())
}

/// Refuses a working tree with local changes, and one in the middle of a merge or the like.
pub(crate) fn refuse_changes(repo: &Repository, path: &Path) -> Result<()> {
    refuse_unfinished(repo, path)?;
    // Without it, all files would look like new ones.
    if let Some(head) = refs::head(repo)? {
        let unreadable = |error: Error| {
            error.context(format!(
                "cannot read the commit that {} is at",
                path.display()
            ))
        };
        tree(repo, head.commit).map_err(unreadable)?;
    }
    let changed = changes(repo, path)?;
    if changed.is_empty() {
        return Ok(());
    }
    Err(dirty_paths(path, "have local changes", &changed))
}

fn refuse_unfinished(repo: &Repository, path: &Path) -> Result<()> {
    let what = match repo.state() {
        RepositoryState::Clean | RepositoryState::Bisect => return Ok(()),
        RepositoryState::Merge => "merge",
        RepositoryState::Revert | RepositoryState::RevertSequence => "revert",
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => "cherry-pick",
        RepositoryState::ApplyMailbox => "git am",
        _ => "rebase",
    };
    Err(dirty(path, &format!("a {what} is not finished")))
}

/// The paths of tracked files that are not as the commit at HEAD has them, in the index or in the
/// working tree, as `git status` counts them.
fn changes(repo: &Repository, path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut options = StatusOptions::new();
    options
        .include_untracked(false)
        .include_ignored(false)
        .exclude_submodules(true);
    let statuses = repo
        .statuses(Some(&mut options))
        .map_err(git_failure("compare the working tree"))?;
    let index = index(repo, path)?;
    let is_unseen = |name: &[u8], status: Status| {
        let in_working_tree = Status::WT_MODIFIED | Status::WT_DELETED | Status::WT_TYPECHANGE;
        in_working_tree.contains(status)
            && entry(&index, name).is_some_and(|entry| {
                entry.flags_extended & SKIP_WORKTREE != 0 || entry.flags & ASSUME_UNCHANGED != 0
            })
    };
    Ok(statuses
        .iter()
        .filter(|change| !is_unseen(change.path_bytes(), change.status()))
        .map(|change| change.path_bytes().to_vec())
        .collect())
}

fn entry(index: &Index, name: &[u8]) -> Option<git2::IndexEntry> {
    use std::os::unix::ffi::OsStrExt;
    index.get_path(Path::new(std::ffi::OsStr::from_bytes(name)), 0)
}

/// Refuses where commits that only this repository has would be lost: on the branch that is to
/// move, under a detached HEAD, or on a branch whose name is in the way of the new one's.
pub(crate) fn refuse_commits(
    repo: &Repository,
    path: &Path,
    going: &Move,
    checks: Checks,
) -> Result<()> {
    let target = &going.to;
    let safe = match checks {
        Checks::None => return Ok(()),
        Checks::All { remote_had } => [remote_had, None],
        // These were asked about when the move began.
        Checks::Resumed => [
            going.branch_was,
            going.from.as_ref().map(|from| from.commit),
        ],
    };
    let mut held = Vec::new();
    if repo.head_detached().unwrap_or(false) {
        held.extend(repo.refname_to_id("HEAD").ok());
    }
    if let Some(branch) = &target.branch {
        let local = branch.local();
        held.extend(byte_refs::id(repo, &local).ok());
        if let Some(other) = refs::in_the_way(repo, &local)? {
            let other = shown(other.strip_prefix(b"refs/heads/").unwrap_or(&other));
            let why = format!(
                "its branch `{other}` and a branch `{branch}` cannot both be there; rename or \
                 delete `{other}`"
            );
            return Err(dirty(path, &why));
        }
    }
    for commit in held {
        let mut kept = false;
        for safe in safe.into_iter().flatten().chain([target.commit]) {
            kept = kept || refs::is_ancestor(repo, commit, safe)?;
        }
        if !kept {
            return Err(dirty(
                path,
                &format!("the commit {commit} is not in the remote's branch"),
            ));
        }
    }
    Ok(())
}

/// Refuses to go on with a move where anything is there that is neither of its beginning nor of its
/// end.
fn refuse_others_work(repo: &Repository, path: &Path, going: &Move) -> Result<()> {
    refuse_unfinished(repo, path)?;
    let head = refs::head(repo)?;
    if head != going.from && head.as_ref() != Some(&going.to) {
        return Err(dirty(
            path,
            "its HEAD was moved while a sync was interrupted",
        ));
    }
    let theirs: Vec<Vec<u8>> = {
        let moving = moving(repo, going)?;
        let staged = staged(repo, path, going)?;
        let outside = changes(repo, path)?
            .into_iter()
            .filter(|name| !moving.contains(name));
        outside.chain(staged).collect()
    };
    if theirs.is_empty() {
        return Ok(());
    }
    Err(dirty_paths(path, "have local changes", &theirs))
}

/// The paths that a move changes.
fn moving(repo: &Repository, going: &Move) -> Result<HashSet<Vec<u8>>> {
    let fail = git_failure("compare the two commits");
    let (from, to) = (tree_before(repo, going)?, tree(repo, going.to.commit)?);
    let diff = repo
        .diff_tree_to_tree(from.as_ref(), Some(&to), None)
        .map_err(fail)?;
    Ok(paths(&diff).collect())
}

/// The paths whose index entries are neither as before a move nor as after it: somebody staged
/// them.
fn staged(repo: &Repository, path: &Path, going: &Move) -> Result<Vec<Vec<u8>>> {
    let fail = git_failure("compare the index");
    let (from, to) = (tree_before(repo, going)?, tree(repo, going.to.commit)?);
    let index = index(repo, path)?;
    let not = |tree: Option<&Tree<'_>>| {
        let diff = repo
            .diff_tree_to_index(tree, Some(&index), None)
            .map_err(&fail)?;
        Ok::<HashSet<Vec<u8>>, Error>(paths(&diff).collect())
    };
    let (not_before, not_after) = (not(from.as_ref())?, not(Some(&to))?);
    let mut staged: Vec<_> = not_before.intersection(&not_after).cloned().collect();
    staged.sort();
    Ok(staged)
}

fn paths<'a>(diff: &'a Diff<'_>) -> impl Iterator<Item = Vec<u8>> + 'a {
    diff.deltas().filter_map(|delta| {
        let file = match delta.status() {
            Delta::Deleted => delta.old_file(),
            _ => delta.new_file(),
        };
        file.path_bytes().map(<[u8]>::to_vec)
    })
}

fn tree(repo: &Repository, commit: Oid) -> Result<Tree<'_>> {
    repo.find_tree(raw_object::tree_of(repo, commit)?)
        .map_err(git_failure("read the commit's tree"))
}

fn tree_before<'a>(repo: &'a Repository, going: &Move) -> Result<Option<Tree<'a>>> {
    going
        .from
        .as_ref()
        .map(|from| tree(repo, from.commit))
        .transpose()
}

/// Names the files that would be lost, or some of them.
fn dirty_paths(path: &Path, what: &str, changed: &[Vec<u8>]) -> Error {
    let first = changed
        .first()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    let why = format!(
        "{} files {what}, `{}` among them",
        changed.len(),
        first.unwrap_or_default()
    );
    let shown: Vec<Name> = changed
        .iter()
        .take(SHOWN)
        .map(|name| Name::new(name))
        .collect();
    dirty(path, &why).with(Key::Changed, shown)
}

fn dirty(path: &Path, why: &str) -> Error {
    let message = format!(
        "{} is a repository of its own, not made by a sync, and would lose work: {why}; commit and \
         push it, sync elsewhere, or pass force",
        path.display()
    );
    Error::new(Kind::Dirty, message).with(Key::Path, Name::of(path))
}
