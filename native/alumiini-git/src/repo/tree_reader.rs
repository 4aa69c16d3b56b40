//! Finds what a path names in a commit's tree, as `repo::safe_path` finds it in the working tree
//! that would be checked out of it.
//!
//! The same paths are refused, links are followed in the same way and as far, and errors read the
//! same. A submodule is an empty directory here as it is there.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use git2::{ObjectType, Odb, Oid};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::repo::raw_object::{self, RawEntry};
use crate::repo::safe_path::{MAX_LINKS, missing, refused, steps};

const TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
/// No file system takes a link that leads further.
const LONGEST_LINK: usize = 4_095;

/// The bytes of trees that one reader looks through, each as often as it does: links may lead
/// anywhere, and each step of a path may be in a tree of a million names.
const MAX_LOOKED_THROUGH: u64 = 1 << 30;
/// What a step counts at least.
const STEP: u64 = 1 << 10;

/// A tree together with its name, for messages.
pub(crate) struct TreeReader<'a> {
    odb: Odb<'a>,
    tree: Dir,
    path: PathBuf,
    looked_through: Cell<u64>,
}

/// None: the directory of a submodule, which holds nothing.
type Dir = Option<Oid>;

enum Node {
    Dir(Dir),
    File(Oid),
}

impl<'a> TreeReader<'a> {
    /// Of the directory `below` in the tree `root`, which is that of the repository at `path`.
    pub(crate) fn at(odb: Odb<'a>, root: Oid, path: &Path, below: &Path) -> Result<TreeReader<'a>> {
        let mut reader = TreeReader {
            odb,
            tree: Some(root),
            path: path.to_owned(),
            looked_through: Cell::new(0),
        };
        if !below.as_os_str().is_empty() {
            let whole = path.join(below);
            let tree = reader.dir(below).map_err(|error| match error.kind {
                Kind::PathNotFound => {
                    let message = format!(
                        "{} is no directory of the commit; sync the repository first",
                        whole.display()
                    );
                    Error::new(Kind::PathNotFound, message).with(Key::Path, Name::of(&whole))
                }
                _ => error,
            })?;
            reader = TreeReader {
                tree,
                path: whole,
                ..reader
            };
        }
        Ok(reader)
    }

    pub(crate) fn odb(&self) -> &Odb<'a> {
        &self.odb
    }

    /// What messages call it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names in the directory `path`, each with whether it is one of a regular file, or of a
    /// link that leads to one.
    pub(crate) fn names(
        &self,
        path: &Path,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>> {
        let (mut names, mut links) = (Vec::new(), Vec::new());
        if let Some(tree) = self.dir(path)? {
            raw_object::read_tree(&self.odb, tree, |entry| {
                match kind_of(&entry) {
                    _ if !wanted(entry.name) => {}
                    EntryKind::File => names.push(entry.name.to_vec()),
                    EntryKind::Link => links.push(entry.name.to_vec()),
                    EntryKind::Dir(_) => {}
                }
                Ok(())
            })?;
        }
        for link in links {
            match self.file(&path.join(OsStr::from_bytes(&link))) {
                Ok(_) => names.push(link),
                // Not a name that leads nowhere, or out.
                Err(error) if matches!(error.kind, Kind::PathNotFound | Kind::UnsafePath) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// The regular file `path`, as the id of its content.
    pub(crate) fn file(&self, path: &Path) -> Result<Oid> {
        match self.walk(path, false)? {
            Node::File(id) => Ok(id),
            Node::Dir(_) => Err(missing(&self.path, path, "is a directory, not a file")),
        }
    }

    /// How many bytes a file has.
    pub(crate) fn size(&self, file: Oid) -> Result<u64> {
        match self
            .odb
            .read_header(file)
            .map_err(raw_object::unreadable(file))?
        {
            (size, ObjectType::Blob) => Ok(size as u64),
            _ => Err(raw_object::damaged(file, "it is not a file")),
        }
    }

    pub(crate) fn content(&self, file: Oid) -> Result<Vec<u8>> {
        let object = self.odb.read(file).map_err(raw_object::unreadable(file))?;
        Ok(object.data().to_vec())
    }

    /// The directory `path`, as the id of its tree; none where it is that of a submodule.
    pub(crate) fn dir(&self, path: &Path) -> Result<Option<Oid>> {
        match self.walk(path, true)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(missing(&self.path, path, NO_DIRECTORY)),
        }
    }

    fn find(&self, tree: Oid, name: &[u8]) -> Result<Option<(EntryKind, Oid)>> {
        let (found, bytes) =
            raw_object::find(&self.odb, tree, name, |entry| (kind_of(&entry), entry.id))?;
        let sum = self.looked_through.get() + bytes.max(STEP);
        self.looked_through.set(sum);
        if sum > MAX_LOOKED_THROUGH {
            let message = format!(
                "links in {} lead through more than {MAX_LOOKED_THROUGH} bytes of directories",
                self.path.display()
            );
            let error = Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_LOOKED_THROUGH);
            return Err(error.with(Key::Path, Name::of(&self.path)));
        }
        Ok(found)
    }

    fn walk(&self, path: &Path, dir: bool) -> Result<Node> {
        let mut steps = steps(&self.path, path)?;
        steps.reverse();
        let (mut links, mut trail) = (0, Vec::new());
        while let Some(step) = steps.pop() {
            if step == b".." {
                // Only links bring us here.
                if trail.pop().is_none() {
                    return Err(refused(
                        &self.path,
                        path,
                        "a link in it leads out of the repository",
                    ));
                }
                continue;
            }
            if step.eq_ignore_ascii_case(b".git") {
                return Err(refused(&self.path, path, "it leads into .git"));
            }
            let gone = || missing(&self.path, path, "does not exist");
            let here: Dir = trail.last().copied().unwrap_or(self.tree);
            let found = match here {
                Some(tree) => self.find(tree, &step)?,
                None => None,
            };
            match found.ok_or_else(gone)? {
                (EntryKind::Dir(tree), _) => trail.push(tree),
                (EntryKind::File, _) if dir || !steps.is_empty() => {
                    return Err(missing(&self.path, path, NO_DIRECTORY));
                }
                (EntryKind::File, id) => return Ok(Node::File(id)),
                (EntryKind::Link, id) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(refused(&self.path, path, "it goes through too many links"));
                    }
                    if self.size(id)? > LONGEST_LINK as u64 {
                        return Err(gone());
                    }
                    let target = PathBuf::from(OsString::from_vec(self.content(id)?));
                    for component in target.components().rev() {
                        match component {
                            Component::Normal(name) => steps.push(name.as_bytes().to_vec()),
                            Component::ParentDir => steps.push(b"..".to_vec()),
                            Component::CurDir => {}
                            Component::RootDir | Component::Prefix(_) => {
                                return Err(refused(
                                    &self.path,
                                    path,
                                    "a link in it leads out of the repository",
                                ));
                            }
                        }
                    }
                }
            }
        }
        Ok(Node::Dir(trail.pop().unwrap_or(self.tree)))
    }
}

const NO_DIRECTORY: &str = "is not a directory, or goes through a file";

enum EntryKind {
    File,
    Link,
    Dir(Dir),
}

fn kind_of(entry: &RawEntry<'_>) -> EntryKind {
    match entry.kind {
        ObjectType::Tree => EntryKind::Dir(Some(entry.id)),
        ObjectType::Blob if entry.mode & TYPE == LINK => EntryKind::Link,
        ObjectType::Blob => EntryKind::File,
        _ => EntryKind::Dir(None),
    }
}

#[cfg(test)]
#[path = "tree_reader_tests.rs"]
mod tests;
