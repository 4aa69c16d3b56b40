//! Keeps a repository that is synced for months as small as a fresh clone.
//!
//! Every fetch leaves a pack, and every shallow fetch a line in `.git/shallow`; each costs time at every later sync, on our side and on
//! the server's. Past a number of packs, what is reachable is copied into one, in a new `.git` that takes the old one's
//! place as a healed one does.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::answer::Name;
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::repo::marker::{self, Target};
use crate::repo::refs::{self, Ancestors};
use crate::repo::{build, git_failure, open};

/// Git's own `gc.autoPackLimit` is 50 (git-config).
const MOST_PACKS: usize = 50;

/// Whether the repository has collected enough to be worth it.
pub(crate) fn is_due(git_dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(git_dir.join("objects/pack")) else {
        return false;
    };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "idx"))
        .count()
        > MOST_PACKS
}

/// Copies what `target` reaches from `path`'s repository into a new one beside it, ready to take its place. `built` is told
/// its directory first, so that it can be cleaned away.
pub(crate) fn copy(path: &Path, target: &Target, job: &Job, built: impl FnOnce(PathBuf)) -> Result<PathBuf> {
    let from = open::managed(&open::git_dir(path))?;
    let git_dir = build::begin(path)?;
    built(git_dir.clone());
    let fail = git_failure("copy the objects into one pack");
    let boundary: HashSet<Oid> = open::shallow(from.path())?.into_iter().collect();
    let mut shallow = Vec::new();
    let mut pack = from.packbuilder().map_err(&fail)?;
    if boundary.is_empty() {
        let mut walk = from.revwalk().map_err(&fail)?;
        walk.push(target.commit).map_err(&fail)?;
        pack.insert_walk(&mut walk).map_err(&fail)?;
    } else {
        for commit in Ancestors::of(&from, vec![target.commit]) {
            job.check()?;
            let commit = commit?.id();
            pack.insert_commit(commit).map_err(&fail)?;
            if boundary.contains(&commit) {
                shallow.push(format!("{commit}\n"));
            }
        }
    }
    pack.write(&git_dir.join("objects/pack"), 0).map_err(&fail)?;
    if !shallow.is_empty() {
        marker::write_atomically(&git_dir.join("shallow"), shallow.concat().as_bytes())?;
    }
    // Not the index: when it was written decides which of its entries can be believed.
    let (old, new) = (from.path().join("config"), git_dir.join("config"));
    fs::copy(&old, &new).map_err(|error| {
        let message = format!("cannot copy {} to {}: {error}", old.display(), new.display());
        Error::new(Kind::Io, message).with("path", Name::of(path))
    })?;
    let repo = open::managed(&git_dir)?;
    marker::set(&git_dir, target)?;
    refs::point(&repo, target, true, job)?;
    Ok(git_dir)
}
