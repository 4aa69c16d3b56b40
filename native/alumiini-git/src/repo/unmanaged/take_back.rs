//! A move of somebody's own repository, taken back: what it wrote goes back to what is at HEAD, and what its owner did meanwhile stays.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{DiffOptions, ObjectType, Oid, Repository, Tree};

use super::{entry, moving, paths, tree};
use crate::error::Result;
use crate::repo::marker::{Move, Target};
use crate::repo::{byte_refs, git_failure, refs};

/// Takes `going` back, as far as it came.
pub(crate) fn take_back(path: &Path, going: &Move) -> Result<()> {
    let repo = super::open(path)?;
    return_refs(&repo, going)?;
    let to = tree(&repo, going.to.commit)?;
    let head = match refs::head(&repo)? {
        Some(head) => Some(tree(&repo, head.commit)?),
        None => None,
    };
    let moved = moving(&repo, going)?;
    let index = super::index(&repo, path)?;
    let before = super::tree_before(&repo, going)?;
    let of = |tree: Option<&Tree<'_>>, name: &[u8]| {
        tree.and_then(|tree| tree.get_path(Path::new(OsStr::from_bytes(name))).ok())
            .map(|entry| entry.id())
    };
    let known = |name: &[u8]| [of(before.as_ref(), name), of(Some(&to), name), of(head.as_ref(), name)];
    let staged = |name: &[u8]| entry(&index, name).map(|entry| entry.id);

    // What is there as the move wrote it, and not staged by anybody.
    let theirs = not_as(&repo, path, &to, &moved)?;
    let ours: Vec<Vec<u8>> = moved
        .into_iter()
        .filter(|name| !theirs.contains(name) && known(name).contains(&staged(name)))
        .collect();
    let index_moved = ours.iter().any(|name| staged(name) != of(head.as_ref(), name));
    let (back, gone): (Vec<_>, Vec<_>) = ours.into_iter().partition(|name| of(head.as_ref(), name).is_some());
    remove(&repo, path, &gone, index_moved)?;
    restore(&repo, head.as_ref(), back, index_moved)
}

/// HEAD and its branch, where they are where the move led.
fn return_refs(repo: &Repository, going: &Move) -> Result<()> {
    let fail = git_failure("write a ref");
    let Some(from) = &going.from else { return Ok(()) };
    let head = refs::head(repo)?;
    // The branch moves before HEAD does.
    let branch_moved = going.to.branch.as_ref().is_some_and(|branch| {
        byte_refs::id(repo, &branch.local()).ok() == Some(going.to.commit) && going.branch_was != Some(going.to.commit)
    });
    if head.as_ref() == Some(&going.to) && going.to != *from {
        match from {
            Target {
                branch: Some(branch), ..
            } => byte_refs::set_head(repo, &branch.local()).map_err(&fail)?,
            Target { commit, branch: None } => refs::detach(repo, *commit)?,
        }
    }
    if let (true, Some(branch)) = (branch_moved, &going.to.branch) {
        let name = branch.local();
        match going.branch_was {
            Some(was) => byte_refs::write(repo, &name, was, "sync: taken back").map_err(&fail)?,
            None => byte_refs::find(repo, &name)
                .and_then(|mut made| made.delete())
                .map_err(&fail)?,
        }
    }
    Ok(())
}

/// Which of `names` are in the working tree and not as `to` has them, or are not there though `to` has them.
fn not_as(repo: &Repository, path: &Path, to: &Tree<'_>, names: &HashSet<Vec<u8>>) -> Result<HashSet<Vec<u8>>> {
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true);
    let mut wanted: HashMap<&[u8], Oid> = HashMap::new();
    let mut differ = HashSet::new();
    for name in names {
        let name_as_path = Path::new(OsStr::from_bytes(name));
        match to.get_path(name_as_path) {
            Ok(entry) => {
                wanted.insert(name, entry.id());
                options.pathspec(name.as_slice());
            }
            // The move deletes it. A directory in its place is of other files.
            Err(_) => match fs::symlink_metadata(path.join(name_as_path)) {
                Ok(there) if !there.is_dir() => drop(differ.insert(name.clone())),
                _ => {}
            },
        }
    }
    if wanted.is_empty() {
        return Ok(differ);
    }
    let diff = repo
        .diff_tree_to_workdir(Some(to), Some(&mut options))
        .map_err(git_failure("compare the working tree"))?;
    for name in paths(&diff) {
        let torn = wanted
            .get(name.as_slice())
            .is_some_and(|oid| is_beginning(repo, &path.join(OsStr::from_bytes(&name)), *oid));
        if !torn {
            differ.insert(name);
        }
    }
    Ok(differ)
}

/// Whether `file` is the beginning of the blob, as a kill in the middle of writing it leaves it. Nothing is lost with it.
fn is_beginning(repo: &Repository, file: &Path, blob: Oid) -> bool {
    let Ok(found) = fs::symlink_metadata(file) else {
        return false;
    };
    let Ok(blob) = repo.find_blob(blob) else { return false };
    let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
    if !found.is_file() || length >= blob.size() {
        return false;
    }
    let mut content = Vec::with_capacity(length);
    let read = fs::File::open(file).and_then(|file| file.take(found.len()).read_to_end(&mut content));
    read.is_ok() && blob.content().starts_with(&content)
}

/// Takes away what only the move brought, and directories that are empty without it.
fn remove(repo: &Repository, path: &Path, names: &[Vec<u8>], index_moved: bool) -> Result<()> {
    for name in names {
        let file: PathBuf = path.join(OsStr::from_bytes(name));
        if fs::remove_file(&file).is_err() {
            continue;
        }
        let above = file.ancestors().skip(1).take_while(|dir| *dir != path);
        for dir in above {
            if fs::remove_dir(dir).is_err() {
                break;
            }
        }
    }
    if !index_moved || names.is_empty() {
        return Ok(());
    }
    let fail = git_failure("write the index");
    let mut index = super::index(repo, path)?;
    for name in names {
        index.remove(Path::new(OsStr::from_bytes(name)), 0).map_err(&fail)?;
    }
    index.write().map_err(&fail)
}

fn restore(repo: &Repository, head: Option<&Tree<'_>>, names: Vec<Vec<u8>>, index_moved: bool) -> Result<()> {
    let Some(head) = head.filter(|_| !names.is_empty()) else {
        return Ok(());
    };
    let mut options = CheckoutBuilder::new();
    options.force().update_index(index_moved).disable_pathspec_match(true);
    for name in names {
        options.path(name);
    }
    let head = head.as_object();
    debug_assert_eq!(head.kind(), Some(ObjectType::Tree));
    repo.checkout_tree(head, Some(&mut options))
        .map_err(git_failure("check out"))
}
