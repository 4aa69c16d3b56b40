//! What a move is about to change in somebody's own repository, held against what is there before
//! anything is written.
//!
//! What passes is as the commit before has it, or is not there at all. So whatever is found at
//! these paths after the marker was set is what the move wrote, and can be taken back.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{ObjectType, Oid, Repository};

use super::compare::{Above, at, found, not_as};
use super::sparse::Sparse;
use super::{Checks, SKIP_WORKTREE, dirty, dirty_paths, entry, moving, paths, tree, tree_before};
use crate::error::{Error, Result};
use crate::repo::git_failure;
use crate::repo::marker::Move;

pub(super) struct Plan {
    /// The paths that libgit2 is told to check out.
    pub(super) files: Vec<Vec<u8>>,
    /// Those among them that are not there and may be of another kind before. libgit2 leaves such a
    /// file out.
    pub(super) absent: Vec<Vec<u8>>,
    /// Those that a sparse checkout leaves out.
    pub(super) left_out: Vec<Vec<u8>>,
    /// Submodules, and the commit that each is to be at; none where it goes. libgit2 would remove
    /// what is in their directories.
    pub(super) gitlinks: Vec<(Vec<u8>, Option<Oid>)>,
    /// What has the place of a file or of a directory above it, and goes first. Only with force.
    in_the_way: Vec<Vec<u8>>,
}

impl Plan {
    /// What `going` changes; with force, all that its end has, since what was edited is put right,
    /// too.
    pub(super) fn of(repo: &Repository, path: &Path, going: &Move, checks: Checks) -> Result<Plan> {
        let sparse = Sparse::of(repo, path)?;
        let mut names = moving(repo, going)?;
        if checks == Checks::None {
            names.extend(everything(repo, path, going)?);
        }
        let (from, to) = (tree_before(repo, going)?, tree(repo, going.to.commit)?);
        let mut plan = Plan {
            files: Vec::new(),
            absent: Vec::new(),
            left_out: Vec::new(),
            gitlinks: Vec::new(),
            in_the_way: Vec::new(),
        };
        for name in names {
            let (was, is) = (found(from.as_ref(), &name), found(Some(&to), &name));
            let (was_gitlink, is_gitlink) = (is_gitlink(was), is_gitlink(is));
            if sparse
                .as_ref()
                .is_some_and(|sparse| sparse.leaves_out(&name))
            {
                plan.left_out.push(name);
                continue;
            }
            if was_gitlink || is_gitlink && was.is_none() {
                plan.gitlinks
                    .push((name.clone(), is.filter(|_| is_gitlink).map(|(_, id)| id)));
            }
            let is_file = was.is_some() && !was_gitlink
                || is.is_some() && !is_gitlink
                || was.is_none() && is.is_none();
            let comes_back = checks == Checks::None
                && was.is_some()
                && fs::symlink_metadata(at(path, &name)).is_err();
            if is_file && is.is_some() && (was_gitlink || comes_back) {
                plan.absent.push(name.clone());
            }
            if is_file {
                plan.files.push(name);
            }
        }
        if checks == Checks::None {
            plan.in_the_way = plan.other_kinds(path);
        }
        Ok(plan)
    }

    /// `dirty` where anything of the owner's would be lost.
    pub(super) fn check(
        &self,
        repo: &Repository,
        path: &Path,
        going: &Move,
        checks: Checks,
    ) -> Result<()> {
        let gone: HashSet<&[u8]> = self.files.iter().map(Vec::as_slice).collect();
        let nested = self.nested(path, &gone);
        if !nested.is_empty() {
            let what = "hold a repository or files of their own where the commit has none";
            return Err(dirty_paths(path, what, &nested));
        }
        if checks == Checks::None {
            return Ok(());
        }
        let mut theirs = self.other_kinds(path);
        if matches!(checks, Checks::All { .. }) {
            theirs.extend(self.edited(repo, path, going)?);
            theirs.extend(self.below_new_files(repo, path, going, &gone)?);
        }
        if theirs.is_empty() {
            return Ok(());
        }
        theirs.sort();
        theirs.dedup();
        Err(dirty_paths(path, "are in the way of the commit's", &theirs))
    }

