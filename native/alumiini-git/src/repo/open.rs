//! What is at a path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::{Config, Oid, Repository, RepositoryOpenFlags};
use rustix::io::Errno;

use crate::error::Name;
use crate::error::{Error, Key, Kind, Result};
use crate::repo::held_dir::{HeldDir, replaced};
use crate::repo::real_path::is_kept;
use crate::repo::{BUILD_PREFIX, MARKER, git_dir_check, git_failure};

/// The key in a repository's config that says this library made it and may treat its working tree
/// as its own.
pub(crate) const MANAGED: &str = "alumiini.managed";

const BARE: &str = "core.bare";

/// What a path holds.
pub(crate) enum Found {
    /// Nothing, or only what an interrupted clone left.
    Empty,
    /// A repository that this library made.
    Managed,
    /// Somebody's own repository.
    Unmanaged,
    /// Files, but no repository; or it is a file itself.
    Occupied,
}

/// Looks at `path`, which is there.
pub(crate) fn look(path: &Path) -> Result<Found> {
    if !path.is_dir() {
        return Ok(Found::Occupied);
    }
    let git = path.join(".git");
    match fs::symlink_metadata(&git) {
        Ok(_) => {
            match check(&git) {
                // For who opens it: what is ours is built anew then.
                Err(damaged) if damaged.kind == Kind::Corrupt => {}
                checked => checked?,
            }
            Ok(if is_managed(&git) {
                Found::Managed
            } else {
                Found::Unmanaged
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let entries = fs::read_dir(path).map_err(|error| Error::io("read", path, &error))?;
            for entry in entries {
                let entry = entry.map_err(|error| Error::io("read", path, &error))?;
                if !entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(BUILD_PREFIX.as_bytes())
                {
                    return Ok(Found::Occupied);
                }
            }
            Ok(Found::Empty)
        }
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

/// Read from the file itself, so that a damaged repository is still known as ours.
pub(crate) fn is_managed(git_dir: &Path) -> bool {
    config(git_dir)
        .and_then(|config| config.get_bool(MANAGED))
        .unwrap_or(false)
}

/// Whether it is a managed repository without a working tree. Git's own key says so to Git:
/// `git status` then tells that there is none, instead of calling every file deleted.
pub(crate) fn is_bare(git_dir: &Path) -> bool {
    config(git_dir)
        .and_then(|config| Ok(config.get_bool(MANAGED)? && config.get_bool(BARE)?))
        .unwrap_or(false)
}

/// The config by itself, where it is a plain file: libgit2 would wait for a pipe, and read what it
/// includes.
pub(super) fn config(git_dir: &Path) -> std::result::Result<Config, git2::Error> {
    let file = git_dir.join("config");
    let found = fs::symlink_metadata(&file).ok();
    match found.filter(|found| found.is_file() && found.len() <= git_dir_check::MAX_CONFIG) {
        Some(_) => Config::open(&file),
        None => Err(git2::Error::from_str("the config is no plain file")),
    }
}

/// Writes down which of the two it is.
pub(crate) fn set_bare(git_dir: &Path, bare: bool) -> Result<()> {
    if is_bare(git_dir) == bare {
        return Ok(());
    }
    config(git_dir)
        .and_then(|mut config| config.set_bool(BARE, bare))
        .map_err(git_failure("write the repository's config"))
}

/// Whether all that a sync opens and writes in `git_dir`, whoever made it, is what it seems to be.
fn check(git_dir: &Path) -> Result<()> {
    match is_managed(git_dir) {
        true => git_dir_check::check_ours(git_dir),
        false => git_dir_check::check_moved(git_dir),
    }
}

/// Opens the directory that `path` is, which has no links in it, for a repository in it to be
/// opened.
pub(crate) fn dir(path: &Path) -> Result<HeldDir> {
    HeldDir::open(path).map_err(|errno| match errno {
        Errno::NOENT => no_path(path),
        Errno::LOOP => replaced(path),
        _ => Error::io("read", path, &errno.into()),
    })
}

/// Opens a managed repository's `.git`. As a bare one, since the working tree is none of libgit2's
/// business there; and not by `git_repository_open_bare`, which does not read `.git/shallow`, so
/// that shallow commits would have parents.
pub(crate) fn managed(git_dir: &Path) -> Result<Repository> {
    check(git_dir)?;
    just_made(git_dir)
}

/// The same of one that nobody else has seen yet.
pub(crate) fn just_made(git_dir: &Path) -> Result<Repository> {
    let flags =
        RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::NO_DOTGIT;
    let repo = Repository::open_ext(git_dir, flags, &[] as &[&str]);
    let repo = repo.map_err(|error| match shallow(git_dir) {
        // libgit2's error for that is of a class that git2 does not know.
        Err(damaged) => damaged,
        Ok(_) => git_failure("open the repository")(error),
    })?;
    kept(git_dir, repo)
}

/// `repo`, if libgit2 uses it by the path that it was given, which leads to the directory that is
/// locked.
fn kept(path: &Path, repo: Repository) -> Result<Repository> {
    if is_kept(path, repo.path()) {
        return Ok(repo);
    }
    let message = format!("{} leads elsewhere, and was not opened", path.display());
    Err(Error::new(Kind::UnsafePath, message).with(Key::Path, Name::of(path)))
}

/// Opens the repository whose working tree is `path`, whoever made it.
pub(crate) fn any(path: &Path) -> Result<Repository> {
    let git = git_dir(path);
    if is_managed(&git) {
        git_dir_check::check_ours(&git)?;
    } else if fs::metadata(&git).is_ok_and(|found| found.is_dir()) {
        git_dir_check::check(&git)?;
    } else if fs::metadata(&git).is_ok_and(|found| !found.is_file()) {
        return Err(not_a_repository(path));
    }
    let opened = Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&str]);
    let repo = opened.map_err(|error| not_opened(path, &git, error))?;
    // That of a linked working tree is elsewhere.
    match git.is_file() {
        true => Ok(repo),
        false => kept(path, repo),
    }
}

fn not_opened(path: &Path, git: &Path, error: git2::Error) -> Error {
    if error.code() == git2::ErrorCode::NotFound {
        let message = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return no_path(path),
            _ if fs::symlink_metadata(git).is_ok() => format!(
                "{} is there and is no Git repository (it lacks HEAD, or more), and nothing was \
                 touched; remove it, or use another directory",
                git.display()
            ),
            _ => return not_a_repository(path),
        };
        return Error::new(Kind::NotARepository, message).with(Key::Path, Name::of(path));
    }
    // SHA-256, reftables, and what is to come.
    let unknown = [
        "unsupported extension",
        "unknown object format",
        "unsupported repository version",
    ];
    if unknown
        .iter()
        .any(|unknown| error.message().contains(unknown))
    {
        let message = format!(
            "{} is a repository of a kind that libgit2 cannot read ({}); sync into a directory of \
             its own",
            path.display(),
            error.message()
        );
        return Error::new(Kind::Unsupported, message).with(Key::Path, Name::of(path));
    }
    git_failure("open the repository")(error).with(Key::Path, Name::of(path))
}

fn no_path(path: &Path) -> Error {
    let message = format!("{} does not exist; sync it first", path.display());
    Error::new(Kind::PathNotFound, message).with(Key::Path, Name::of(path))
}

pub(crate) fn not_a_repository(path: &Path) -> Error {
    let message = format!(
        "{} is not a Git repository; sync one there first",
        path.display()
    );
    Error::new(Kind::NotARepository, message).with(Key::Path, Name::of(path))
}

/// `corrupt` where a directory has the place of a file that Git reads. libgit2 takes some of them
/// for files that are not there.
pub(crate) fn refuse_directories(git_dir: &Path) -> Result<()> {
    for name in ["HEAD", "packed-refs", "shallow", MARKER] {
        let file = git_dir.join(name);
        if fs::symlink_metadata(&file).is_ok_and(|found| found.is_dir()) {
            let message = format!("{} is a directory where a file belongs", file.display());
            return Err(Error::new(Kind::Corrupt, message).with(Key::Path, Name::of(&file)));
        }
    }
    Ok(())
}

pub(crate) fn git_dir(path: &Path) -> PathBuf {
    path.join(".git")
}

/// The commits whose parents were left out, from `.git/shallow`.
pub(crate) fn shallow(git_dir: &Path) -> Result<Vec<Oid>> {
    let file = git_dir.join("shallow");
    match git_dir_check::read(&file, git_dir_check::MAX_SHALLOW) {
        Ok(text) => String::from_utf8_lossy(&text)
            .lines()
            .map(Oid::from_str)
            .collect::<Result<_, _>>()
            .map_err(|_| Error::new(Kind::Corrupt, format!("{} is damaged", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", &file, &error)),
    }
}
