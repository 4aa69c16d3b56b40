//! Opens the directory that a path without links names, and makes it.
//!
//! [`place::find`](super::place::find) answers a path without links. Until it is opened somebody
//! may have put a link on the way; so nothing is opened there that is reached by one.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

/// To walk through, which needs no right to list it.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens `path`, which is absolute and has no `..`. `LOOP` where there is a link on the way, or at
/// its end.
pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, ResolveFlags, openat2};
        // With NOFOLLOW the kernel would tell of a link at the end in another way.
        let without = flags.difference(OFlags::NOFOLLOW);
        match openat2(CWD, path, without, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            // A kernel before 5.6, or a sandbox that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => by_steps(path, flags),
            opened => opened,
        }
    }
    #[cfg(not(target_os = "linux"))]
    by_steps(path, flags)
}

fn by_steps(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut names: Vec<&OsStr> = names(path).collect();
    let last = names.pop();
    let mut dir = rustix::fs::open("/", STEP, Mode::empty())?;
    for name in names {
        dir = step(dir.as_fd(), name, STEP)?;
    }
    step(dir.as_fd(), last.unwrap_or(OsStr::new(".")), flags)
}

fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn step(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|errno| match errno {
        // How systems say that it is a link where they were asked for a directory.
        Errno::NOTDIR | Errno::MLINK if is_link(dir, name) => Errno::LOOP,
        errno => errno,
    })
}

fn is_link(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode as _) == FileType::Symlink)
}

/// A directory that was made, in the one above it.
#[derive(Debug)]
pub(crate) struct Made {
    above: OwnedFd,
    name: std::ffi::OsString,
    is: (u64, u64),
}

/// Makes `path` and what is missing above it, and adds what it made to `made`, innermost first.
pub(super) fn make(path: &Path, made: &mut Vec<Made>) -> Result<(), Errno> {
    let is_there = |path: &Path| match open(path, STEP) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    };
    let mut missing: Vec<&OsStr> = Vec::new();
    let mut dir = None;
    for above in path.ancestors() {
        match is_there(above) {
            Ok(Some(found)) => {
                dir = Some(found);
                break;
            }
            // A file, or a link to nowhere: for who opens it to tell.
            Err(Errno::NOTDIR | Errno::LOOP) if missing.is_empty() => return Ok(()),
            Err(errno) => return Err(errno),
            Ok(None) => missing.extend(above.file_name()),
        }
    }
    let mut dir = dir.ok_or(Errno::NOENT)?;
    while let Some(name) = missing.pop() {
        let is_new = match mkdirat(&dir, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let inner = step(dir.as_fd(), name, STEP)?;
        if is_new {
            let is = identity(&fstat(&inner)?);
            let name = name.to_owned();
            made.insert(
                0,
                Made {
                    above: dir,
                    name,
                    is,
                },
            );
        }
        dir = inner;
    }
    Ok(())
}

/// Takes back what [`make`] made, as far as it is empty and there still.
pub(super) fn remove(made: &[Made]) {
    for Made { above, name, is } in made {
        let found = statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_ours = found.is_ok_and(|found| identity(&found) == *is);
        if !is_ours || unlinkat(above, name, AtFlags::REMOVEDIR).is_err() {
            return;
        }
    }
}

#[allow(
    clippy::unnecessary_cast,
    reason = "these types differ between systems"
)]
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

#[cfg(test)]
#[path = "no_links_tests.rs"]
mod tests;
