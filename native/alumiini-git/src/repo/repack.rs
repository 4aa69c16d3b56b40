//! Keeps a repository that is synced for months as small as a fresh clone.
//!
//! Every fetch leaves a pack, and every shallow fetch a line in `.git/shallow`; each costs time at
//! every later sync, on our side and on the server's. Past a number of packs, what is reachable is
//! copied into one, in a new `.git` that takes the old one's place as a repaired one does.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use git2::{ObjectType, OdbLookupFlags, Oid};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::marker;
use crate::repo::rev_list::{self, Depth, History};
use crate::repo::{byte_refs, git_failure, kept_refs, open, pack, pack_objects, partial, staging};
use crate::task::job::Job;

/// Git's own `gc.autoPackLimit` is 50 (git-config).
const MAX_PACKS: usize = 50;

/// Whether the repository has collected enough to be worth it.
pub(crate) fn is_due(git_dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(git_dir.join("objects/pack")) else {
        return false;
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "idx")
        })
        .count()
        > MAX_PACKS
}

/// Copies what `commit` and what is kept reach from `path`'s repository into a new one beside it.
/// `stages` is told its directory first, so that it can be cleaned away.
pub(crate) fn copy(
    path: &Path,
    commit: Oid,
    job: &Job,
    stages: impl FnOnce(PathBuf),
) -> Result<PathBuf> {
    let from = open::managed(&open::git_dir(path))?;
    let git_dir = staging::begin(path)?;
    stages(git_dir.clone());
    let fail = git_failure("copy the objects into one pack");
    let shallow = open::shallow(from.path())?.into_iter().collect();
    let borrowed = pack_objects::borrow(&pack::incoming(&git_dir), &from.path().join("objects"))?;
    let odb = || borrowed.odb().map_err(&fail);
    let (old, none) = (
        History {
            odb: odb()?,
            shallow,
        },
        History {
            odb: odb()?,
            shallow: HashSet::new(),
        },
    );
    let held = kept_refs::all(&from)?;
    let wants: Vec<Oid> = [commit]
        .into_iter()
        .chain(held.iter().map(|(.., commit)| *commit))
        .collect();
    let needed = rev_list::missing(&old, &none, &[], &wants, Depth::AsItIs, job)?;
    let is_partial = partial::is_partial(from.path());
    let all = odb()?;
    // What is left out stays so.
    let is_left_out = |id, kind| {
        let known = OdbLookupFlags::NO_REFRESH;
        is_partial && kind == ObjectType::Blob && !all.exists_ext(id, known)
    };
    let mut pack = pack_objects::gather(&borrowed, &needed.commits, is_left_out, job)?;
    for (_, id, _) in held.iter().filter(|(_, id, commit)| id != commit) {
        pack_objects::add(&mut pack, *id)?;
    }
    let written = pack.write(&git_dir.join("objects/pack"), 0);
    job.check()?;
    written.map_err(&fail)?;
    if is_partial {
        partial::promise(&git_dir)?;
    }
    let _ = fs::remove_dir_all(pack::incoming(&git_dir));
    if !needed.boundary.shallow.is_empty() {
        let text: String = needed
            .boundary
            .shallow
            .iter()
            .map(|oid| format!("{oid}\n"))
            .collect();
        marker::write_atomically(&git_dir.join("shallow"), text.as_bytes())?;
    }
    // Not the index: when it was written decides which of its entries can be believed.
    let (old, new) = (from.path().join("config"), git_dir.join("config"));
    fs::copy(&old, &new).map_err(|error| {
        let message = format!(
            "cannot copy {} to {}: {error}",
            old.display(),
            new.display()
        );
        Error::new(Kind::Io, message).with(Key::Path, Name::of(path))
    })?;
    let repo = open::managed(&git_dir)?;
    for (name, id, _) in held {
        byte_refs::write(&repo, &name, id, "sync").map_err(git_failure("write a ref"))?;
    }
    Ok(git_dir)
}
