//! The marker of an unfinished move: `.git/alumiini-checkout`.
//!
//! It is there from before the first write to refs and working tree until after the last, and says
//! where the move leads and where it began. A kill at any moment therefore leaves either no marker
//! and one whole commit, or a marker by which anyone can finish the move, or take it back, without
//! the network.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use git2::Oid;

use crate::error::{Error, Kind, Result};
use crate::reference::Branch;
use crate::repo::{MARKER, git_dir_check, locked, raw_object};
use crate::selection::scope::Scope;

const BARE: &[u8] = b"bare";
const MAX_BYTES: u64 = 1 << 20;

/// Where HEAD, its branch and the working tree are, or are to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) commit: Oid,
    /// The branch HEAD is on; none: HEAD is detached at the commit.
    pub(crate) branch: Option<Branch>,
    /// Whether no file is checked out: reads answer from the commit itself. Only ever of a managed
    /// repository.
    pub(crate) bare: bool,
    /// Which files of the commit are there.
    pub(crate) scope: Scope,
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
    git_dir.join(MARKER)
}

pub(crate) fn is_set(git_dir: &Path) -> bool {
    fs::symlink_metadata(file(git_dir)).is_ok()
}

/// Nine lines: the commit and the branch to go to, the commit and the branch to go back to, what
/// the branch was at; for each end `bare` where it has no working tree; and for each its scope, in
/// hex. What is not there, or is all, is an empty line.
///
/// Workers of earlier versions know the first five or seven, and wrote no more.
pub(crate) fn set(git_dir: &Path, going: &Move) -> Result<()> {
    let commit = |oid: Option<Oid>| {
        oid.map(|oid| oid.to_string().into_bytes())
            .unwrap_or_default()
    };
    let branch = |target: Option<&Target>| match target.and_then(|target| target.branch.as_ref()) {
        Some(branch) => branch.as_bytes().to_vec(),
        None => Vec::new(),
    };
    let bare = |target: Option<&Target>| match target {
        Some(target) if target.bare => BARE.to_vec(),
        _ => Vec::new(),
    };
    let scope = |target: Option<&Target>| match target {
        Some(target) => hex(&target.scope.encode()),
        None => Vec::new(),
    };
    let from = going.from.as_ref();
    let lines = [
        commit(Some(going.to.commit)),
        branch(Some(&going.to)),
        commit(from.map(|from| from.commit)),
        branch(from),
        commit(going.branch_was),
        bare(Some(&going.to)),
        bare(from),
        scope(Some(&going.to)),
        scope(from),
    ];
    write_atomically(&file(git_dir), &[&lines.join(&b'\n')[..], b"\n"].concat())
}

/// The unfinished move, if there is one.
pub(crate) fn get(git_dir: &Path) -> Result<Option<Move>> {
    let file = file(git_dir);
    let text = match git_dir_check::read(&file, MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &file, &error)),
    };
    let damaged = || Error::new(Kind::Corrupt, format!("{} is damaged", file.display()));
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut next = || lines.next().filter(|line| !line.is_empty());
    let oid = |line: &[u8]| raw_object::id(line).ok_or_else(damaged);
    let mut target = || {
        let commit = next().map(oid);
        let branch = next().map(Branch::new);
        let target = |commit| Target {
            commit,
            branch,
            bare: false,
            scope: Scope::default(),
        };
        commit.map(|commit| commit.map(target))
    };
    let (to, from) = (target(), target());
    let (mut to, mut from) = (to.ok_or_else(damaged)??, from.transpose()?);
    let branch_was = next().map(oid).transpose()?;
    let mut is_bare = || match next() {
        None => Ok(false),
        Some(BARE) => Ok(true),
        Some(_) => Err(damaged()),
    };
    to.bare = is_bare()?;
    let from_is_bare = is_bare()?;
    let mut scope = || match next() {
        None => Ok(Scope::default()),
        Some(hex) => unhex(hex)
            .and_then(|bytes| Scope::decode(&bytes))
            .ok_or_else(damaged),
    };
    to.scope = scope()?;
    let from_scope = scope()?;
    if let Some(from) = &mut from {
        (from.bare, from.scope) = (from_is_bare, from_scope);
    }
    Ok(Some(Move {
        to,
        from,
        branch_was,
    }))
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

pub(crate) fn clear(git_dir: &Path) -> Result<()> {
    let file = file(git_dir);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &file, &error))
        }
        _ => Ok(()),
    }
}

/// Writes beside and renames, so that the file is there whole or not at all. The name beside is the
/// one by which Git locks the file: `locked` where another program has it. What is ours, nobody
/// else locks.
pub(crate) fn write_atomically(file: &Path, content: &[u8]) -> Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let beside = PathBuf::from(name);
    let ours = file.file_name().is_some_and(|name| name == MARKER);
    let mut options = fs::OpenOptions::new();
    if ours {
        // Left by a kill, or put there by somebody: what it may lead to is not ours to write.
        let _ = fs::remove_file(&beside);
    }
    options.write(true).create_new(true);
    let mut opened = match options.open(&beside) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(locked(&beside)),
        opened => opened.map_err(|error| Error::io("write", file, &error))?,
    };
    opened
        .write_all(content)
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|error| {
            let _ = fs::remove_file(&beside);
            Error::io("write", file, &error)
        })
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
            bare: false,
            scope: Scope::default(),
        };
        let bare = |target| Target {
            bare: true,
            ..target
        };
        let part = |target| Target {
            scope: Scope::new(vec![b"a\nb".to_vec()], vec![b"*.png".to_vec()]).unwrap(),
            ..target
        };
        let moves = [
            (part(target("a", None)), Some(target("b", None)), None),
            (target("a", None), Some(part(bare(target("b", None)))), None),
            (
                target("a", Some(b"main")),
                Some(target("b", None)),
                Some(oid("c")),
            ),
            (
                target("a", None),
                Some(target("b", Some(b"x/caf\xe9"))),
                None,
            ),
            (target("a", Some(b"main")), None, None),
            (bare(target("a", Some(b"main"))), None, None),
            (bare(target("a", None)), Some(target("b", None)), None),
            (
                target("a", None),
                Some(bare(target("b", None))),
                Some(oid("c")),
            ),
        ];
        for (to, from, branch_was) in moves {
            let going = Move {
                to,
                from,
                branch_was,
            };
            set(dir.path(), &going).unwrap();
            assert_eq!(get(dir.path()).unwrap(), Some(going));
        }
        clear(dir.path()).unwrap();
        assert_eq!(get(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_marker_of_an_earlier_version_is_of_working_trees() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        fs::write(file(dir.path()), format!("{a}\nmain\n{b}\n\n\n")).unwrap();
        let going = get(dir.path()).unwrap().unwrap();
        assert_eq!(
            (going.to.bare, going.from.map(|from| from.bare)),
            (false, Some(false))
        );
        fs::write(file(dir.path()), format!("{a}\nmain\n{b}\n\n\nbar\n\n")).unwrap();
        assert_eq!(get(dir.path()).unwrap_err().kind, Kind::Corrupt);
    }
}
