//! Which files a managed repository is to have: `.git/alumiini-paths`, and the same in Git's words.
//!
//! Not there where it has all. Git reads `info/sparse-checkout`; whoever reads a commit here asks
//! the file of ours, since a repository without a working tree has paths, too.

use std::fs;
use std::io;
use std::path::Path;

use git2::{ErrorCode, Repository};

use crate::error::{Error, Kind, Result};
use crate::repo::{SCOPE, git_dir_check, git_failure, marker};
use crate::selection::scope::Scope;

const SPARSE: &str = "core.sparseCheckout";
const CONE: &str = "core.sparseCheckoutCone";
const PATTERNS: &str = "info/sparse-checkout";
/// More than the longest that is written.
const MAX_BYTES: u64 = 1 << 20;

/// `corrupt` where it cannot be read.
pub(crate) fn read(git_dir: &Path) -> Result<Scope> {
    let file = git_dir.join(SCOPE);
    match git_dir_check::read(&file, MAX_BYTES) {
        Ok(bytes) => Scope::decode(&bytes)
            .ok_or_else(|| Error::new(Kind::Corrupt, format!("{} is damaged", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Scope::default()),
        Err(error) => Err(Error::io("read", &file, &error)),
    }
}

/// Notes it. May be interrupted anywhere, and is to be called again then.
pub(crate) fn write(repo: &Repository, scope: &Scope) -> Result<()> {
    let file = repo.path().join(SCOPE);
    let patterns = repo.path().join(PATTERNS);
    let config = || {
        repo.config()
            .map_err(git_failure("open the repository's config"))
    };
    let fail = git_failure("write the repository's config");
    if scope.is_all() {
        if fs::symlink_metadata(&file).is_err() {
            return Ok(());
        }
        for key in [SPARSE, CONE] {
            match config()?.remove(key) {
                Err(error) if error.code() != ErrorCode::NotFound => return Err(fail(error)),
                _ => {}
            }
        }
        for gone in [patterns, file] {
            match fs::remove_file(&gone) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &gone, &error));
                }
                _ => {}
            }
        }
        return Ok(());
    }
    for (file, bytes, most) in [
        (&patterns, scope.patterns(), git_dir_check::MAX_PATTERNS),
        (&file, scope.encode(), MAX_BYTES),
    ] {
        if git_dir_check::read(file, most).ok().as_ref() != Some(&bytes) {
            marker::write_atomically(file, &bytes)?;
        }
    }
    for (key, value) in [(SPARSE, true), (CONE, false)] {
        let mut config = config()?;
        if config.get_bool(key).ok() != Some(value) {
            config.set_bool(key, value).map_err(&fail)?;
        }
    }
    Ok(())
}
