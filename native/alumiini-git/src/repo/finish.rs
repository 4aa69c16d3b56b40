//! Moves of refs and working tree: carried out, finished after an interruption, or taken back.
//!
//! The marker is there from before the first write until after the last. Whoever finds it calls
//! [`resume`]: a move goes on where it can, and back to where it began where it cannot, so that one
//! commit is there whole, and an error that a new commit causes does not take the old one away. The
//! caller of all of these holds the directory's lock and keeps readers away.

use std::fs;
use std::io;
use std::path::Path;

use git2::{Oid, Repository};

use crate::error::{Error, Hint, Kind, Result};
use crate::reference::Branch;
use crate::repo::marker::{self, Move, Target};
use crate::repo::refs::{self, Others};
use crate::repo::state::Record;
use crate::repo::unmanaged::{self, Checks};
use crate::repo::working_tree::{self, Moved};
use crate::repo::{
    byte_refs, cleanup, git_failure, kept_refs, open, raw_object, scope_file, staging,
};
use crate::selection::scope::Filter;
use crate::task::job::Job;

/// Carries a move out, and writes `record` as soon as the marker is there. An error takes
/// everything back, but for a cancel: that is to end soon, and whoever reads or syncs next finishes
/// the move. Returns what was done to a managed working tree.
///
/// `is_clean`: the working tree was just found to be as the commit says where the move begins.
pub(crate) fn carry_out(
    path: &Path,
    going: &Move,
    checks: Checks,
    is_clean: bool,
    record: Option<&Record>,
    job: &Job,
) -> Result<Option<Moved>> {
    job.reach("marker");
    let git_dir = open::git_dir(path);
    // Only what has the same files can be told by what changes.
    let is_same_kind = |from: &&Target| !from.bare && from.scope == going.to.scope;
    let from = going
        .from
        .as_ref()
        .filter(|_| is_clean)
        .filter(is_same_kind);
    let from = from.map(|from| from.commit);
    marker::set(&git_dir, going)
        .and_then(|()| match record {
            Some(record) => record.write(&open::managed(&git_dir)?),
            None => Ok(()),
        })
        .and_then(|()| forward(path, going, from, checks, job))
        .map_err(|error| taken_back(path, going, error))
}

/// Puts the new `.git` at `git_dir` in place of what is there, if anything is, and carries the move
/// out. What was there comes back where that fails. Returns what was done to the working tree.
pub(crate) fn exchange(
    path: &Path,
    git_dir: &Path,
    going: &Move,
    record: Option<&Record>,
    job: &Job,
) -> Result<Option<Moved>> {
    // With the marker in it from before it has its name: what is renamed is a checkout to be
    // finished.
    job.reach("marker");
    marker::set(git_dir, going)?;
    let old = open::git_dir(path);
    let was_bare = match fs::symlink_metadata(&old) {
        Ok(_) => open::is_bare(&old),
        Err(_) => going.to.bare,
    };
    // Of what is to be replaced the files are still there: the move knows by this whether to take
    // them away.
    open::set_bare(git_dir, was_bare)?;
    let repo = open::managed(git_dir)?;
    record.map_or(Ok(()), |record| record.write(&repo))?;
    refs::point(&repo, &going.to, Others::Go, job)?;
    drop(repo);
    staging::take_place(path, git_dir, job)?;
    forward(path, going, None, Checks::None, job).map_err(|error| taken_back(path, going, error))
}

/// Finishes the move that a marker tells of, if there is one. `Ok` where one commit is there whole,
/// be it the one before the move.
pub(crate) fn resume(path: &Path, job: &Job) -> Result<()> {
    let git_dir = open::git_dir(path);
    let going = match marker::get(&git_dir) {
        Ok(Some(going)) => going,
        Ok(None) => return Ok(()),
        // In its owner's repository there is nothing to go by, and nothing to be done without.
        Err(damaged) if damaged.kind == Kind::Corrupt && !open::is_managed(&git_dir) => {
            return marker::clear(&git_dir);
        }
        Err(error) => return Err(error),
    };
    forward(path, &going, None, Checks::Resumed, job)
        .map(drop)
        .or_else(|error| {
            let error = taken_back(path, &going, error);
            if error.hint == Some(Hint::RolledBack) {
                Ok(())
            } else {
                Err(error)
            }
        })
}

fn forward(
    path: &Path,
    going: &Move,
    from: Option<Oid>,
    checks: Checks,
    job: &Job,
) -> Result<Option<Moved>> {
    let git_dir = open::git_dir(path);
    let moved = if open::is_managed(&git_dir) {
        put(path, &going.to, from, job)?
    } else {
        unmanaged::advance(path, going, checks, job)?;
        None
    };
    job.reach("unmark");
    marker::clear(&git_dir)?;
    staging::discard_old(path);
    Ok(moved)
}

