//! The files of a tree, in the order of Git's index, and those in which two trees differ.

use std::ops::ControlFlow;

use git2::{ObjectType, Odb, Oid};

use crate::error::{Error, Key, Kind, Result};
use crate::repo::raw_object;
use crate::repo::tree_check::{LONGEST_PATH, MAX_PATH_BYTES};
use crate::task::job::Job;

/// The bits of a mode that tell what it is of, and what they are then (gitformat-index(5)).
pub(crate) const KIND: u32 = 0o170000;
pub(crate) const FILE: u32 = 0o100000;
pub(crate) const LINK: u32 = 0o120000;
pub(crate) const GITLINK: u32 = 0o160000;
/// A bound on what one repository may make us write and remember.
pub(crate) const MAX_FILES: u64 = 1_000_000;

/// A file, a link or a submodule of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeFile {
    pub(crate) path: Vec<u8>,
    pub(crate) is: Is,
}

/// What is at a path: its mode, as an index has it, and the id of its content or commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Is {
    pub(crate) mode: u32,
    pub(crate) id: Oid,
}

/// The modes that Git knows: older tools wrote others, such as 100664, which Git takes as these.
/// One of no kind is a submodule to Git.
fn canonical(mode: u32) -> u32 {
    match mode & KIND {
        LINK => LINK,
        FILE if mode & 0o100 != 0 => 0o100755,
        FILE => 0o100644,
        _ => GITLINK,
    }
}

/// A link's target ends at the first NUL, as in Git, which hands it on as a C string.
pub(crate) fn link_target(blob: &[u8]) -> &[u8] {
    blob.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// One entry of a tree.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    name: Vec<u8>,
    /// As an index has it; none for a directory.
    mode: Option<u32>,
    id: Oid,
}

impl Item {
    /// Trees are sorted as if the names of directories ended so.
    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        let slash = self.mode.is_none().then_some(b'/');
        self.name.iter().copied().chain(slash)
    }

    fn file_or_dir(self) -> (Option<Is>, Option<Oid>) {
        match self.mode {
            Some(mode) => (Some(Is { mode, id: self.id }), None),
            None => (None, Some(self.id)),
        }
    }
}

fn items(odb: &Odb<'_>, tree: Oid) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    raw_object::read_tree(odb, tree, |entry| {
        items.push(Item {
            name: entry.name.to_vec(),
            mode: (entry.kind != ObjectType::Tree).then(|| canonical(entry.mode)),
            id: entry.id,
        });
        Ok(())
    })?;
    // Older tools sorted otherwise.
    if !items.is_sorted_by(|one, next| one.key().le(next.key())) {
        items.sort_by(|one, other| one.key().cmp(other.key()));
    }
    let is_twice = items
        .windows(2)
        .any(|two| two[0].name == two[1].name && two[0].mode.is_none() == two[1].mode.is_none());
    if is_twice
        || items
            .iter()
            .any(|item| item.name.is_empty() || item.name.contains(&b'/'))
    {
        let message = format!("the tree {tree} holds a name twice, or one that is none");
        return Err(Error::new(Kind::UnsafePath, message));
    }
    Ok(items)
}

/// What a walk of one or two trees has come to: who sent them decides how often they name each
/// other.
struct Come {
    trees: u64,
    entries: u64,
    bytes: u64,
}

impl Come {
    fn of(trees: u64) -> Come {
        Come {
            trees,
            entries: 0,
            bytes: 0,
        }
    }

    fn to(&mut self, path: &[u8]) -> Result<()> {
        let length = path.len() as u64;
        self.entries += 1;
        self.bytes += length;
        for (is, what, limit) in [
            (
                self.entries,
                "files and directories",
                MAX_FILES * self.trees,
            ),
            (
                self.bytes,
                "bytes in its paths",
                MAX_PATH_BYTES * self.trees,
            ),
            (length, "bytes in one path", LONGEST_PATH),
        ] {
            if is > limit {
                let message = format!(
                    "the commit has more than {limit} {what}; a working tree here has at most that"
                );
                return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, limit));
            }
        }
        Ok(())
    }
}

/// Which files of a tree a walk visits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Part<'a> {
    /// What the tree's own path is, with a slash at its end, or empty.
    pub(crate) prefix: &'a [u8],
    /// Only what comes after this path.
    pub(crate) after: Option<&'a [u8]>,
}

impl Part<'_> {
    fn has(&self, path: &[u8]) -> bool {
        self.after.is_none_or(|after| path > after)
    }

    /// Whether something below the directory `path`, which ends with a slash, comes after.
    fn enters(&self, path: &[u8]) -> bool {
        self.after
            .is_none_or(|after| path > after || after.starts_with(path))
    }
}

