//! Reads of a repository's objects: of any commit in the repository, whichever one is checked out.
//!
//! They do not wait while the working tree is moved. A commit is read by its id, and its objects
//! stay as long as the commit is kept (`repo::kept_refs`).

use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use git2::{Odb, Oid, Repository};

use crate::error::{Error, Kind, Result};
use crate::ops::fit::{self, Fit};
use crate::ops::operation::Context;
use crate::ops::stable_read::{ATTEMPTS, enclosing, refuse_unborn};
use crate::repo::partial::{self, Within};
use crate::repo::tree_files::{self, Part, TreeFile};
use crate::repo::tree_reader::TreeReader;
use crate::repo::{open, raw_object, refs, revision};
use crate::selection::Selection;
use crate::task::job::Job;
use crate::task::pool::Pool;
use crate::worker::Worker;

/// An open repository, and the directory in it that the request names.
pub(super) struct Objects<'a> {
    pub(super) repo: &'a Repository,
    pub(super) job: &'a Arc<Job>,
    worker: &'a Worker,
    root: &'a Path,
    below: &'a Path,
    within: Option<Within>,
}

/// A directory of a commit.
pub(super) struct Directory {
    /// `None`: the directory of a submodule, which is empty.
    pub(super) tree: Option<Oid>,
    /// The prefix of the directory's paths as the request has it: empty, or with a slash at its
    /// end.
    pub(super) prefix: Vec<u8>,
    /// The prefix of its paths in the repository, after links were followed.
    place: Vec<u8>,
}

impl Directory {
    /// The same directory, with paths relative to it.
    pub(super) fn into_root(self) -> Directory {
        Directory {
            prefix: Vec::new(),
            ..self
        }
    }
}

/// Runs `read` on the repository that `path` is in, with the number of bytes that its reply may
/// take.
pub(super) async fn read<T, F>(context: Context<'_>, path: PathBuf, read: F) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&Objects<'_>, u64) -> Result<Fit<T>> + Send + Sync + 'static,
{
    let worker = context.worker.clone();
    read_in(context, &worker.reads, path, read).await
}

/// The same, on the threads of `pool`.
pub(super) async fn read_in<T, F>(
    context: Context<'_>,
    pool: &Pool,
    path: PathBuf,
    read: F,
) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&Objects<'_>, u64) -> Result<Fit<T>> + Send + Sync + 'static,
{
    let (worker, job, read) = (context.worker.clone(), context.job.clone(), Arc::new(read));
    fit::fit(context, |allowance| {
        let (worker, job, path, read) = (worker.clone(), job.clone(), path.clone(), read.clone());
        async move {
            let mut attempts = 0;
            loop {
                let attempt = {
                    let (shared, job) = (worker.clone(), job.clone());
                    let (path, read, hold) = (path.clone(), read.clone(), job.hold());
                    let work = move || {
                        let _hold = hold;
                        at(&shared, &job, &path, |objects| read(objects, allowance))
                    };
                    pool.run(work).await
                };
                attempts += 1;
                match attempt {
                    Err(error) if is_of_a_move(&error) && attempts < ATTEMPTS => {
                        let shared = worker.clone();
                        let path = path.clone();
                        let repo = worker.reads.run(move || shared.repo_at(&path)).await?;
                        if repo.tree.clone().try_read_owned().is_ok() {
                            return Err(error);
                        }
                        // A new `.git` was about to replace the old one.
                        drop(repo.tree.clone().read_owned().await);
                    }
                    attempt => return attempt,
                }
            }
        }
    })
    .await
}

/// Whether the error may come from a `.git` that is being replaced.
fn is_of_a_move(error: &Error) -> bool {
    matches!(
        error.kind,
        Kind::NotARepository | Kind::PathNotFound | Kind::Incomplete | Kind::Corrupt
    )
}