/// Makes refs, working tree and index of a managed repository what `target` says, whatever they
/// are; the working tree by what has changed where it is as the commit `from` says.
fn put(path: &Path, target: &Target, from: Option<Oid>, job: &Job) -> Result<Option<Moved>> {
    let repo = open::managed(&open::git_dir(path))?;
    let tree = raw_object::tree_of(&repo, target.commit)?;
    let old = from
        .map(|from| raw_object::tree_of(&repo, from))
        .transpose()?;
    refs::point(&repo, target, Others::Go, job)?;
    scope_file::write(&repo, &target.scope)?;
    let filter = target.scope.filter()?;
    let moved = if target.bare {
        take_files_away(&repo, path, job)?;
        None
    } else {
        open::set_bare(repo.path(), false)?;
        let advanced = match old {
            Some(old) => working_tree::advance(&repo, path, old, tree, &filter, job)?,
            None => None,
        };
        match advanced {
            Some(moved) => Some(moved),
            None => Some(working_tree::check_out(&repo, path, tree, &filter, job)?),
        }
    };
    // A merge or rebase that somebody left unfinished here.
    repo.cleanup_state()
        .map_err(git_failure("end an unfinished merge"))?;
    Ok(moved)
}

/// Leaves nothing but `.git`, of a repository that had a working tree; what lies beside the `.git`
/// of one that has none is nobody's business. The config is written last: until then whoever
/// finishes the move begins here again.
fn take_files_away(repo: &Repository, path: &Path, job: &Job) -> Result<()> {
    let index = repo.path().join("index");
    if !open::is_bare(repo.path()) {
        working_tree::check_out(
            repo,
            path,
            raw_object::empty_tree()?,
            &Filter::default(),
            job,
        )?;
    }
    match fs::remove_file(&index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &index, &error));
        }
        _ => {}
    }
    open::set_bare(repo.path(), true)
}

/// `error` with the hint that the repository is back where `going` began, where it is.
fn taken_back(path: &Path, going: &Move, error: Error) -> Error {
    if error.kind == Kind::Cancelled {
        return error;
    }
    match back(path, going, error.kind) {
        Ok(()) => error.hinted(Hint::RolledBack),
        Err(_) => error,
    }
}

fn back(path: &Path, going: &Move, why: Kind) -> Result<()> {
    // Nobody's cancel may stop it: what is left in the middle serves nobody.
    let job = Job::unattended();
    let git_dir = open::git_dir(path);
    if let Some(old) = staging::waiting(path) {
        // Its files are not there any more as it says: to be finished, should this be interrupted.
        let old_head = match marker::get(&old)? {
            Some(unfinished) => unfinished,
            None => at_head(&old, going.to.branch.as_ref())?,
        };
        marker::set(&old, &old_head)?;
        if !open::is_bare(&git_dir) {
            // What was checked out of the new one is to go, also where the old one had no working
            // tree.
            open::set_bare(&old, false)?;
        }
        staging::give_back(path)?;
        cleanup::managed(&git_dir);
        put(path, &old_head.to, None, &job)?;
        return marker::clear(&git_dir);
    }
    if !open::is_managed(&git_dir) {
        unmanaged::roll_back(path, going)?;
        return marker::clear(&git_dir);
    }
    let Some(from) = &going.from else {
        return Err(Error::new(Kind::Incomplete, "there was no commit before"));
    };
    put(path, from, None, &job)?;
    // What was fetched is here, and need not be fetched again, unless it is what cannot be read.
    match (&going.to.branch, why) {
        (Some(_), Kind::Corrupt) => {}
        (Some(branch), _) => {
            let _ = byte_refs::write(
                &open::managed(&git_dir)?,
                &branch.tracking(),
                going.to.commit,
                "sync",
            );
        }
        (None, Kind::Corrupt) => kept_refs::set_synced(&open::managed(&git_dir)?, None)?,
        // It was noted as the move began.
        (None, _) => {}
    }
    marker::clear(&git_dir)
}

/// A move to where HEAD is, or, if that is what is damaged, to where the remote's `branch` was last
/// time.
fn at_head(git_dir: &Path, branch: Option<&Branch>) -> Result<Move> {
    let repo = open::managed(git_dir)?;
    let head = refs::head(&repo).ok().flatten();
    let tracked = || {
        let commit = byte_refs::id(&repo, &branch?.tracking()).ok()?;
        Some(Target {
            commit,
            branch: branch.cloned(),
            bare: open::is_bare(git_dir),
            scope: scope_file::read(git_dir).ok()?,
        })
    };
    let to = head.or_else(tracked);
    Ok(Move {
        to: to.ok_or_else(|| Error::new(Kind::Incomplete, "there was no commit before"))?,
        from: None,
        branch_was: None,
    })
}
