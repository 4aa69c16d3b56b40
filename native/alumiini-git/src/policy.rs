//! Which remotes may be reached: what the server that started this process was told to allow.
//!
//! A URL may be chosen by somebody who is to see less than this process can: a path of this machine
//! reads whatever the process's user can read, another tenant's repository, too.

pub(crate) mod addresses;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, Key, Kind, Result};
use crate::policy::addresses::Addresses;

/// Schemes, as in `hello`. A path without one is of `file`.
const SCHEMES: [&str; 4] = ["https", "http", "ssh", "file"];
/// Repositories whose objects another one borrows, one from the other, as in Git.
const MAX_ALTERNATES: usize = 100;

/// The rules that `hello` gives. What they leave open is allowed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Allow {
    /// None: all of them.
    pub(crate) schemes: Option<Vec<String>>,
    /// Where repositories of this machine may be. None: anywhere, if they are the user's own and
    /// `file` is among the schemes.
    pub(crate) local: Option<Vec<PathBuf>>,
    /// Which addresses may be connected to. Whoever makes a connection asks it.
    pub(crate) addresses: Arc<Addresses>,
    /// The directory that the `path` of each request is below. None: anywhere.
    pub(crate) root: Option<PathBuf>,
}

/// The rules of this process.
#[derive(Default)]
pub(crate) struct Allowed(RwLock<Arc<Allow>>);

impl Allowed {
    /// Replaces the rules. Requests that have begun keep those that they began with.
    pub(crate) fn set(&self, allow: Allow) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(allow);
    }

    /// The rules as they are now.
    pub(crate) fn now(&self) -> Arc<Allow> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Allow {
    /// From the fields of `hello`. `invalid` where a scheme is not one of those that this worker
    /// speaks.
    pub(crate) fn new(
        schemes: Option<Vec<Vec<u8>>>,
        local: Option<Vec<PathBuf>>,
        addresses: Addresses,
        root: Option<PathBuf>,
    ) -> Result<Allow> {
        let known = |scheme: Vec<u8>| {
            let found = SCHEMES.iter().find(|known| known.as_bytes() == scheme);
            let message = || format!("`schemes` takes some of {}", SCHEMES.join(", "));
            found
                .map(ToString::to_string)
                .ok_or_else(|| Error::new(Kind::Invalid, message()))
        };
        let schemes = schemes
            .map(|schemes| schemes.into_iter().map(known).collect())
            .transpose()?;
        Ok(Allow {
            schemes,
            local,
            addresses: Arc::new(addresses),
            root,
        })
    }

    /// `unsupported` where no remote of this scheme may be reached. A repository of this machine
    /// has the scheme `file`. `redacted` is the remote's URL in errors.
    pub(crate) fn check(&self, scheme: &str, redacted: &str) -> Result<()> {
        if scheme == "file"
            && let Some(dirs) = &self.local
        {
            // Which ones is asked of the directory, see `local`.
            return match dirs.is_empty() {
                true => Err(refused_local(redacted, "is on this machine")),
                false => Ok(()),
            };
        }
        match &self.schemes {
            Some(schemes) if !schemes.iter().any(|allowed| allowed == scheme) => {
                if scheme == "file" {
                    return Err(refused_local(redacted, "is on this machine"));
                }
                let message = format!(
                    "{redacted} is not allowed: this server takes {} only (its option :schemes)",
                    schemes.join(", ")
                );
                Err(Error::new(Kind::Unsupported, message).with(Key::Url, redacted))
            }
            _ => Ok(()),
        }
    }

    /// The directory of a repository of this machine, with all symbolic links resolved. A path
    /// that does not exist is returned as it is, if it may be read. `unsupported` where it may not
    /// be. `shown` is the remote's URL in errors.
    pub(crate) fn local(&self, path: &Path, shown: &str) -> Result<PathBuf> {
        // What is not there is for who opens it to tell.
        let Ok(real) = path.canonicalize() else {
            return match &self.local {
                None => Ok(path.to_owned()),
                Some(_) => self
                    .is_below(path)
                    .then(|| path.to_owned())
                    .ok_or_else(|| outside(shown)),
            };
        };
        if self.local.is_some() {
            return self
                .is_below(&real)
                .then(|| real.clone())
                .ok_or_else(|| outside(shown));
        }
        let owner = fs::metadata(&real).map(|found| found.uid());
        match owner {
            Ok(owner) if owner != rustix::process::geteuid().as_raw() => {
                let why = format!("belongs to another user (its owner is {owner})");
                Err(refused_local(shown, &why))
            }
            _ => Ok(real),
        }
    }

    /// Checks where the `.git` and the objects of an opened repository really are, those that it
    /// borrows from other repositories (gitrepository-layout(5), `objects/info/alternates`)
    /// included. `unsupported` where one of them may not be read.
    pub(crate) fn parts(&self, git_dirs: &[&Path], shown: &str) -> Result<()> {
        if self.local.is_none() {
            return Ok(());
        }
        let objects = git_dirs.iter().map(|dir| dir.join("objects"));
        let mut objects: Vec<PathBuf> = objects
            .map(|dir| dir.canonicalize().unwrap_or(dir))
            .collect();
        let mut next = 0;
        while let Some(dir) = objects.get(next).cloned() {
            next += 1;
            if next > MAX_ALTERNATES {
                return Err(refused_local(
                    shown,
                    "borrows objects from too many repositories",
                ));
            }
            for part in [&dir, &dir.join("pack")] {
                if !part.canonicalize().map_or_else(
                    |error| error.kind() == io::ErrorKind::NotFound,
                    |real| self.is_below(&real),
                ) {
                    return Err(outside(shown));
                }
            }
            let text = fs::read(dir.join("info/alternates")).unwrap_or_default();
            let lines = text.split(|byte| *byte == b'\n');
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
                let line: &OsStr = OsStrExt::from_bytes(line);
                let borrowed = dir.join(line);
                let borrowed = borrowed.canonicalize().unwrap_or(borrowed);
                if !objects.contains(&borrowed) {
                    objects.push(borrowed);
                }
            }
        }
        match git_dirs
            .iter()
            .all(|dir| dir.canonicalize().is_ok_and(|real| self.is_below(&real)))
        {
            true => Ok(()),
            false => Err(outside(shown)),
        }
    }

    fn is_below(&self, path: &Path) -> bool {
        let dirs = self.local.iter().flatten();
        dirs.filter_map(|dir| dir.canonicalize().ok())
            .any(|dir| path.starts_with(dir))
    }
}

fn outside(shown: &str) -> Error {
    refused_local(
        shown,
        "is in none of the directories whose repositories this server may read, or leads out of \
         them",
    )
}

fn refused_local(shown: &str, why: &str) -> Error {
    let message = format!(
        "{shown} is not allowed: it {why}; give its directory to the server's option :allow_local \
         to allow it"
    );
    Error::new(Kind::Unsupported, message).with(Key::Url, shown)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