/// Calls `each` with the files of `tree`, by path, until it breaks. Directories that `enters`
/// refuses, whose paths end with a slash, are not looked into.
pub(crate) fn visit(
    odb: &Odb<'_>,
    tree: Oid,
    part: Part<'_>,
    job: &Job,
    enters: impl Fn(&[u8]) -> bool,
    mut each: impl FnMut(TreeFile) -> Result<ControlFlow<()>>,
) -> Result<()> {
    below(odb, tree, part, job, &mut Come::of(1), enters, &mut each)
}

fn below(
    odb: &Odb<'_>,
    tree: Oid,
    part: Part<'_>,
    job: &Job,
    come: &mut Come,
    enters: impl Fn(&[u8]) -> bool,
    each: &mut impl FnMut(TreeFile) -> Result<ControlFlow<()>>,
) -> Result<()> {
    // A stack of its own: who sent the tree decides how deep it is.
    let mut open = vec![(part.prefix.to_vec(), items(odb, tree)?.into_iter())];
    while let Some((prefix, rest)) = open.last_mut() {
        let Some(item) = rest.next() else {
            open.pop();
            continue;
        };
        let mut path = [&prefix[..], &item.name].concat();
        come.to(&path)?;
        match item.mode {
            Some(mode) if part.has(&path) => {
                let is = Is { mode, id: item.id };
                if each(TreeFile { path, is })?.is_break() {
                    return Ok(());
                }
            }
            Some(_) => {}
            None => {
                path.push(b'/');
                if part.enters(&path) && enters(&path) {
                    job.check()?;
                    open.push((path, items(odb, item.id)?.into_iter()));
                }
            }
        }
    }
    Ok(())
}

/// What is at a path in two trees, of which at least one has something there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<Is>,
    pub(crate) new: Option<Is>,
}

/// What changes from the tree `old` to the tree `new`, by path. Looks only into directories that
/// differ, and that `enters` does not refuse (their paths end with a slash). `too_large` with more
/// than `max` changes that `takes` takes.
pub(crate) fn changes(
    odb: &Odb<'_>,
    old: Oid,
    new: Oid,
    job: &Job,
    max: usize,
    enters: impl Fn(&[u8]) -> bool,
    takes: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Change>> {
    let mut changes = Changes {
        found: Vec::new(),
        max,
        takes,
    };
    if old == new {
        return Ok(changes.found);
    }
    let mut come = Come::of(2);
    let mut pairs = vec![(Vec::new(), old, new)];
    while let Some((prefix, old, new)) = pairs.pop() {
        job.check()?;
        let (old, new) = (items(odb, old)?, items(odb, new)?);
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            // By name alone a file and a directory that takes its place could miss each other; by
            // key they are two.
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.key().cmp(new.key()),
            };
            let (was, is) = match order {
                std::cmp::Ordering::Less => (old.next(), None),
                std::cmp::Ordering::Greater => (None, new.next()),
                std::cmp::Ordering::Equal => (old.next(), new.next()),
            };
            if was == is {
                continue;
            }
            let Some(name) = was.as_ref().or(is.as_ref()).map(|item| &item.name) else {
                continue;
            };
            let path = [&prefix[..], name].concat();
            come.to(&path)?;
            let inner = [&path[..], b"/"].concat();
            let (was, old_dir) = was.map_or((None, None), Item::file_or_dir);
            let (is, new_dir) = is.map_or((None, None), Item::file_or_dir);
            if was.is_some() || is.is_some() {
                changes.add(path, was, is)?;
            }
            if (old_dir.is_some() || new_dir.is_some()) && !enters(&inner) {
                continue;
            }
            let part = Part {
                prefix: &inner,
                after: None,
            };
            match (old_dir, new_dir) {
                (Some(was), Some(is)) => pairs.push((inner, was, is)),
                (Some(was), None) => below(odb, was, part, job, &mut come, &enters, &mut |file| {
                    changes.add(file.path, Some(file.is), None)?;
                    Ok(ControlFlow::Continue(()))
                })?,
                (None, Some(is)) => below(odb, is, part, job, &mut come, &enters, &mut |file| {
                    changes.add(file.path, None, Some(file.is))?;
                    Ok(ControlFlow::Continue(()))
                })?,
                (None, None) => {}
            }
        }
    }
    let mut found = changes.found;
    found.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

struct Changes<F> {
    found: Vec<Change>,
    max: usize,
    takes: F,
}

impl<F: Fn(&[u8]) -> bool> Changes<F> {
    fn add(&mut self, path: Vec<u8>, old: Option<Is>, new: Option<Is>) -> Result<()> {
        if !(self.takes)(&path) {
            return Ok(());
        }
        if self.found.len() >= self.max {
            let message = format!(
                "more than {} files differ; ask for those of some paths, or that match",
                self.max
            );
            return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, self.max as u64));
        }
        self.found.push(Change { path, old, new });
        Ok(())
    }
}
