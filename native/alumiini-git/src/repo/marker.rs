//! The marker of an unfinished checkout: `.git/alumiini-checkout`.
//!
//! It is there from before the first write to refs and work tree until after the last, and says what to finish. A kill at any moment
//! therefore leaves either no marker and one whole commit, or a marker by which anyone can complete the move without the network.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::answer::Name;
use crate::error::{Error, Kind, Result};

pub(super) const NAME: &str = "alumiini-checkout";

/// Where a move of refs and work tree leads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) commit: Oid,
    /// The branch HEAD will be on, without `refs/heads/`; none: HEAD is detached at the commit.
    pub(crate) branch: Option<String>,
}

fn file(git_dir: &Path) -> PathBuf {
    git_dir.join(NAME)
}

pub(crate) fn is_set(git_dir: &Path) -> bool {
    fs::symlink_metadata(file(git_dir)).is_ok()
}

pub(crate) fn set(git_dir: &Path, target: &Target) -> Result<()> {
    let branch = target.branch.as_deref().unwrap_or_default();
    write_atomically(&file(git_dir), format!("{}\n{branch}\n", target.commit).as_bytes())
}

/// The unfinished move, if there is one.
pub(crate) fn get(git_dir: &Path) -> Result<Option<Target>> {
    let file = file(git_dir);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &file, &error)),
    };
    let mut lines = text.lines();
    let target = lines
        .next()
        .and_then(|oid| Oid::from_str(oid).ok())
        .map(|commit| Target {
            commit,
            branch: lines.next().filter(|branch| !branch.is_empty()).map(str::to_owned),
        });
    target
        .map(Some)
        .ok_or_else(|| Error::new(Kind::Corrupt, format!("{} is damaged", file.display())))
}

pub(crate) fn clear(git_dir: &Path) -> Result<()> {
    let file = file(git_dir);
    fs::remove_file(&file).map_err(|error| failed("remove", &file, &error))
}

/// Writes beside and renames, so that the file is there whole or not at all.
pub(crate) fn write_atomically(file: &Path, content: &[u8]) -> Result<()> {
    let mut name = file.as_os_str().to_owned();
    // Swept like any stale lock of Git's own.
    name.push(".lock");
    let beside = PathBuf::from(name);
    fs::File::create(&beside)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|error| failed("write", file, &error))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot {what} {}: {error}", path.display())).with("path", Name::of(path))
}
