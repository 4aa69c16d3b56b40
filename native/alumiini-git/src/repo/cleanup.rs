//! Removes what a killed process left behind. Call it under the directory's lock, which keeps all
//! others away.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::repo::pack::INCOMING;
use crate::repo::{BUILD_PREFIX, OLD_GIT, marker, open, raw_object, refs};

/// Undoes or removes the leftovers of an interrupted clone or repair. A leftover that cannot be
/// removed is no error here: the sync fails if it is in the way.
pub(crate) fn builds(path: &Path) {
    let git = path.join(".git");
    let old = path.join(OLD_GIT);
    // Killed between the two renames of an exchange.
    if fs::symlink_metadata(&git).is_err() && fs::symlink_metadata(&old).is_ok() {
        let _ = fs::rename(&old, &git);
    }
    // Until the checkout of the new `.git` is done, the old one is kept to go back to.
    let needed = marker::is_set(&git);
    let builds = fs::read_dir(path).into_iter().flatten().flatten();
    let mut builds: Vec<OsString> = builds
        .map(|entry| entry.file_name())
        .filter(|name| name.as_encoded_bytes().starts_with(BUILD_PREFIX.as_bytes()))
        .filter(|name| !(needed && name == OLD_GIT))
        .collect();
    if !builds.is_empty() {
        let committed = committed(&git);
        builds.retain(|name| !committed.contains(name.as_encoded_bytes()));
    }
    for name in builds {
        let _ = fs::remove_dir_all(path.join(name));
    }
}

/// The top-level names of the commits that are or were about to be checked out: some of these may
/// begin like our own names.
fn committed(git_dir: &Path) -> HashSet<Vec<u8>> {
    let mut names = HashSet::new();
    let Ok(repo) = open::managed(git_dir) else {
        return names;
    };
    let going = marker::get(git_dir).ok().flatten();
    let ends = going
        .into_iter()
        .flat_map(|going| [Some(going.to), going.from]);
    let head = refs::head(&repo).ok();
    for at in ends.chain(head).flatten() {
        let Ok(tree) = raw_object::tree_of(&repo, at.commit) else {
            continue;
        };
        let Ok(odb) = raw_object::odb(&repo) else {
            continue;
        };
        let _ = raw_object::read_tree(&odb, tree, |entry| {
            names.insert(entry.name.to_vec());
            Ok(())
        });
    }
    names
}

/// Removes half-written packs and stale locks from a managed repository. Not for unmanaged
/// repositories: a `git` that works there does not know our lock.
pub(crate) fn managed(git_dir: &Path) {
    let _ = fs::remove_dir_all(git_dir.join(INCOMING));
    for entry in fs::read_dir(git_dir.join("objects/pack"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        // libgit2's temporary packs and indexes, Git's own, and a pack whose index never came.
        let partial = name.starts_with(b"pack_git2_")
            || name.starts_with(b"tmp_")
            || name.ends_with(b".lock");
        let orphan = name.ends_with(b".pack") && !entry.path().with_extension("idx").exists();
        if partial || orphan {
            let _ = fs::remove_file(entry.path());
        }
    }
    locks_of(git_dir);
}

/// Removes stale locks: whoever holds one of a managed repository holds its directory's lock, too.
pub(crate) fn locks_of(git_dir: &Path) {
    locks(git_dir, false);
    locks(&git_dir.join("info"), false);
    locks(&git_dir.join("refs"), true);
}

fn locks(dir: &Path, below: bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && below {
            locks(&entry.path(), true);
        } else if !is_dir && entry.file_name().as_encoded_bytes().ends_with(b".lock") {
            let _ = fs::remove_file(entry.path());
        }
    }
}
