//! Whether what lies in a `.git` is what belongs there, asked before it is opened by us or by
//! libgit2.
//!
//! Somebody else may write where we sync: a shared volume. A pipe in the place of a file would hold
//! whoever opens it for ever, a file of gigabytes without content would be read into memory, and a
//! link would lead to what is not the repository's. So nothing is opened that was not looked at,
//! and of a repository of ours each part is a plain file or a directory.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, open, openat, statat};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::open_flags::{DIR_ITSELF, FILE_ITSELF};
use crate::repo::{MARKER, SCOPE};

const MIB: u64 = 1 << 20;
/// An index of a million files, which is the most that is checked out.
pub(super) const MAX_INDEX: u64 = 512 * MIB;
/// A boundary of more than a million commits.
pub(super) const MAX_SHALLOW: u64 = 64 * MIB;
pub(super) const MAX_CONFIG: u64 = MIB;
const MAX_NAMES: u64 = MIB;
pub(super) const MAX_PATTERNS: u64 = 16 * MIB;
/// What a ref holds is an id or the name of another one.
const MAX_REF: u64 = 64 << 10;
/// The files that libgit2 or we read whole, and how long each may be.
const FILES: [(&str, u64); 11] = [
    ("HEAD", MAX_NAMES),
    ("config", MAX_CONFIG),
    ("index", MAX_INDEX),
    ("packed-refs", 256 * MIB),
    ("shallow", MAX_SHALLOW),
    ("commondir", MAX_NAMES),
    ("info/attributes", MIB),
    ("objects/info/alternates", MAX_NAMES),
    (MARKER, MAX_NAMES),
    (SCOPE, MAX_NAMES),
    ("info/sparse-checkout", MAX_PATTERNS),
];
const DIRECTORIES: [&str; 6] = [
    "objects",
    "objects/pack",
    "objects/info",
    "refs",
    "logs",
    "info",
];
/// What leads to other directories, which nothing of ours does.
const ELSEWHERE: [&str; 3] = [
    "commondir",
    "objects/info/alternates",
    "objects/info/http-alternates",
];
/// Names in one `.git`, and levels of directories. Ours have some twenty, one more for each pack
/// and each ref.
const MAX_ENTRIES: usize = 1_000_000;
const MAX_LEVELS: usize = 64;

