//! A directory that stays the one that was opened, whoever renames it, or puts a link in its place.
//!
//! On Linux `/proc/self/fd/N` leads to the directory of an open descriptor, wherever that is now,
//! and what is below it is found from there. That is the path which all work on a locked directory
//! is done by; [`real_path`](super::real_path) keeps libgit2 from making its text of it. Elsewhere,
//! and where `/proc` is not mounted, the path is what it was, and [`HeldDir::check`] asks before
//! each step whether it still leads there.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, statat};
use rustix::io::Errno;

use super::no_links::{self, identity};
use crate::error::Name;
use crate::error::{Error, Key, Kind, Result};

/// How the paths begin that lead through a descriptor.
pub(super) const DESCRIPTORS: &str = "/proc/self/fd/";

#[derive(Debug)]
pub(crate) struct HeldDir {
    dir: OwnedFd,
    path: PathBuf,
    at: PathBuf,
}

impl HeldDir {
    /// Opens `path`, as [`place::find`](super::place::find) answers it: no link is followed. It may
    /// be something else than a directory.
    pub(crate) fn open(path: &Path) -> Result<HeldDir, Errno> {
        // A pipe must not wait for its writer.
        let dir = no_links::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let at = match leads_to_descriptors() {
            true => PathBuf::from(format!("{DESCRIPTORS}{}", dir.as_raw_fd())),
            false => path.to_owned(),
        };
        let path = path.to_owned();
        Ok(HeldDir { dir, path, at })
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.dir
    }

    /// What leads there for as long as this lives.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Whether its path still leads there, without a link at its end.
    pub(crate) fn is_in_place(&self) -> bool {
        let there = statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW);
        match (fstat(&self.dir), there) {
            (Ok(ours), Ok(there)) => identity(&ours) == identity(&there),
            _ => false,
        }
    }

    /// `locked` where what leads there is its path alone, and that leads elsewhere by now.
    pub(crate) fn check(&self) -> Result<()> {
        if self.at != self.path || self.is_in_place() {
            return Ok(());
        }
        Err(replaced(&self.path))
    }

    /// `error` with the path in it that the directory was opened by.
    pub(crate) fn named(&self, mut error: Error) -> Error {
        if self.at != self.path {
            let (at, path) = (
                self.at.as_os_str().as_bytes(),
                self.path.as_os_str().as_bytes(),
            );
            if let Some(message) = replace(error.message.as_bytes(), at, path) {
                error.message = String::from_utf8_lossy(&message).into_owned();
            }
            for value in error.detail.values_mut() {
                value.each(|name| replace(&name.0, at, path).map_or_else(|| name.clone(), Name));
            }
        }
        error
    }
}

/// `path` is not any more what it was found to be.
pub(super) fn replaced(path: &Path) -> Error {
    let message = format!(
        "{} was replaced while it was at work on; what took its place was not touched, call again",
        path.display()
    );
    Error::new(Kind::Locked, message).with(Key::Path, Name::of(path))
}

/// Whether `/proc` is there, and of this process.
fn leads_to_descriptors() -> bool {
    static LEADS: OnceLock<bool> = OnceLock::new();
    let leads = || {
        let dir = rustix::fs::open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let through = rustix::fs::stat(format!("{DESCRIPTORS}{}/.", dir.as_raw_fd())).ok()?;
        Some(identity(&through) == identity(&fstat(&dir).ok()?))
    };
    cfg!(target_os = "linux") && *LEADS.get_or_init(|| leads().unwrap_or(false))
}

/// `text` with `to` for each `from` that is a path, or begins one. None where there is none.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let (mut renamed, mut rest, mut found) = (Vec::new(), text, false);
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        let end = at + from.len();
        renamed.extend_from_slice(&rest[..at]);
        // Else it is another descriptor's.
        let is_it = !rest.get(end).is_some_and(u8::is_ascii_digit);
        renamed.extend_from_slice(if is_it { to } else { from });
        found |= is_it;
        rest = &rest[end..];
    }
    renamed.extend_from_slice(rest);
    found.then_some(renamed)
}

#[cfg(test)]
#[path = "held_dir_tests.rs"]
mod tests;
