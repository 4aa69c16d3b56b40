//! Where a path leads.
//!
//! Who joins a directory with what a tenant chose, or a repository with what a tenant committed, is
//! to end up below that. So the links of the system are followed as anywhere, but from a
//! repository's working tree on nothing leads out of it any more, neither a link in it nor `..`;
//! and nothing ever leads into a `.git`, or makes a directory one. Where the server has a root,
//! nothing leads out of that either. What is found is opened without following a link (`no_links`),
//! so what lies below the root when it is opened is what was found.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::open;
use crate::repo::safe_path::MAX_LINKS;
use crate::repo::tree_check::is_dot_git;

/// `path` without links, as far as it exists; the rest is kept as it is. `unsafe_path` where it
/// leads out of a working tree that it is in, or into `.git`, or is not below `root`, if there is
/// one. Looks at the disk.
pub(crate) fn find(path: &Path, root: Option<&Path>) -> Result<PathBuf> {
    let failed = |error: io::Error| {
        Error::new(
            Kind::Io,
            format!("cannot look at {}: {error}", path.display()),
        )
        .with(Key::Path, Name::of(path))
    };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let root = root.map(ServerRoot::find).transpose()?;
    let mut walk = Walk {
        path,
        here: PathBuf::from("/"),
        root,
        enclosing: None,
        links: 0,
    };
    let mut steps = Vec::new();
    push(&mut steps, walk.below_root(&absolute)?);
    walk.enter();
    // The link whose target is being walked, and how many steps were left then.
    let mut link: Option<(PathBuf, usize)> = None;
    while let Some(step) = steps.pop() {
        link = link.filter(|(_, left)| steps.len() >= *left);
        match step {
            Step::Root => walk.again()?,
            Step::Up => walk.up()?,
            Step::Down(name) => match walk.down(&name).map_err(failed)? {
                Met::Link(target) => {
                    walk.follow()?;
                    link = link.or_else(|| Some((walk.here.join(name), steps.len())));
                    push(&mut steps, walk.below_root(&target)?);
                }
                Met::Nothing => {
                    walk.named(&name)?;
                    // Nothing is made where a link leads: it stays what it is, a link to nowhere.
                    let mut found = match link {
                        Some((link, left)) => {
                            steps.truncate(left);
                            link
                        }
                        None => walk.here.join(name),
                    };
                    for step in steps.into_iter().rev() {
                        let Step::Down(name) = step else {
                            return Err(failed(io::ErrorKind::NotFound.into()));
                        };
                        walk.named(&name)?;
                        found.push(name);
                    }
                    return Ok(found);
                }
                Met::Something => {
                    walk.named(&name)?;
                    walk.here.push(name);
                    walk.enter();
                }
            },
        }
    }
    if walk
        .root
        .as_ref()
        .is_some_and(|root| root.real == walk.here)
    {
        return Err(walk.refused(
            "it is the server's root (its option :root) itself; give a directory below it",
        ));
    }
    Ok(walk.here)
}

/// The directory that all paths are below, as it was given and without links.
struct ServerRoot {
    given: PathBuf,
    real: PathBuf,
}

impl ServerRoot {
    fn find(given: &Path) -> Result<ServerRoot> {
        let found = given.canonicalize().map_err(|error| {
            let given = given.display();
            let message =
                format!("cannot look at {given}, the server's root (its option :root): {error}");
            Error::new(Kind::Io, message)
        });
        let given = given.to_owned();
        Ok(ServerRoot {
            real: found?,
            given,
        })
    }
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

/// Puts the steps of `path` before those that are left, whose first is the last.
fn push(steps: &mut Vec<Step>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => steps.push(Step::Down(name.to_owned())),
            Component::ParentDir => steps.push(Step::Up),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => steps.push(Step::Root),
        }
    }
}

enum Met {
    Link(PathBuf),
    Nothing,
    Something,
}

struct Walk<'a> {
    path: &'a Path,
    /// Without links, as far as it exists.
    here: PathBuf,
    root: Option<ServerRoot>,
    /// The innermost working tree that this is in.
    enclosing: Option<PathBuf>,
    links: usize,
}

impl Walk<'_> {
    /// What is to be walked of `path` from `here` on: where there is a root, an absolute path has
    /// to name it, and goes on from there.
    fn below_root<'p>(&mut self, path: &'p Path) -> Result<&'p Path> {
        let Some(root) = self.root.as_ref().filter(|_| path.is_absolute()) else {
            return Ok(path);
        };
        let below = [&root.given, &root.real]
            .into_iter()
            .find_map(|root| path.strip_prefix(root).ok());
        let real = root.real.clone();
        let below = below.ok_or_else(|| self.leaves_root())?;
        match &self.enclosing {
            Some(enclosing) if *enclosing != real => Err(self.leaves(enclosing)),
            _ => {
                self.here = real;
                Ok(below)
            }
        }
    }

    fn down(&self, name: &OsStr) -> io::Result<Met> {
        let next = self.here.join(name);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => fs::read_link(&next).map(Met::Link),
            Ok(_) => Ok(Met::Something),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Met::Nothing),
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self) {
        if fs::symlink_metadata(open::git_dir(&self.here)).is_ok() {
            self.enclosing = Some(self.here.clone());
        }
    }

    fn up(&mut self) -> Result<()> {
        if let Some(enclosing) = self
            .enclosing
            .as_ref()
            .filter(|enclosing| **enclosing == self.here)
        {
            return Err(self.leaves(enclosing));
        }
        if self
            .root
            .as_ref()
            .is_some_and(|root| root.real == self.here)
        {
            return Err(self.leaves_root());
        }
        self.here.pop();
        Ok(())
    }

    /// From the root of the file system.
    fn again(&mut self) -> Result<()> {
        match &self.enclosing {
            Some(enclosing) if *enclosing != Path::new("/") => Err(self.leaves(enclosing)),
            _ => {
                self.here = PathBuf::from("/");
                Ok(())
            }
        }
    }

    fn follow(&mut self) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(self.refused("it goes through too many links"));
        }
        Ok(())
    }

    fn named(&self, name: &OsStr) -> Result<()> {
        if is_dot_git(name.as_bytes()) {
            return Err(self.refused("it leads into .git"));
        }
        Ok(())
    }

    fn leaves(&self, enclosing: &Path) -> Error {
        let why = format!(
            "it leads out of the working tree of {}; if that is meant, give the path that it \
             leads to",
            enclosing.display()
        );
        self.refused(&why)
    }

    fn leaves_root(&self) -> Error {
        let given = self
            .root
            .as_ref()
            .map_or(Path::new("/"), |root| &root.given);
        self.refused(&format!(
            "it is not below {}, or a link in it leads out of there; that is the server's option \
             :root",
            given.display()
        ))
    }

    fn refused(&self, why: &str) -> Error {
        let message = format!("the path {} is refused: {why}", self.path.display());
        Error::new(Kind::UnsafePath, message).with(Key::Path, Name::of(self.path))
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
