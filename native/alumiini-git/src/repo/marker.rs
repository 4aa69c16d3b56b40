//! The marker of an unfinished move: `.git/alumiini-checkout`.
//!
//! It is there from before the first write to refs and working tree until after the last, and says where the move leads and where it
//! began. A kill at any moment therefore leaves either no marker and one whole commit, or a marker by which anyone can finish the
//! move, or take it back, without the network.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::answer::Name;
use crate::branch::Branch;
use crate::error::{Error, Kind, Result};
use crate::repo::{locked, raw_object};

pub(super) const NAME: &str = "alumiini-checkout";

/// Where HEAD, its branch and the working tree are, or are to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) commit: Oid,
    /// The branch HEAD is on; none: HEAD is detached at the commit.
    pub(crate) branch: Option<Branch>,
}

/// A move of refs and working tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Move {
    pub(crate) to: Target,
    /// Where the repository was before; none where it had no commit.
    pub(crate) from: Option<Target>,
    /// What `to`'s branch was at before; none where it was not there, or nothing is on a branch.
    pub(crate) branch_was: Option<Oid>,
}

fn file(git_dir: &Path) -> PathBuf {
    git_dir.join(NAME)
}

pub(crate) fn is_set(git_dir: &Path) -> bool {
    fs::symlink_metadata(file(git_dir)).is_ok()
}

/// Five lines: the commit and the branch to go to, the commit and the branch to go back to, what the branch was at. What is not there
/// is an empty line.
pub(crate) fn set(git_dir: &Path, going: &Move) -> Result<()> {
    let commit = |oid: Option<Oid>| oid.map(|oid| oid.to_string().into_bytes()).unwrap_or_default();
    let branch = |target: Option<&Target>| match target.and_then(|target| target.branch.as_ref()) {
        Some(branch) => branch.as_bytes().to_vec(),
        None => Vec::new(),
    };
    let from = going.from.as_ref();
    let lines = [
        commit(Some(going.to.commit)),
        branch(Some(&going.to)),
        commit(from.map(|from| from.commit)),
        branch(from),
        commit(going.branch_was),
    ];
    write_atomically(&file(git_dir), &[&lines.join(&b'\n')[..], b"\n"].concat())
}

/// The unfinished move, if there is one.
pub(crate) fn get(git_dir: &Path) -> Result<Option<Move>> {
    let file = file(git_dir);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &file, &error)),
    };
    let damaged = || Error::new(Kind::Corrupt, format!("{} is damaged", file.display()));
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut next = || lines.next().filter(|line| !line.is_empty());
    let oid = |line: &[u8]| raw_object::id(line).ok_or_else(damaged);
    let mut target = || {
        let commit = next().map(oid);
        let branch = next().map(Branch::new);
        commit.map(|commit| commit.map(|commit| Target { commit, branch }))
    };
    let (to, from) = (target(), target());
    Ok(Some(Move {
        to: to.ok_or_else(damaged)??,
        from: from.transpose()?,
        branch_was: next().map(oid).transpose()?,
    }))
}

pub(crate) fn clear(git_dir: &Path) -> Result<()> {
    let file = file(git_dir);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &file, &error)),
        _ => Ok(()),
    }
}

/// Writes beside and renames, so that the file is there whole or not at all. The name beside is the one by which Git locks the file:
/// `locked` where another program has it. What is ours, nobody else locks.
pub(crate) fn write_atomically(file: &Path, content: &[u8]) -> Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let beside = PathBuf::from(name);
    let ours = file.file_name().is_some_and(|name| name == NAME);
    let mut options = fs::OpenOptions::new();
    if ours {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    let mut opened = match options.open(&beside) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(locked(&beside)),
        opened => opened.map_err(|error| failed("write", file, &error))?,
    };
    opened
        .write_all(content)
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|error| {
            let _ = fs::remove_file(&beside);
            failed("write", file, &error)
        })
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot {what} {}: {error}", path.display())).with("path", Name::of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let oid = |digit: &str| Oid::from_str(&digit.repeat(40)).unwrap();
        let target = |digit, branch: Option<&[u8]>| Target {
            commit: oid(digit),
            branch: branch.map(Branch::new),
        };
        let moves = [
            (target("a", Some(b"main")), Some(target("b", None)), Some(oid("c"))),
            (target("a", None), Some(target("b", Some(b"x/caf\xe9"))), None),
            (target("a", Some(b"main")), None, None),
        ];
        for (to, from, branch_was) in moves {
            let going = Move { to, from, branch_was };
            set(dir.path(), &going).unwrap();
            assert_eq!(get(dir.path()).unwrap(), Some(going));
        }
        clear(dir.path()).unwrap();
        assert_eq!(get(dir.path()).unwrap(), None);
    }
}
