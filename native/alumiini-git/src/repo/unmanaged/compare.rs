//! A commit's tree beside the working tree of somebody's own repository: what is there, and what
//! differs.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{DiffOptions, ObjectType, Oid, Repository, Tree};

use super::paths;
use crate::error::Result;
use crate::repo::git_failure;

/// What has the place of a directory above a path.
pub(super) struct Above {
    root: PathBuf,
    known: HashMap<Vec<u8>, bool>,
}

impl Above {
    pub(super) fn new(root: &Path) -> Above {
        Above {
            root: root.to_owned(),
            known: HashMap::new(),
        }
    }

    /// The first directory above `name` that is something else: a link, a file. What is behind it
    /// is not of this repository.
    pub(super) fn of<'a>(&mut self, name: &'a [u8]) -> Option<&'a [u8]> {
        for (slash, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let above = &name[..slash];
            let is_other = match self.known.get(above) {
                Some(known) => *known,
                None => {
                    let there = fs::symlink_metadata(at(&self.root, above));
                    let is_other = there.is_ok_and(|there| !there.is_dir());
                    self.known.insert(above.to_vec(), is_other);
                    is_other
                }
            };
            if is_other {
                return Some(above);
            }
        }
        None
    }
}

pub(super) fn at(path: &Path, name: &[u8]) -> PathBuf {
    path.join(OsStr::from_bytes(name))
}

/// What a commit has at a path: a file, a link or a submodule.
pub(super) fn found(tree: Option<&Tree<'_>>, name: &[u8]) -> Option<(ObjectType, Oid)> {
    let entry = tree?.get_path(Path::new(OsStr::from_bytes(name))).ok()?;
    let kind = entry.kind().filter(|kind| *kind != ObjectType::Tree)?;
    Some((kind, entry.id()))
}

/// Which of `names` are in the working tree and not as `tree` has them, or are not there though
/// `tree` has them.
pub(super) fn not_as(
    repo: &Repository,
    path: &Path,
    tree: Option<&Tree<'_>>,
    names: &HashSet<Vec<u8>>,
) -> Result<HashSet<Vec<u8>>> {
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true).ignore_submodules(true);
    let mut above = Above::new(path);
    let mut wanted: HashSet<&[u8]> = HashSet::new();
    let mut differ = HashSet::new();
    for name in names {
        match found(tree, name) {
            Some((ObjectType::Blob, _)) => {
                wanted.insert(name);
                options.pathspec(name.as_slice());
            }
            // Nothing is to be there. A directory in its place is of other files; behind a link,
            // which may lead anywhere, is nothing.
            _ => match above.of(name) {
                Some(link) if !names.contains(link) => drop(differ.insert(name.clone())),
                Some(_) => {}
                None => match fs::symlink_metadata(at(path, name)) {
                    Ok(there) if !there.is_dir() => drop(differ.insert(name.clone())),
                    _ => {}
                },
            },
        }
    }
    let (Some(tree), false) = (tree, wanted.is_empty()) else {
        return Ok(differ);
    };
    let diff = repo
        .diff_tree_to_workdir(Some(tree), Some(&mut options))
        .map_err(git_failure("compare the working tree"))?;
    differ.extend(paths(&diff).filter(|name| wanted.contains(name.as_slice())));
    Ok(differ)
}
