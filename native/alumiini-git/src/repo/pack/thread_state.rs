//! One thread's part in resolving deltas: an object, and what is made of it.

use std::cmp::Reverse;
use std::sync::Arc;

use git2::{ObjectType, Oid};

use super::deltas::{Deltas, Inflater, LARGE};
use super::header::Delta;
use super::links::Links;
use super::memory::{Charge, Memory};
use super::{checked_size, corrupt, hasher, id};
use crate::error::Result;

/// An object in memory that deltas wait for.
struct Known {
    kind: ObjectType,
    bytes: Vec<u8>,
    _charge: Charge,
}

/// A delta whose base is there.
pub(super) struct Task {
    entry: u32,
    base: Arc<Known>,
}

/// What one thread resolves deltas with.
#[derive(Default)]
pub(super) struct ThreadState {
    pub(super) inflater: Inflater,
    delta: Vec<u8>,
    /// To do next: the last first.
    pub(super) tasks: Vec<Task>,
    /// The entries that it resolved, by their places.
    pub(super) found: Vec<(u32, Oid, ObjectType)>,
    pub(super) links: Links,
}

impl ThreadState {
    /// Resolves one delta, and adds those that wait for what it makes to its tasks. Gives the task
    /// back where it takes a lot of memory and this is not the thread that `leads`.
    pub(super) fn resolve(
        &mut self,
        deltas: &Deltas<'_>,
        memory: &Memory<'_>,
        task: Task,
        leads: bool,
    ) -> Result<Option<Task>> {
        let place = task.entry as usize;
        if !leads && deltas.entries[place].size as usize > LARGE {
            return Ok(Some(task));
        }
        let mut delta = std::mem::take(&mut self.delta);
        deltas.inflate(&mut self.inflater, place, &mut delta)?;
        let parsed =
            Delta::new(&delta).filter(|parsed| parsed.base == task.base.bytes.len() as u64);
        let Some(parsed) = parsed else {
            return Err(corrupt("a delta in it does not fit what it is of"));
        };
        let kind = task.base.kind;
        let size = checked_size(
            Some(kind).filter(|kind| *kind != ObjectType::Blob),
            parsed.result,
        )?;
        if !leads && size > LARGE {
            return Ok(Some(task));
        }
        let charge = memory.charge(size, leads)?;
        let mut bytes = Vec::with_capacity(size);
        if parsed.apply(&task.base.bytes, &mut bytes).is_none() {
            return Err(corrupt("a delta in it does not do what it says"));
        }
        drop(task);
        if delta.capacity() <= LARGE {
            self.delta = delta;
        }
        let mut hash = hasher(kind, size);
        hash.update(&bytes);
        let id = id(hash)?;
        self.links.add(kind, id, &bytes);
        self.found.push((place as u32, id, kind));
        let next = deltas.next(place, id);
        self.push(deltas, next, kind, bytes, charge);
        Ok(None)
    }

    /// Adds the deltas `next`, all of the object that `bytes` are. The one with the most deltas
    /// below it is added first, and so resolved last.
    pub(super) fn push(
        &mut self,
        deltas: &Deltas<'_>,
        mut next: Vec<u32>,
        kind: ObjectType,
        bytes: Vec<u8>,
        charge: Charge,
    ) {
        if next.is_empty() {
            return;
        }
        next.sort_unstable_by_key(|entry| Reverse(deltas.children.weight[*entry as usize]));
        let base = Arc::new(Known {
            kind,
            bytes,
            _charge: charge,
        });
        self.tasks.extend(next.into_iter().map(|entry| Task {
            entry,
            base: base.clone(),
        }));
    }
}
