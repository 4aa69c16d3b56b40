//! What a working tree was made to be: what may be believed of it without looking into any file.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

use std::collections::{BTreeSet, HashSet};

use rustix::fs::Stat;

use super::index::{Entry, Recorded, Written};
use super::{GITLINK, KIND};

/// A working tree that was just written, and its index after it.
#[derive(Debug)]
pub(crate) struct Moved {
    entries: Vec<Entry>,
    /// Directories in which a name came, went or became another's, by path, without a slash at the
    /// end. All below are new where one was not known before.
    pub(crate) touched: BTreeSet<Vec<u8>>,
    index: Written,
}

impl Moved {
    pub(super) fn new(entries: Vec<Entry>, touched: BTreeSet<Vec<u8>>, index: Written) -> Moved {
        Moved {
            entries,
            touched,
            index,
        }
    }

    /// Whether the file at `path` is the one that was written there, and was not touched since.
    pub(crate) fn is_as_written(&self, path: &[u8], stat: &Stat) -> bool {
        let found = self
            .entries
            .binary_search_by(|entry| entry.path.as_slice().cmp(path));
        found.is_ok_and(|place| self.entries[place].stat == Recorded::of(stat))
            && self.is_believed(stat)
    }

    /// Whether what changes after this shows in another stat.
    pub(crate) fn is_believed(&self, stat: &Stat) -> bool {
        (stat.st_ctime as i64, stat.st_ctime_nsec as i64) < self.index.modified
    }

    /// Whether its index is the file of this number on this device, last modified then.
    pub(crate) fn is_index(&self, device: u64, number: u64, modified: (i64, i64)) -> bool {
        (device, number, modified) == (self.index.device, self.index.number, self.index.modified)
    }

    /// The names that the directory `path` is to hold: of files, and of directories.
    pub(crate) fn names(&self, path: &[u8]) -> (HashSet<&[u8]>, HashSet<&[u8]>) {
        let below = if path.is_empty() {
            Vec::new()
        } else {
            [path, b"/"].concat()
        };
        let (mut files, mut directories) = (HashSet::new(), HashSet::new());
        let mut place = self.entries.partition_point(|entry| entry.path < below);
        while let Some(entry) = self
            .entries
            .get(place)
            .filter(|entry| entry.path.starts_with(&below))
        {
            let rest = &entry.path[below.len()..];
            match rest.iter().position(|byte| *byte == b'/') {
                None if entry.mode & KIND == GITLINK => {
                    directories.insert(rest);
                    place += 1;
                }
                None => {
                    files.insert(rest);
                    place += 1;
                }
                Some(slash) => {
                    directories.insert(&rest[..slash]);
                    let inner = &entry.path[..=below.len() + slash];
                    place += self.entries[place..]
                        .partition_point(|entry| entry.path.starts_with(inner));
                }
            }
        }
        (files, directories)
    }
}
