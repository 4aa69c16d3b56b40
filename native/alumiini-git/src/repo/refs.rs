//! Refs and HEAD of a repository, and the haves it can offer.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use git2::{ErrorClass, ErrorCode, ObjectType, Odb, Oid, Repository};

use crate::error::Result;
use crate::reference::{Branch, is_valid_name};
use crate::repo::marker::Target;
use crate::repo::{byte_refs, git_failure, open, raw_object, scope_file};
use crate::task::job::Job;

/// No more haves than this go into one request.
const MAX_HAVES: usize = 256;
/// No more commits than this are looked at to find them.
const MAX_LOOKED_AT: usize = 16_384;

/// What becomes of refs other than those that [`point`] moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Others {
    /// All other branches go.
    Go,
    /// They are somebody's own. So is the branch: it moves only from where it was.
    Stay { was: Option<Oid> },
}

/// Moves the refs and HEAD to `target`: the local branch, HEAD, and, where others go, what we know
/// of the remote's branch. Refs that are in the way (`a` when `a/b` is to be) go.
pub(crate) fn point(repo: &Repository, target: &Target, others: Others, job: &Job) -> Result<()> {
    let only = others == Others::Go;
    let Some(branch) = &target.branch else {
        job.reach("refs");
        return detach(repo, target.commit);
    };
    let (local, tracking) = (branch.local(), branch.tracking());
    let moved = if only {
        vec![&tracking, &local]
    } else {
        vec![&local]
    };
    for name in names(repo)? {
        let ours = name == local || name == tracking;
        let blocks = moved.iter().any(|wanted| blocks(&name, wanted));
        let remembered =
            name.starts_with(b"refs/remotes/origin/") || name.starts_with(b"refs/heads/");
        if !ours && (blocks || only && remembered) {
            let mut reference = match byte_refs::find(repo, &name) {
                Ok(reference) => reference,
                Err(error) if error.code() == ErrorCode::NotFound => continue,
                Err(error) => return Err(git_failure("read a ref")(error)),
            };
            reference.delete().map_err(git_failure("delete a ref"))?;
        }
    }
    for name in moved {
        if byte_refs::id(repo, name).ok() != Some(target.commit) {
            let write = || match others {
                Others::Stay { was } if *name == local => {
                    byte_refs::write_from(repo, name, target.commit, was, "sync")
                }
                _ => byte_refs::write(repo, name, target.commit, "sync"),
            };
            let file = repo.path().join(OsStr::from_bytes(name));
            let written = write().or_else(|error| match error.class() {
                // libgit2 reads a ref before it replaces it, and fails where the file holds no id.
                ErrorClass::Reference
                    if only && is_valid_name(name) && fs::remove_file(&file).is_ok() =>
                {
                    write()
                }
                _ => Err(error),
            });
            written.map_err(git_failure("write a ref"))?;
        }
    }
    job.reach("refs");
    let head = repo.find_reference("HEAD").ok();
    if head.as_ref().and_then(|head| head.symbolic_target_bytes()) != Some(&local[..]) {
        byte_refs::set_head(repo, &local).map_err(git_failure("write HEAD"))?;
    }
    Ok(())
}

/// Puts HEAD at `commit`, on no branch. libgit2's own function reads the commit, more strictly than
/// Git.
pub(crate) fn detach(repo: &Repository, commit: Oid) -> Result<()> {
    repo.reference("HEAD", commit, true, "sync")
        .map(drop)
        .map_err(git_failure("detach HEAD"))
}