/// The content of a file that is a plain one of at most so many bytes. Follows no link and waits
/// for nobody.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::from(open(path, FILE_ITSELF, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    if found.len() > most {
        let message = format!(
            "it has {} bytes, more than the {most} that it may have",
            found.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut content = Vec::with_capacity(found.len() as usize);
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

pub(super) fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// `unsafe_path` where something in `git_dir`, which is anybody's, is neither file nor directory,
/// `corrupt` where a file is longer than any can be.
pub(super) fn check(git_dir: &Path) -> Result<()> {
    let directories = DIRECTORIES.iter().map(|name| (*name, u64::MAX));
    for (name, most) in FILES.into_iter().chain(directories) {
        let path = git_dir.join(name);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() > most => {
                return Err(too_long(&path, found.len(), most));
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
    for (name, longest) in [("refs", MAX_REF), ("logs", u64::MAX)] {
        let path = git_dir.join(name);
        if let Ok(dir) = open(&path, DIR_ITSELF, Mode::empty()) {
            let mut walk = Walk {
                links,
                longest,
                entries: 0,
            };
            walk.over(&path, &dir, 0)?;
        }
    }
    Ok(())
}

/// The same of an owner's repository that is to be moved: what is written there has to be there,
/// not where a link leads.
pub(super) fn check_moved(git_dir: &Path) -> Result<()> {
    check(git_dir)?;
    let parts = FILES
        .iter()
        .map(|(name, _)| *name)
        .chain(DIRECTORIES)
        .chain([""]);
    for path in parts.map(|name| git_dir.join(name)) {
        if is_link(&path) {
            return Err(refused(&path, "is a link"));
        }
    }
    check_refs(git_dir, Links::No)
}

/// The same of one that is ours, which holds plain files and directories only, and leads nowhere
/// else.
pub(super) fn check_ours(git_dir: &Path) -> Result<()> {
    let Ok(root) = open(git_dir, DIR_ITSELF, Mode::empty()) else {
        return match std::fs::symlink_metadata(git_dir) {
            Ok(found) if !found.is_dir() => Err(refused(git_dir, "is no directory")),
            // Not there, or not for us: for who opens it to tell.
            _ => Ok(()),
        };
    };
    let mut walk = Walk {
        links: Links::No,
        longest: u64::MAX,
        entries: 0,
    };
    walk.over(git_dir, &root, 0)?;
    check(git_dir)?;
    for name in ELSEWHERE {
        if statat(&root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(refused(&git_dir.join(name), "leads to another repository"));
        }
    }
    let config = git_dir.join("config");
    let text = read(&config, MAX_CONFIG).unwrap_or_default();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_start().to_ascii_lowercase();
        let worktree = line.strip_prefix(b"worktree").map(<[u8]>::trim_ascii_start);
        if line.starts_with(b"[include") || worktree.is_some_and(|rest| rest.starts_with(b"=")) {
            return Err(refused(
                &config,
                "leads to other files (`include` or `core.worktree`)",
            ));
        }
    }
    Ok(())
}

/// A walk over directories, in which nothing but plain files and directories may be.
struct Walk {
    links: Links,
    /// Bytes that a file may have.
    longest: u64,
    entries: usize,
}

impl Walk {
    fn over(&mut self, path: &Path, dir: &OwnedFd, level: usize) -> Result<()> {
        let failed = |errno: rustix::io::Errno| {
            let message = format!("cannot list {}: {}", path.display(), io::Error::from(errno));
            Error::new(Kind::Io, message).with(Key::Path, Name::of(path))
        };
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES || level > MAX_LEVELS {
                let what = "holds more files or levels than a repository ever does";
                return Err(refused(path, what));
            }
            let below = || path.join(OsStr::from_bytes(name.to_bytes()));
            let mut kind = entry.file_type();
            if kind == FileType::Unknown || kind == FileType::RegularFile && self.longest < u64::MAX
            {
                // Else it went meanwhile.
                let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                kind = FileType::from_raw_mode(stat.st_mode);
                if kind == FileType::RegularFile && stat.st_size as u64 > self.longest {
                    return Err(too_long(&below(), stat.st_size as u64, self.longest));
                }
            }
            match kind {
                FileType::RegularFile => {}
                FileType::Directory => match openat(dir, name, DIR_ITSELF, Mode::empty()) {
                    Ok(inner) => self.over(&below(), &inner, level + 1)?,
                    // It went meanwhile, or is not for us to see.
                    Err(_) => continue,
                },
                FileType::Symlink if self.links == Links::No => {
                    return Err(refused(&below(), "is a link"));
                }
                FileType::Symlink => match std::fs::metadata(below()) {
                    Ok(found) if !found.is_file() && !found.is_dir() => {
                        return Err(refused(
                            &below(),
                            "leads to what is neither file nor directory",
                        ));
                    }
                    _ => {}
                },
                _ => return Err(refused(&below(), "is neither file nor directory")),
            }
        }
        Ok(())
    }
}

fn too_long(path: &Path, bytes: u64, most: u64) -> Error {
    let message = format!(
        "{} has {bytes} bytes; one that a Git program wrote has at most {most}",
        path.display()
    );
    Error::new(Kind::Corrupt, message).with(Key::Path, Name::of(path))
}

fn refused(path: &Path, what: &str) -> Error {
    let message = format!(
        "{} {what}, which nothing in a .git here may be; nothing was touched: remove it, or sync \
         into another directory",
        path.display()
    );
    Error::new(Kind::UnsafePath, message).with(Key::Path, Name::of(path))
}

#[cfg(test)]
#[path = "git_dir_check_tests.rs"]
mod tests;
