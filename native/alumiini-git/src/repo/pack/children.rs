//! Which objects of a pack are deltas of which.

use super::{Base, Entry};

/// Which entries are deltas of which, where that is known from their places.
pub(super) struct Children {
    /// For each entry where its own begin in `list`; and the end.
    begin: Vec<u32>,
    list: Vec<u32>,
    /// How many entries are below each, itself included.
    pub(super) weight: Vec<u32>,
}

impl Children {
    pub(super) fn new(entries: &[Entry]) -> Children {
        let mut begin = vec![0u32; entries.len() + 1];
        let mut weight = vec![1u32; entries.len()];
        // From the end: what an entry is a delta of comes before it.
        for (place, entry) in entries.iter().enumerate().rev() {
            if let Base::Entry(base) = entry.base {
                begin[base as usize + 1] += 1;
                weight[base as usize] += weight[place];
            }
        }
        for place in 1..begin.len() {
            begin[place] += begin[place - 1];
        }
        let mut next = begin.clone();
        let mut list = vec![0; begin[entries.len()] as usize];
        for (place, entry) in entries.iter().enumerate() {
            if let Base::Entry(base) = entry.base {
                list[next[base as usize] as usize] = place as u32;
                next[base as usize] += 1;
            }
        }
        Children {
            begin,
            list,
            weight,
        }
    }

    /// The entries that are deltas of `entry`.
    pub(super) fn of(&self, entry: usize) -> &[u32] {
        &self.list[self.begin[entry] as usize..self.begin[entry + 1] as usize]
    }
}
