//! What the objects of a pack name: whether all that they need came with them is told without
//! reading them again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use git2::{ObjectType, Oid};

use crate::repo::raw_object;

/// Ids that were named lately are remembered in so many places: the versions of a tree name nearly
/// the same.
const RECENT: usize = 1 << 12;

/// What some objects name.
#[derive(Debug)]
pub(crate) struct Links {
    /// The trees of commits, what trees hold, what tags are of; and as what they are named.
    pub(crate) named: HashMap<Oid, ObjectType>,
    /// Commits and each of their parents: apart, since those of some need not be there.
    pub(crate) parents: Vec<(Oid, Oid)>,
    /// Something is not as Git writes it, or one object is named as two things. It takes a look at
    /// the wanted commit to tell whether that matters.
    pub(crate) is_odd: bool,
    recent: Box<[(Oid, ObjectType)]>,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            named: HashMap::new(),
            parents: Vec::new(),
            is_odd: false,
            recent: vec![(Oid::ZERO_SHA1, ObjectType::Any); RECENT].into(),
        }
    }
}

impl Links {
    /// Takes up what the object `id` names.
    pub(super) fn add(&mut self, kind: ObjectType, id: Oid, data: &[u8]) {
        let understood = match kind {
            ObjectType::Commit => raw_object::parse_commit(data).map(|commit| {
                self.name(commit.tree, ObjectType::Tree);
                self.parents
                    .extend(commit.parents.into_iter().map(|parent| (id, parent)));
            }),
            // Commits in trees are submodules: theirs is another repository.
            ObjectType::Tree => raw_object::each_entry(data, |entry| {
                if entry.kind != ObjectType::Commit {
                    self.name(entry.id, entry.kind);
                }
            }),
            ObjectType::Tag => {
                raw_object::tagged(data).map(|(target, kind)| self.name(target, kind))
            }
            _ => Some(()),
        };
        self.is_odd |= understood.is_none();
    }

    fn name(&mut self, id: Oid, kind: ObjectType) {
        let bytes = id.as_bytes();
        let recent =
            &mut self.recent[usize::from(u16::from_ne_bytes([bytes[0], bytes[1]])) % RECENT];
        if *recent == (id, kind) {
            return;
        }
        *recent = (id, kind);
        match self.named.entry(id) {
            Entry::Vacant(place) => {
                place.insert(kind);
            }
            Entry::Occupied(place) => self.is_odd |= *place.get() != kind,
        }
    }

    /// Takes over what others name.
    pub(super) fn merge(&mut self, other: Links) {
        self.is_odd |= other.is_odd;
        self.parents.extend(other.parents);
        if self.named.len() < other.named.len() {
            let fewer = std::mem::replace(&mut self.named, other.named);
            self.take(fewer);
        } else {
            self.take(other.named);
        }
    }

    fn take(&mut self, named: HashMap<Oid, ObjectType>) {
        for (id, kind) in named {
            self.is_odd |= *self.named.entry(id).or_insert(kind) != kind;
        }
    }
}
