//! The objects of a pack by what is a delta of what, and what each holds.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use git2::Oid;

use super::children::Children;
use super::{Base, Entry, read_at};
use crate::error::{Error, Kind, Result};

/// What makes more bytes is left to the leading thread, and no buffer with more is kept.
pub(super) const LARGE: usize = 8 << 20;

/// A pack in `file` whose deltas are not resolved yet.
pub(super) struct Deltas<'a> {
    file: &'a File,
    pub(super) entries: &'a [Entry],
    /// Where the last entry ends.
    end: u64,
    pub(super) children: Children,
    /// Deltas of objects that are known by id only, until those are found; and how many ids that
    /// are.
    waiting: Mutex<HashMap<Oid, Vec<u32>>>,
    ids_waiting: AtomicUsize,
}

/// What inflates, and its buffer. Each thread has one.
pub(super) struct Inflater {
    inflate: Decompress,
    packed: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater {
            inflate: Decompress::new(true),
            packed: Vec::new(),
        }
    }
}

impl<'a> Deltas<'a> {
    pub(super) fn new(entries: &'a [Entry], end: u64, file: &'a File) -> Deltas<'a> {
        let mut waiting: HashMap<Oid, Vec<u32>> = HashMap::new();
        for (place, entry) in entries.iter().enumerate() {
            if let Base::Id(id) = entry.base {
                waiting.entry(id).or_default().push(place as u32);
            }
        }
        Deltas {
            file,
            entries,
            end,
            children: Children::new(entries),
            ids_waiting: AtomicUsize::new(waiting.len()),
            waiting: Mutex::new(waiting),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Oid, Vec<u32>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects that are not there yet and that deltas are of, by the first of these deltas.
    pub(super) fn wanted(&self) -> Vec<Oid> {
        let mut wanted: Vec<(u32, Oid)> = self
            .waiting()
            .iter()
            .map(|(id, deltas)| (deltas[0], *id))
            .collect();
        wanted.sort_unstable();
        wanted.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether the object `id` is not there yet, and deltas are of it.
    pub(super) fn is_wanted(&self, id: Oid) -> bool {
        self.waiting().contains_key(&id)
    }

    /// The deltas of the entry at `place`, whose id is `id`.
    pub(super) fn next(&self, place: usize, id: Oid) -> Vec<u32> {
        let mut next = self.children.of(place).to_vec();
        next.append(&mut self.take_waiting(id));
        next
    }

    /// Takes the deltas of the object `id`, which is there now.
    pub(super) fn take_waiting(&self, id: Oid) -> Vec<u32> {
        if self.ids_waiting.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut waiting = self.waiting();
        let deltas = waiting.remove(&id).unwrap_or_default();
        self.ids_waiting.store(waiting.len(), Ordering::Release);
        deltas
    }

    /// Inflates what the entry at `place` holds into `out`, in place of what is there.
    pub(super) fn inflate(
        &self,
        inflater: &mut Inflater,
        place: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let entry = &self.entries[place];
        let end = self
            .entries
            .get(place + 1)
            .map_or(self.end, |next| next.offset);
        let begin = entry.offset + u64::from(entry.head);
        read_at(
            self.file,
            begin,
            (end - begin) as usize,
            &mut inflater.packed,
        )?;
        out.clear();
        // One more, since nothing is inflated into no room, not even nothing.
        out.reserve_exact(entry.size as usize + 1);
        inflater.inflate.reset(true);
        let whole = inflater
            .inflate
            .decompress_vec(&inflater.packed, out, FlushDecompress::Finish);
        // It was inflated before, as it arrived: what differs now is the disk.
        if !matches!(whole, Ok(Status::StreamEnd)) || out.len() != entry.size as usize {
            return Err(Error::new(
                Kind::Io,
                "cannot read the pack back as it was written",
            ));
        }
        if inflater.packed.capacity() > LARGE {
            inflater.packed = Vec::new();
        }
        Ok(())
    }
}