/// Where HEAD is; none where there is no commit yet.
pub(crate) fn head(repo: &Repository) -> Result<Option<Target>> {
    let fail = git_failure("read HEAD");
    let commit = match repo.refname_to_id("HEAD") {
        Ok(commit) => commit,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let head = repo.find_reference("HEAD").map_err(&fail)?;
    let branch = head.symbolic_target_bytes().and_then(Branch::of_local);
    let bare = open::is_bare(repo.path());
    // Of somebody's own repository it is Git that knows.
    let scope = scope_file::read(repo.path())?;
    Ok(Some(Target {
        commit,
        branch,
        bare,
        scope,
    }))
}

/// A ref other than `wanted` that cannot be there together with it.
pub(crate) fn in_the_way(repo: &Repository, wanted: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(names(repo)?.into_iter().find(|name| blocks(name, wanted)))
}

/// Whether one of the two would have to be a file and a directory at once.
pub(crate) fn blocks(name: &[u8], wanted: &[u8]) -> bool {
    let below = |a: &[u8], b: &[u8]| a.strip_prefix(b).is_some_and(|rest| rest.starts_with(b"/"));
    below(name, wanted) || below(wanted, name)
}

fn names(repo: &Repository) -> Result<Vec<Vec<u8>>> {
    let references = repo.references().map_err(git_failure("list the refs"))?;
    Ok(references
        .flatten()
        .map(|reference| reference.name_bytes().to_vec())
        .collect())
}

/// Commits to tell a server that we have: ancestors of all that our refs hold, the newest ones
/// densely and older ones at growing gaps, so that one round suffices to find something in common.
pub(crate) fn haves(repo: &Repository) -> Result<Vec<Oid>> {
    let odb = raw_object::odb(repo)?;
    let mut starts = Vec::new();
    for name in names(repo)?.iter().map(Vec::as_slice).chain([&b"HEAD"[..]]) {
        let held = byte_refs::id(repo, name).ok();
        let peeled = held.and_then(|id| raw_object::peel(&odb, id).ok());
        starts.extend(
            peeled
                .filter(|(_, kind)| *kind == ObjectType::Commit)
                .map(|(id, _)| id),
        );
    }
    let mut haves = Vec::new();
    let (mut next, mut gap) = (0, 1);
    for (place, commit) in Ancestors::of(repo, starts)?.take(MAX_LOOKED_AT).enumerate() {
        if place == next {
            haves.push(commit?);
            if haves.len() == MAX_HAVES {
                break;
            }
            if haves.len() % 32 == 0 {
                gap *= 2;
            }
            next += gap;
        }
    }
    Ok(haves)
}

/// Whether `commit` is `of` or one of its ancestors.
pub(crate) fn is_ancestor(repo: &Repository, commit: Oid, of: Oid) -> Result<bool> {
    for ancestor in Ancestors::of(repo, vec![of])? {
        if ancestor? == commit {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Commits and their ancestors, newest first, down to the boundary of a shallow repository. Not
/// libgit2's revwalk and graph, which ask for the parents of a shallow commit and fail (its commit
/// objects honour `.git/shallow`, its walks do not).
struct Ancestors<'a> {
    odb: Odb<'a>,
    shallow: HashSet<Oid>,
    queue: BinaryHeap<(i64, Oid)>,
    /// Of what is in the queue.
    parents: HashMap<Oid, Vec<Oid>>,
    unread: Vec<Oid>,
    seen: HashSet<Oid>,
}

impl<'a> Ancestors<'a> {
    fn of(repo: &'a Repository, starts: Vec<Oid>) -> Result<Ancestors<'a>> {
        Ok(Ancestors {
            odb: raw_object::odb(repo)?,
            shallow: open::shallow(repo.path())?.into_iter().collect(),
            queue: BinaryHeap::new(),
            parents: HashMap::new(),
            unread: starts,
            seen: HashSet::new(),
        })
    }
}

impl Iterator for Ancestors<'_> {
    type Item = Result<Oid>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(oid) = self.unread.pop() {
            if self.seen.insert(oid) {
                match raw_object::read_commit(&self.odb, oid) {
                    Ok(commit) => {
                        self.queue.push((commit.date, oid));
                        self.parents.insert(oid, commit.parents);
                    }
                    Err(error) => return Some(Err(error.context("cannot walk the history"))),
                }
            }
        }
        let (_, oid) = self.queue.pop()?;
        let parents = self.parents.remove(&oid).unwrap_or_default();
        if !self.shallow.contains(&oid) {
            self.unread.extend(parents);
        }
        Some(Ok(oid))
    }
}

#[cfg(test)]
#[path = "refs_tests.rs"]
mod tests;
