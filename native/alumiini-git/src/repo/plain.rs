//! Whether what lies in a `.git` is what belongs there, asked before it is opened by us or by libgit2.
//!
//! Somebody else may write where we sync: a shared volume. A pipe in the place of a file would hold whoever opens it for ever, a file of
//! gigabytes without content would be read into memory, and a link would lead to what is not the repository's. So nothing is opened
//! that was not looked at, and of a repository of ours each part is a plain file or a directory.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat};

use crate::answer::Name;
use crate::error::{Error, Kind, Result};
use crate::repo::marker;

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// NONBLOCK: a pipe must not wait for its writer.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const MIB: u64 = 1 << 20;
/// An index of a million files, which is the most that is checked out.
pub(super) const MOST_INDEX: u64 = 512 * MIB;
/// A boundary of more than a million commits.
pub(super) const MOST_SHALLOW: u64 = 64 * MIB;
pub(super) const MOST_CONFIG: u64 = MIB;
const MOST_NAMES: u64 = MIB;
/// The files that libgit2 or we read whole, and how long each may be.
const FILES: [(&str, u64); 9] = [
    ("HEAD", MOST_NAMES),
    ("config", MOST_CONFIG),
    ("index", MOST_INDEX),
    ("packed-refs", 256 * MIB),
    ("shallow", MOST_SHALLOW),
    ("commondir", MOST_NAMES),
    ("info/attributes", MIB),
    ("objects/info/alternates", MOST_NAMES),
    (marker::NAME, MOST_NAMES),
];
const DIRECTORIES: [&str; 6] = ["objects", "objects/pack", "objects/info", "refs", "logs", "info"];
/// What leads to other directories, which nothing of ours does.
const ELSEWHERE: [&str; 3] = ["commondir", "objects/info/alternates", "objects/info/http-alternates"];
/// Names in one `.git`, and levels of directories. Ours have some twenty, one more for each pack and each ref.
const MOST_ENTRIES: usize = 1_000_000;
const MOST_LEVELS: usize = 64;

/// The content of a file that is a plain one of at most so many bytes. Follows no link and waits for nobody.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::from(open(path, FILE | OFlags::NOFOLLOW, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    if found.len() > most {
        let message = format!("it has {} bytes, more than the {most} that it may have", found.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut content = Vec::with_capacity(found.len() as usize);
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

pub(super) fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// `unsafe_path` where something in `git_dir`, which is anybody's, is neither file nor directory, `corrupt` where a file is longer than any
/// can be.
pub(super) fn check(git_dir: &Path) -> Result<()> {
    let directories = DIRECTORIES.iter().map(|name| (*name, u64::MAX));
    for (name, most) in FILES.into_iter().chain(directories) {
        let path = git_dir.join(name);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() > most => {
                let message = format!(
                    "{} has {} bytes; one that a Git program wrote has at most {most}",
                    path.display(),
                    found.len()
                );
                return Err(Error::new(Kind::Corrupt, message).with("path", Name::of(&path)));
            }
            // One in the other's place is told by who opens it.
            Ok(found) if !found.is_file() && !found.is_dir() => {
                return Err(refused(&path, "is neither file nor directory"));
            }
            _ => {}
        }
    }
    check_refs(git_dir, Links::Lead)
}

/// What a link is taken for.
#[derive(Clone, Copy, PartialEq)]
enum Links {
    /// What it leads to.
    Lead,
    No,
}

fn check_refs(git_dir: &Path, links: Links) -> Result<()> {
    for name in ["refs", "logs"] {
        let path = git_dir.join(name);
        if let Ok(dir) = open(&path, DIR, Mode::empty()) {
            walk(&path, &dir, links, 0, &mut 0)?;
        }
    }
    Ok(())
}

/// The same of an owner's repository that is to be moved: what is written there has to be there, not where a link leads.
pub(super) fn check_moved(git_dir: &Path) -> Result<()> {
    check(git_dir)?;
    let parts = FILES.iter().map(|(name, _)| *name).chain(DIRECTORIES).chain([""]);
    for path in parts.map(|name| git_dir.join(name)) {
        if is_link(&path) {
            return Err(refused(&path, "is a link"));
        }
    }
    check_refs(git_dir, Links::No)
}

/// The same of one that is ours, which holds plain files and directories only, and leads nowhere else.
pub(super) fn check_ours(git_dir: &Path) -> Result<()> {
    let Ok(root) = open(git_dir, DIR, Mode::empty()) else {
        return match std::fs::symlink_metadata(git_dir) {
            Ok(found) if !found.is_dir() => Err(refused(git_dir, "is no directory")),
            // Not there, or not for us: for who opens it to tell.
            _ => Ok(()),
        };
    };
    walk(git_dir, &root, Links::No, 0, &mut 0)?;
    check(git_dir)?;
    for name in ELSEWHERE {
        if statat(&root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(refused(&git_dir.join(name), "leads to another repository"));
        }
    }
    let config = git_dir.join("config");
    let text = read(&config, MOST_CONFIG).unwrap_or_default();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_start().to_ascii_lowercase();
        let worktree = line.strip_prefix(b"worktree").map(<[u8]>::trim_ascii_start);
        if line.starts_with(b"[include") || worktree.is_some_and(|rest| rest.starts_with(b"=")) {
            return Err(refused(&config, "leads to other files (`include` or `core.worktree`)"));
        }
    }
    Ok(())
}

fn walk(path: &Path, dir: &OwnedFd, links: Links, level: usize, entries: &mut usize) -> Result<()> {
    let failed = |errno: rustix::io::Errno| {
        let message = format!("cannot list {}: {}", path.display(), io::Error::from(errno));
        Error::new(Kind::Io, message).with("path", Name::of(path))
    };
    for entry in Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *entries += 1;
        if *entries > MOST_ENTRIES || level > MOST_LEVELS {
            return Err(refused(
                path,
                "holds more files or levels than a repository of ours ever does",
            ));
        }
        let below = || path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let kind = match entry.file_type() {
            FileType::Unknown => match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // It went meanwhile.
                Err(_) => continue,
            },
            kind => kind,
        };
        match kind {
            FileType::RegularFile => {}
            FileType::Directory => match openat(dir, name, DIR, Mode::empty()) {
                Ok(inner) => walk(&below(), &inner, links, level + 1, entries)?,
                // It went meanwhile, or is not for us to see.
                Err(_) => continue,
            },
            FileType::Symlink if links == Links::No => return Err(refused(&below(), "is a link")),
            FileType::Symlink => match std::fs::metadata(below()) {
                Ok(found) if !found.is_file() && !found.is_dir() => {
                    return Err(refused(&below(), "leads to what is neither file nor directory"));
                }
                _ => {}
            },
            _ => return Err(refused(&below(), "is neither file nor directory")),
        }
    }
    Ok(())
}

fn refused(path: &Path, what: &str) -> Error {
    let message = format!(
        "{} {what}, which nothing in a .git here may be; nothing was touched: remove it, or sync into another directory",
        path.display()
    );
    Error::new(Kind::UnsafePath, message).with("path", Name::of(path))
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
