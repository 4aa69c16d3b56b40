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
use crate::repo::partial::{self, Within};
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
    /// Where the tree is in that of the repository: empty, or with a slash at its end.
    prefix: Vec<u8>,
    within: Option<Within>,
    looked_through: Cell<u64>,
}

/// None: the directory of a submodule, which holds nothing.
type Dir = Option<Oid>;

enum Node {
    Dir(Dir),
    File(Oid),
}

/// What a path names, and where that is in the tree of the repository once links were followed.
struct Place {
    node: Node,
    path: Vec<u8>,
}

impl<'a> TreeReader<'a> {
    /// Of the directory `below` in the tree `root`, which is that of the repository at `path`. What
    /// is not `within` is refused.
    pub(crate) fn at(
        odb: Odb<'a>,
        root: Oid,
        path: &Path,
        below: &Path,
        within: Option<Within>,
    ) -> Result<TreeReader<'a>> {
        let mut reader = TreeReader {
            odb,
            tree: Some(root),
            path: path.to_owned(),
            prefix: Vec::new(),
            within,
            looked_through: Cell::new(0),
        };
        if !below.as_os_str().is_empty() {
            let whole = path.join(below);
            let (tree, prefix) = reader.dir_at(below).map_err(|error| match error.kind {
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
                prefix,
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
        let (tree, prefix) = self.dir_at(path)?;
        if let Some(tree) = tree {
            raw_object::read_tree(&self.odb, tree, |entry| {
                match kind_of(&entry) {
                    _ if !wanted(entry.name) || !self.takes(&prefix, entry.name) => {}
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
        match self.walk(path, false)?.node {
            Node::File(id) => Ok(id),
            Node::Dir(_) => Err(missing(&self.path, path, "is a directory, not a file")),
        }
    }

    /// How many bytes a file has.
    pub(crate) fn size(&self, file: Oid) -> Result<u64> {
        let header = self.odb.read_header(file);
        match header
            .map_err(raw_object::unreadable(file))
            .map_err(|error| self.explained(file, error))?
        {
            (size, ObjectType::Blob) => Ok(size as u64),
            _ => Err(raw_object::damaged(file, "it is not a file")),
        }
    }

    pub(crate) fn content(&self, file: Oid) -> Result<Vec<u8>> {
        let object = self.odb.read(file).map_err(raw_object::unreadable(file));
        let object = object.map_err(|error| self.explained(file, error))?;
        Ok(object.data().to_vec())
    }

    fn explained(&self, file: Oid, error: Error) -> Error {
        match &self.within {
            Some(within) if !within.is_synced => partial::explained(&self.odb, file, error),
            _ => error,
        }
    }

    /// Whether the file `name`, in the directory `prefix` of the repository's tree, is within what
    /// the repository has. `prefix` was entered.
    pub(crate) fn takes(&self, prefix: &[u8], name: &[u8]) -> bool {
        let filter = self.within.as_ref().map(|within| &within.filter);
        filter.is_none_or(|filter| filter.takes(&[prefix, name].concat()))
    }

    /// The same of whether there may be files in a directory, whose name ends with a slash.
    pub(crate) fn enters(&self, prefix: &[u8], name: &[u8]) -> bool {
        let filter = self.within.as_ref().map(|within| &within.filter);
        filter.is_none_or(|filter| filter.enters(&[prefix, name].concat()))
    }

    /// The directory `path`, as the id of its tree; none where it is that of a submodule.
    pub(crate) fn dir(&self, path: &Path) -> Result<Option<Oid>> {
        self.dir_at(path).map(|(dir, _)| dir)
    }

    /// The same, and where it is in the repository's tree once links were followed: empty, or with
    /// a slash at its end.
    pub(crate) fn dir_at(&self, path: &Path) -> Result<(Option<Oid>, Vec<u8>)> {
        match self.walk(path, true)? {
            Place {
                node: Node::Dir(dir),
                path,
            } => Ok((dir, path)),
            Place {
                node: Node::File(_),
                ..
            } => Err(missing(&self.path, path, NO_DIRECTORY)),
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

    fn walk(&self, path: &Path, dir: bool) -> Result<Place> {
        let place = self.follow(path, dir)?;
        match (&self.within, &place.node) {
            (None, _) => {}
            (Some(within), Node::File(_)) if within.filter.has(&place.path) => {}
            (Some(within), Node::Dir(_))
                if place.path.is_empty()
                    || within.filter.enters(&place.path)
                        && within.filter.is_entered(&place.path) => {}
            (Some(within), _) => {
                return Err(partial::outside(&within.root, &place.path, &within.scope));
            }
        }
        Ok(place)
    }

    fn follow(&self, path: &Path, dir: bool) -> Result<Place> {
        let mut steps = steps(&self.path, path)?;
        steps.reverse();
        let (mut links, mut trail) = (0, Vec::<(Vec<u8>, Dir)>::new());
        let at = |trail: &[(Vec<u8>, Dir)]| {
            let names = trail
                .iter()
                .flat_map(|(name, _)| [&name[..], b"/"].concat());
            self.prefix
                .iter()
                .copied()
                .chain(names)
                .collect::<Vec<u8>>()
        };
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
            let here: Dir = trail.last().map_or(self.tree, |(_, tree)| *tree);
            let found = match here {
                Some(tree) => self.find(tree, &step)?,
                None => None,
            };
            match found.ok_or_else(gone)? {
                (EntryKind::Dir(tree), _) => trail.push((step, tree)),
                (EntryKind::File, _) if dir || !steps.is_empty() => {
                    return Err(missing(&self.path, path, NO_DIRECTORY));
                }
                (EntryKind::File, id) => {
                    let path = [at(&trail), step].concat();
                    return Ok(Place {
                        node: Node::File(id),
                        path,
                    });
                }
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
        Ok(Place {
            path: at(&trail),
            node: Node::Dir(trail.last().map_or(self.tree, |(_, tree)| *tree)),
        })
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
