//! A move of somebody's own repository, taken back: what it wrote goes back to what is at HEAD, and
//! what its owner did meanwhile stays.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{ObjectType, Oid, Repository, Tree};

use super::compare::{Above, at, found, not_as};
use super::plan;
use super::sparse::Sparse;
use super::{entry, moving, tree};
use crate::error::Result;
use crate::repo::marker::{Move, Target};
use crate::repo::{byte_refs, git_failure, refs};

/// Takes `going` back, as far as it came.
pub(crate) fn roll_back(path: &Path, going: &Move) -> Result<()> {
    let repo = super::open(path)?;
    return_refs(&repo, going)?;
    let to = tree(&repo, going.to.commit)?;
    let head = match refs::head(&repo)? {
        Some(head) => Some(tree(&repo, head.commit)?),
        None => None,
    };
    let gitlinks = gitlinks(&repo, going)?;
    let mut moved = moving(&repo, going)?;
    moved.retain(|name| !gitlinks.contains(name));
    let index = super::index(&repo, path)?;
    let before = super::tree_before(&repo, going)?;
    let of = |tree: Option<&Tree<'_>>, name: &[u8]| {
        tree.and_then(|tree| tree.get_path(Path::new(OsStr::from_bytes(name))).ok())
            .map(|entry| entry.id())
    };
    let known = |name: &[u8]| {
        [
            of(before.as_ref(), name),
            of(Some(&to), name),
            of(head.as_ref(), name),
        ]
    };
    let staged = |name: &[u8]| entry(&index, name).map(|entry| entry.id);

    // What is there as the move wrote it, and not staged by anybody.
    let mut theirs = not_as(&repo, path, Some(&to), &moved)?;
    let mut above = Above::new(path);
    theirs.retain(|name| {
        let torn = of(Some(&to), name).filter(|_| above.of(name).is_none());
        !torn.is_some_and(|blob| is_beginning(&repo, &at(path, name), blob))
    });
    let ours: Vec<Vec<u8>> = moved
        .into_iter()
        .filter(|name| !theirs.contains(name) && known(name).contains(&staged(name)))
        .collect();
    let index_moved = ours
        .iter()
        .any(|name| staged(name) != of(head.as_ref(), name));
    let (back, gone): (Vec<_>, Vec<_>) = ours
        .into_iter()
        .partition(|name| of(head.as_ref(), name).is_some());
    remove(&repo, path, &gone, index_moved)?;
    restore(&repo, path, head.as_ref(), back, index_moved)?;
    let gitlinks: Vec<_> = gitlinks
        .into_iter()
        .filter(|name| staged(name) == of(Some(&to), name))
        .map(|name| {
            let id = of(head.as_ref(), &name);
            (name, id)
        })
        .collect();
    plan::record_gitlinks(&repo, path, gitlinks.iter())
}

/// The submodules that a move changes. Where one becomes a file, or was one, that is what counts.
fn gitlinks(repo: &Repository, going: &Move) -> Result<HashSet<Vec<u8>>> {
    let (from, to) = (
        super::tree_before(repo, going)?,
        tree(repo, going.to.commit)?,
    );
    let is_gitlink = |name: &Vec<u8>| {
        let kinds = [from.as_ref(), Some(&to)].map(|tree| found(tree, name).map(|(kind, _)| kind));
        kinds.contains(&Some(ObjectType::Commit)) && !kinds.contains(&Some(ObjectType::Blob))
    };
    Ok(moving(repo, going)?
        .into_iter()
        .filter(is_gitlink)
        .collect())
}

/// HEAD and its branch, where they are where the move led.
fn return_refs(repo: &Repository, going: &Move) -> Result<()> {
    let fail = git_failure("write a ref");
    let Some(from) = &going.from else {
        return Ok(());
    };
    let head = refs::head(repo)?;
    // The branch moves before HEAD does.
    let branch_moved = going.to.branch.as_ref().is_some_and(|branch| {
        byte_refs::id(repo, &branch.local()).ok() == Some(going.to.commit)
            && going.branch_was != Some(going.to.commit)
    });
    if head.as_ref() == Some(&going.to) && going.to != *from {
        match from {
            Target {
                branch: Some(branch),
                ..
            } => byte_refs::set_head(repo, &branch.local()).map_err(&fail)?,
            Target {
                commit,
                branch: None,
                ..
            } => refs::detach(repo, *commit)?,
        }
    }
    if let (true, Some(branch)) = (branch_moved, &going.to.branch) {
        let name = branch.local();
        match going.branch_was {
            Some(was) => {
                byte_refs::write_from(repo, &name, was, Some(going.to.commit), "sync: taken back")
                    .map_err(&fail)?;
            }
            None => byte_refs::find(repo, &name)
                .and_then(|mut made| made.delete())
                .map_err(&fail)?,
        }
    }
    Ok(())
}

/// Whether `file` is the beginning of the blob, as a kill in the middle of writing it leaves it.
/// Nothing is lost with it.
fn is_beginning(repo: &Repository, file: &Path, blob: Oid) -> bool {
    let Ok(found) = fs::symlink_metadata(file) else {
        return false;
    };
    let Ok(blob) = repo.find_blob(blob) else {
        return false;
    };
    let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
    if !found.is_file() || length >= blob.size() {
        return false;
    }
    let mut content = Vec::with_capacity(length);
    let read =
        fs::File::open(file).and_then(|file| file.take(found.len()).read_to_end(&mut content));
    read.is_ok() && blob.content().starts_with(&content)
}

/// Takes away what only the move brought, and directories that are empty without it.
fn remove(repo: &Repository, path: &Path, names: &[Vec<u8>], index_moved: bool) -> Result<()> {
    let mut links = Above::new(path);
    for name in names {
        let file = at(path, name);
        if links.of(name).is_some() || fs::remove_file(&file).is_err() {
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
        index
            .remove(Path::new(OsStr::from_bytes(name)), 0)
            .map_err(&fail)?;
    }
    index.write().map_err(&fail)
}

fn restore(
    repo: &Repository,
    path: &Path,
    head: Option<&Tree<'_>>,
    names: Vec<Vec<u8>>,
    index_moved: bool,
) -> Result<()> {
    let Some(head) = head else { return Ok(()) };
    let sparse = Sparse::of(repo, path)?;
    let is_left_out = |name: &Vec<u8>| {
        sparse
            .as_ref()
            .is_some_and(|sparse| sparse.leaves_out(name))
    };
    let (left_out, names): (Vec<_>, Vec<_>) = names.into_iter().partition(is_left_out);
    if index_moved {
        Sparse::record(repo, path, head, &left_out)?;
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut options = CheckoutBuilder::new();
    options
        .force()
        .update_index(index_moved)
        .disable_pathspec_match(true);
    for name in names {
        options.path(name);
    }
    let head = head.as_object();
    debug_assert_eq!(head.kind(), Some(ObjectType::Tree));
    repo.checkout_tree(head, Some(&mut options))
        .map_err(git_failure("check out"))
}
