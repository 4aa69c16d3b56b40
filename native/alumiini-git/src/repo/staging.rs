//! A new `.git`, made beside where it will be and given its name when it is whole: for a clone, and
//! to repair a damaged one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{Repository, RepositoryInitOptions};

use crate::error::{Error, Key, Name, Result};
use crate::repo::{BUILD_PREFIX, DISCARDED, OLD_GIT, git_failure, marker, open};
use crate::task::job::Job;

/// Committed bytes are what is checked out, whatever a repository's own `.gitattributes` ask for;
/// `git status` has to know.
const ATTRIBUTES: &str = "* -text -eol -ident -filter -working-tree-encoding\n";

/// Makes an empty managed repository beside `path`'s `.git`.
pub(crate) fn begin(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let git_dir = path.join(format!("{BUILD_PREFIX}{}-{count}", std::process::id()));
    let fail = |error: git2::Error| {
        git_failure("make a repository")(error).with(Key::Path, Name::of(path))
    };
    let mut options = RepositoryInitOptions::new();
    options
        .bare(true)
        .external_template(false)
        .initial_head("main");
    let repo = Repository::init_opts(&git_dir, &options).map_err(fail)?;
    let mut config = repo.config().map_err(fail)?;
    config.set_bool("core.bare", false).map_err(fail)?;
    config.set_bool("core.autocrlf", false).map_err(fail)?;
    // Refs move with every sync; nobody reads their log, and it would only grow.
    config
        .set_bool("core.logallrefupdates", false)
        .map_err(fail)?;
    config.set_bool(open::MANAGED, true).map_err(fail)?;
    let info = git_dir.join("info");
    fs::create_dir_all(&info)
        .and_then(|()| fs::create_dir_all(git_dir.join("objects/pack")))
        .and_then(|()| fs::write(info.join("attributes"), ATTRIBUTES))
        .map_err(|error| Error::io("write in", &info, &error))?;
    Ok(git_dir)
}

/// Gives the new repository its name. What was there waits as [`OLD_GIT`] until the checkout is
/// done. A kill between the two renames is undone by [`crate::repo::cleanup::builds`].
pub(crate) fn take_place(path: &Path, git_dir: &Path, job: &Job) -> Result<()> {
    let (git, old) = (open::git_dir(path), path.join(OLD_GIT));
    job.reach("rename");
    // One that waits already is what the last whole commit was in; what is there now never came to
    // its end.
    let aside = if waiting(path).is_some() {
        path.join(DISCARDED)
    } else {
        old
    };
    match fs::rename(&git, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("move aside", &git, &error)),
    }
    fs::rename(git_dir, &git).map_err(|error| {
        let _ = fs::rename(&aside, &git);
        Error::io("rename the new repository to", &git, &error)
    })?;
    job.reach("renamed");
    // What stays is swept by the next sync.
    let _ = fs::remove_dir_all(path.join(DISCARDED));
    Ok(())
}

/// Takes away what [`take_place`] left waiting: it is not needed any more.
pub(crate) fn discard_old(path: &Path) {
    if let Some(old) = waiting(path) {
        let _ = fs::remove_dir_all(old);
    }
}

/// What [`take_place`] left waiting, if there is anything.
pub(crate) fn waiting(path: &Path) -> Option<PathBuf> {
    let old = path.join(OLD_GIT);
    fs::symlink_metadata(&old).is_ok().then_some(old)
}

/// Gives what [`take_place`] left waiting its name back.
pub(crate) fn give_back(path: &Path) -> Result<()> {
    let (git, old, discarded) = (
        open::git_dir(path),
        path.join(OLD_GIT),
        path.join(DISCARDED),
    );
    let _ = fs::remove_dir_all(&discarded);
    fs::rename(&git, &discarded).map_err(|error| Error::io("move aside", &git, &error))?;
    fs::rename(&old, &git)
        .map_err(|error| Error::io("rename the old repository to", &git, &error))?;
    let _ = fs::remove_dir_all(&discarded);
    Ok(())
}

/// Takes away a clone that has its name already and whose checkout did not end. Nothing was there
/// before it.
pub(crate) fn take_away(path: &Path) -> Result<()> {
    if !marker::is_set(&open::git_dir(path)) {
        return Ok(());
    }
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| Error::io("empty", path, &error))
}