fn at<T>(
    worker: &Worker,
    job: &Arc<Job>,
    path: &Path,
    read: impl Fn(&Objects<'_>) -> Result<T>,
) -> Result<T> {
    let place = worker.repo_at(path)?;
    let limit = worker.allowed.now().root.clone();
    let Some(root) = enclosing(&place.path, limit.as_deref()) else {
        refuse_unborn(&place.path)?;
        open::dir(&place.path)?;
        return Err(open::not_a_repository(&place.path));
    };
    let below = place.path.strip_prefix(root).unwrap_or(Path::new(""));
    worker.trees.read(root, |repo| {
        read(&Objects {
            within: partial::within(root, repo.path(), false)?,
            repo,
            job,
            worker,
            root,
            below,
        })
    })
}

impl<'a> Objects<'a> {
    pub(super) fn odb(&self) -> Result<Odb<'a>> {
        raw_object::odb(self.repo)
    }

    /// The commit that `rev` names, or HEAD's without a `rev`.
    pub(super) fn commit(&self, rev: Option<&[u8]>) -> Result<Oid> {
        if let Some(rev) = rev {
            return revision::commit(self.repo, self.root, rev);
        }
        let head = refs::head(self.repo)?.ok_or_else(|| {
            let message = "the repository has no commit yet; sync it first";
            Error::new(Kind::RefNotFound, message)
        })?;
        let (commit, _) = raw_object::peel(&self.odb()?, head.commit)?;
        Ok(commit)
    }

    /// The tree of a commit, after the check that it may become a working tree: callers use the
    /// result like one.
    pub(super) fn tree(&self, commit: Oid) -> Result<Oid> {
        let tree = raw_object::tree_of(self.repo, commit)?;
        let checked = &self.worker.checked_trees;
        checked.check(self.repo, tree, self.job)?;
        Ok(tree)
    }

    /// The tree of a commit, or of the directory in it that the request names. It is not checked:
    /// callers check each path that they find.
    pub(super) fn below(&self, commit: Oid) -> Result<Oid> {
        let tree = raw_object::tree_of(self.repo, commit)?;
        if self.below.as_os_str().is_empty() {
            return Ok(tree);
        }
        let within = self.within.clone();
        let reader = TreeReader::at(self.odb()?, tree, self.root, self.below, within)?;
        match reader.dir(Path::new(""))? {
            Some(tree) => Ok(tree),
            None => raw_object::empty_tree(),
        }
    }

    /// The object that a path names in `commit`.
    pub(super) fn reader(&self, commit: Oid) -> Result<TreeReader<'a>> {
        let (tree, within) = (self.tree(commit)?, self.within.clone());
        TreeReader::at(self.odb()?, tree, self.root, self.below, within)
    }

    pub(super) fn directory(&self, commit: Oid, subpath: &Path) -> Result<Directory> {
        let (tree, place) = self.reader(commit)?.dir_at(subpath)?;
        Ok(Directory {
            tree,
            place,
            prefix: prefix(subpath),
        })
    }

    /// Calls `each` with the selected files of a directory, by path, until it breaks. With `after`,
    /// only files after that path count.
    pub(super) fn visit(
        &self,
        directory: &Directory,
        selection: &Selection,
        after: Option<&[u8]>,
        mut each: impl FnMut(TreeFile) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Some(tree) = directory.tree else {
            return Ok(());
        };
        let part = Part {
            prefix: &directory.prefix,
            after,
        };
        // The path in the repository.
        let whole = |path: &[u8]| [&directory.place, &path[directory.prefix.len()..]].concat();
        let filter = self.within.as_ref().map(|within| &within.filter);
        let enters = |dir: &[u8]| {
            selection.enters(dir) && filter.is_none_or(|filter| filter.enters(&whole(dir)))
        };
        tree_files::visit(&self.odb()?, tree, part, self.job, enters, |file| {
            self.job.check()?;
            let is_had = filter.is_none_or(|filter| filter.takes(&whole(&file.path)));
            if !is_had || !selection.takes(&file.path) {
                return Ok(ControlFlow::Continue(()));
            }
            self.job.reach("object");
            each(file)
        })
    }
}

/// `a/b/` for each spelling of that path.
fn prefix(subpath: &Path) -> Vec<u8> {
    let mut prefix = Vec::new();
    for component in subpath.components() {
        if let Component::Normal(name) = component {
            prefix.extend(name.as_encoded_bytes());
            prefix.push(b'/');
        }
    }
    prefix
}
