//! Where a path leads.
//!
//! Who joins a directory with what a tenant chose, or a repository with what a tenant committed, is to end up below that. So the links
//! of the system are followed as anywhere, but from a repository's working tree on nothing leads out of it any more, neither a link in it nor
//! `..`; and nothing ever leads into a `.git`, or makes a directory one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::open;
use crate::repo::safe_path::MAX_LINKS;
use crate::repo::tree_check::is_dot_git;

/// `path` without links, as far as it exists; the rest is kept as it is. `unsafe_path` where it leads out of a working tree that it is in,
/// or into `.git`. Looks at the disk.
pub(crate) fn find(path: &Path) -> Result<PathBuf> {
    let failed = |error: io::Error| Error::io("look at", path, &error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    let mut steps = Vec::new();
    push(&mut steps, &absolute);
    let mut walk = Walk {
        path,
        here: PathBuf::from("/"),
        enclosing: None,
        links: 0,
    };
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
                    push(&mut steps, &target);
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
    Ok(walk.here)
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
    /// The innermost working tree that this is in.
    enclosing: Option<PathBuf>,
    links: usize,
}

impl Walk<'_> {
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
        if let Some(enclosing) = self.enclosing.as_ref().filter(|enclosing| **enclosing == self.here) {
            return Err(self.leaves(enclosing));
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
            "it leads out of the working tree of {}; if that is meant, give the path that it leads to",
            enclosing.display()
        );
        self.refused(&why)
    }

    fn refused(&self, why: &str) -> Error {
        let message = format!("the path {} is refused: {why}", self.path.display());
        Error::new(Kind::UnsafePath, message).with(Key::Path, Name::of(self.path))
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