    /// Takes away what is in the way, and the index entries of submodules that go.
    pub(super) fn clear(&self, repo: &Repository, path: &Path) -> Result<()> {
        for name in &self.in_the_way {
            let file = at(path, name);
            fs::remove_file(&file).map_err(|error| Error::io("remove", &file, &error))?;
        }
        let gone = self.gitlinks.iter().filter(|(_, id)| id.is_none());
        record_gitlinks(repo, path, gone)
    }

    /// Records the submodules that are new or elsewhere. Their working trees are their owner's, as
    /// for `git pull`.
    pub(super) fn record_gitlinks(&self, repo: &Repository, path: &Path) -> Result<()> {
        record_gitlinks(
            repo,
            path,
            self.gitlinks.iter().filter(|(_, id)| id.is_some()),
        )
    }

    /// What is no file, link or directory (a pipe, a socket), or no directory above a file. Opening
    /// some of them waits for ever.
    fn other_kinds(&self, path: &Path) -> Vec<Vec<u8>> {
        let names: HashSet<&[u8]> = self.names().collect();
        let directories = self.gitlinks.iter().filter(|(_, id)| id.is_some());
        let directories: HashSet<&[u8]> = directories.map(|(name, _)| name.as_slice()).collect();
        let mut found = Vec::new();
        let mut above = Above::new(path);
        for name in self.names() {
            match above.of(name) {
                Some(other) if names.contains(other) => {}
                Some(other) => found.push(other.to_vec()),
                None => {
                    let there = fs::symlink_metadata(at(path, name)).map(|there| there.file_type());
                    let is_file = |there: fs::FileType| there.is_file() || there.is_symlink();
                    let fits = |there: fs::FileType| {
                        there.is_dir() || is_file(there) && !directories.contains(name)
                    };
                    if there.is_ok_and(|there| !fits(there)) {
                        found.push(name.to_vec());
                    }
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let gitlinks = self.gitlinks.iter().map(|(name, _)| name.as_slice());
        self.files.iter().map(Vec::as_slice).chain(gitlinks)
    }

    /// Files that are not as the commit before has them, whatever the index says of them.
    fn edited(&self, repo: &Repository, path: &Path, going: &Move) -> Result<Vec<Vec<u8>>> {
        let before = tree_before(repo, going)?;
        let files: HashSet<Vec<u8>> = self.files.iter().cloned().collect();
        let mut edited: Vec<_> = not_as(repo, path, before.as_ref(), &files)?
            .into_iter()
            .collect();
        // A file that is not there is one that the move may write: as Git, which makes deleted
        // files anew.
        edited.retain(|name| fs::symlink_metadata(at(path, name)).is_ok());
        let index = super::index(repo, path)?;
        for name in &self.left_out {
            let flagged =
                entry(&index, name).filter(|entry| entry.flags_extended & SKIP_WORKTREE != 0);
            let there = fs::symlink_metadata(at(path, name));
            if flagged.is_some() && there.is_ok_and(|there| !there.is_dir()) {
                let only = HashSet::from([name.clone()]);
                edited.extend(not_as(repo, path, before.as_ref(), &only)?);
            }
        }
        for (name, _) in &self.gitlinks {
            let staged = entry(&index, name).map(|entry| entry.id);
            let was = before
                .as_ref()
                .and_then(|tree| tree.get_path(Path::new(OsStr::from_bytes(name))).ok());
            let was = was.filter(|was| was.kind() == Some(ObjectType::Commit));
            if staged != was.map(|was| was.id()) {
                edited.push(name.clone());
            }
        }
        Ok(edited)
    }

    /// Files of the owner's in directories that become files.
    fn below_new_files(
        &self,
        repo: &Repository,
        path: &Path,
        going: &Move,
        gone: &HashSet<&[u8]>,
    ) -> Result<Vec<Vec<u8>>> {
        let to = tree(repo, going.to.commit)?;
        let mut found = Vec::new();
        for name in &self.files {
            let dir = at(path, name);
            let is_new = self::found(Some(&to), name).is_some();
            if is_new && fs::symlink_metadata(&dir).is_ok_and(|there| there.is_dir()) {
                found.extend(
                    files_below(&dir, name)
                        .into_iter()
                        .filter(|below| !gone.contains(below.as_slice())),
                );
            }
        }
        Ok(found)
    }

    /// Directories of submodules that hold anything, where the commit has a file or a directory of
    /// its own.
    fn nested(&self, path: &Path, files: &HashSet<&[u8]>) -> Vec<Vec<u8>> {
        let replaced = |name: &[u8]| {
            let below = [name, b"/"].concat();
            files.contains(name) || files.iter().any(|file| file.starts_with(&below))
        };
        let gone = self
            .gitlinks
            .iter()
            .filter(|(_, id)| id.is_none())
            .map(|(name, _)| name);
        gone.filter(|name| {
            let holds =
                fs::read_dir(at(path, name)).is_ok_and(|mut entries| entries.next().is_some());
            holds && replaced(name)
        })
        .cloned()
        .collect()
    }
}

/// Puts submodules into the index, or takes them out.
pub(super) fn record_gitlinks<'a>(
    repo: &Repository,
    path: &Path,
    gitlinks: impl Iterator<Item = &'a (Vec<u8>, Option<Oid>)>,
) -> Result<()> {
    let mut gitlinks = gitlinks.peekable();
    if gitlinks.peek().is_none() {
        return Ok(());
    }
    let fail = git_failure("write the index");
    let mut index = super::index(repo, path)?;
    for (name, id) in gitlinks {
        let dir = at(path, name);
        match id {
            Some(id) => {
                index
                    .add(&super::sparse::bare_entry(name, *id, 0o160000, 0))
                    .map_err(&fail)?;
                if fs::symlink_metadata(&dir).is_err() {
                    fs::create_dir_all(&dir).map_err(|error| Error::io("make", &dir, &error))?;
                }
            }
            None => {
                index
                    .remove(Path::new(OsStr::from_bytes(name)), 0)
                    .map_err(&fail)?;
                // Only an empty one.
                let _ = fs::remove_dir(&dir);
            }
        }
    }
    index.write().map_err(&fail)
}

fn is_gitlink(side: Option<(ObjectType, Oid)>) -> bool {
    side.is_some_and(|(kind, _)| kind == ObjectType::Commit)
}

/// All paths of the move's end and of the index.
fn everything(repo: &Repository, path: &Path, going: &Move) -> Result<Vec<Vec<u8>>> {
    let to = tree(repo, going.to.commit)?;
    let whole = repo
        .diff_tree_to_tree(None, Some(&to), None)
        .map_err(git_failure("read the commit's tree"))?;
    let staged = super::index(repo, path)?;
    Ok(paths(&whole)
        .chain(staged.iter().map(|entry| entry.path))
        .collect())
}

/// All that is below a directory and is no directory, by its path in the repository.
fn files_below(dir: &Path, name: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut open = vec![(dir.to_owned(), name.to_vec())];
    while let Some((dir, name)) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let below = [&name, &b"/"[..], entry.file_name().as_bytes()].concat();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push((entry.path(), below));
            } else {
                found.push(below);
            }
        }
    }
    found
}

/// `dirty` where the branch that is to move is checked out in another working tree of the
/// repository's.
pub(super) fn refuse_checked_out_elsewhere(
    repo: &Repository,
    path: &Path,
    going: &Move,
) -> Result<()> {
    let Some(branch) = &going.to.branch else {
        return Ok(());
    };
    let wanted = [b"ref: ", &branch.local()[..]].concat();
    for tree in fs::read_dir(repo.path().join("worktrees"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let head = fs::read(tree.path().join("HEAD")).unwrap_or_default();
        if head.trim_ascii_end() == wanted {
            let at = fs::read(tree.path().join("gitdir")).unwrap_or_default();
            let at = String::from_utf8_lossy(at.trim_ascii_end()).into_owned();
            let why =
                format!("its branch `{branch}` is checked out in another working tree, too ({at})");
            return Err(dirty(path, &why));
        }
    }
    Ok(())
}
