//! Repositories that lack files on purpose: those that no sync has asked for, which their remote
//! promises to have (gitformat-pack(5), partial-clone.txt of Git).
//!
//! Commits and trees are all there, so nothing but the content of files is ever missing.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Config, Odb, OdbLookupFlags, Oid, Repository};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::tree_files::{self, GITLINK, KIND, Part};
use crate::repo::{git_failure, open, raw_object, scope_file};
use crate::selection::paths;
use crate::selection::scope::{Filter, Scope};
use crate::task::job::Job;

/// What a server is asked for, as Git writes it (rev-list, `--filter`).
pub(crate) const FILTER: &str = "blob:none";

/// Git writes the second of these two, and has read both.
const EXTENSION: &str = "extensions.partialclone";
const PROMISOR: &str = "remote.origin.promisor";

/// The part of its commits that a repository has.
#[derive(Debug, Clone)]
pub(crate) struct Within {
    pub(crate) root: PathBuf,
    pub(crate) scope: Scope,
    pub(crate) filter: Filter,
    /// Whether the commit is the one that was synced: then a file of it that is missing is damage.
    pub(crate) is_synced: bool,
}

/// Whether files may be missing.
pub(crate) fn is_partial(git_dir: &Path) -> bool {
    let is_said = |config: Config| {
        config.get_entry(EXTENSION).is_ok() || config.get_bool(PROMISOR).unwrap_or(false)
    };
    open::config(git_dir).is_ok_and(is_said)
}

/// Notes for Git that files may be missing, and where they are: before the first is.
pub(crate) fn set_partial(git_dir: &Path) -> Result<()> {
    if is_partial(git_dir) {
        return Ok(());
    }
    let set = |mut config: Config| {
        // In this order: a Git that is to understand an extension is told so first.
        config.set_i32("core.repositoryformatversion", 1)?;
        config.set_str("remote.origin.partialclonefilter", FILTER)?;
        config.set_str(EXTENSION, "origin")?;
        config.set_bool(PROMISOR, true)
    };
    open::config(git_dir)
        .and_then(set)
        .map_err(git_failure("write the repository's config"))
}

/// Marks all packs of a repository as ones whose objects may name what is missing.
pub(crate) fn promise(git_dir: &Path) -> Result<()> {
    let dir = git_dir.join("objects/pack");
    let fail = |error| Error::io("write in", &dir, &error);
    for entry in fs::read_dir(&dir).map_err(fail)? {
        let pack = entry.map_err(fail)?.path();
        if pack
            .extension()
            .is_some_and(|extension| extension == "pack")
        {
            fs::write(pack.with_extension("promisor"), "").map_err(fail)?;
        }
    }
    Ok(())
}

/// The files of `tree` that `filter` takes and that are not there, each once.
pub(crate) fn missing(
    repo: &Repository,
    tree: Oid,
    filter: &Filter,
    job: &Job,
) -> Result<Vec<Oid>> {
    let odb = raw_object::odb(repo)?;
    odb.refresh().map_err(git_failure("list the packs"))?;
    let mut missing = Vec::new();
    let mut seen = HashSet::new();
    let enters = |dir: &[u8]| filter.enters(dir);
    tree_files::visit(&odb, tree, Part::default(), job, enters, |file| {
        let id = file.is.id;
        if file.is.mode & KIND != GITLINK
            && filter.takes(&file.path)
            && seen.insert(id)
            && !odb.exists_ext(id, OdbLookupFlags::NO_REFRESH)
        {
            missing.push(id);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(missing)
}

/// Whether the trees `old` and `new` have the same in what `scope` takes.
pub(crate) fn is_same(
    repo: &Repository,
    old: Oid,
    new: Oid,
    scope: &Scope,
    job: &Job,
) -> Result<bool> {
    let (odb, filter) = (raw_object::odb(repo)?, scope.filter()?);
    let enters = |dir: &[u8]| filter.enters(dir);
    let changed = tree_files::changes(&odb, old, new, job, 0, enters, |path| filter.takes(path));
    match changed {
        Ok(_) => Ok(true),
        // The first is one too many.
        Err(error) if error.kind == Kind::TooLarge => Ok(false),
        Err(error) => Err(error),
    }
}

/// The part of its commits that the repository at `root` has, whose `.git` is `git_dir`; none where
/// it has all. `is_synced` is for a reader of the commit at HEAD.
pub(crate) fn within(root: &Path, git_dir: &Path, is_synced: bool) -> Result<Option<Within>> {
    let scope = scope_file::read(git_dir)?;
    if scope.is_all() {
        return Ok(None);
    }
    let (root, filter) = (root.to_owned(), scope.filter()?);
    Ok(Some(Within {
        root,
        scope,
        filter,
        is_synced,
    }))
}

/// `error`, or, where it comes of a file of the working tree at or above `path` that is not there
/// since it is left out, that instead.
pub(crate) fn left_out(path: &Path, file: &Path, error: Error) -> Error {
    if error.kind != Kind::PathNotFound {
        return error;
    }
    let is_root = |dir: &&Path| fs::symlink_metadata(open::git_dir(dir)).is_ok();
    let Some(root) = path.ancestors().find(is_root) else {
        return error;
    };
    let below = path.strip_prefix(root).unwrap_or(Path::new("")).join(file);
    let name = paths::clean(below.as_os_str().as_bytes().to_vec());
    match (within(root, &open::git_dir(root), true), name) {
        (Ok(Some(within)), Ok(name)) if !within.filter.has(&name) => {
            let dir = [&name[..], b"/"].concat();
            match within.filter.enters(&dir) && within.filter.is_entered(&dir) {
                true => error,
                false => outside(root, &name, &within.scope),
            }
        }
        _ => error,
    }
}

/// For a path that the repository at `root` does not have, since nobody asked for it.
pub(crate) fn outside(root: &Path, path: &[u8], scope: &Scope) -> Error {
    let message = format!(
        "`{}` is not among the paths that {} was synced with ({}); sync it with that path, too",
        crate::reference::shown(path),
        root.display(),
        scope.shown()
    );
    Error::new(Kind::PathNotFound, message)
        .with(Key::Path, Name::of(root))
        .with(Key::File, Name::new(path))
}

/// `error`, or, where it comes of a file that a partial repository lacks, that instead.
pub(crate) fn explained(odb: &Odb<'_>, file: Oid, error: Error) -> Error {
    if error.kind != Kind::Corrupt || odb.exists(file) {
        return error;
    }
    let message = format!(
        "the file of the id {file} was not fetched: nobody has synced its commit with its path; \
         sync that commit, with `paths` that it is in"
    );
    Error::new(Kind::PathNotFound, message)
}
