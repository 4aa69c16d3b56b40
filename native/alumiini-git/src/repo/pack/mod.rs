//! Packs that a remote sends: written to disk as they arrive, and indexed.
//!
//! Not by libgit2, whose indexer can be stopped for ever by two kilobytes, and not by gix-pack's,
//! which keeps every object in memory that deltas still wait for, however many, and does not tell
//! what it has decoded. Here each object is decoded once: whole ones while they arrive, deltas
//! afterwards on all cores. What it takes is bounded before it is taken, a cancel reaches every
//! loop, and what the objects name is collected on the way, so that nobody has to read them again
//! to tell whether anything is missing.
//!
//! What comes out is what `git index-pack` makes of the same bytes. An object that comes twice is
//! in the index twice, as there.

mod arriving;
mod children;
mod deltas;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod header;
mod idx;
pub(crate) mod install;
pub(crate) mod links;
mod memory;
pub(crate) mod reader;
mod resolve;
mod thin;
mod thread_state;
mod turns;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use git2::{ObjectType, Oid};
use tokio::sync::mpsc;

use crate::error::{Error, Key, Kind, Result};
use crate::repo::{git_failure, open};
use crate::task::job::Job;
use crate::task::progress::Stats;
use links::Links;
pub(crate) use turns::Turns;

/// Below `.git`: where packs are until they are whole.
pub(crate) const INCOMING: &str = "alumiini-incoming";

/// Bytes of one file. A pack of kilobytes can hold files of gigabytes, and a checkout has each in
/// memory once. Lower in the tests' builds, which would rather not make such a file.
pub(crate) const MAX_FILE: usize = if cfg!(fuzzing) {
    1 << 20
} else if cfg!(feature = "fault-injection") {
    64 << 20
} else {
    512 << 20
};
/// Bytes of one commit, tree or tag, which is looked into.
pub(crate) const MAX_LISTING: usize = if cfg!(feature = "fault-injection") {
    16 << 20
} else {
    128 << 20
};
/// Objects of one pack, each of which takes less than 100 bytes of memory.
const MAX_OBJECTS: u32 = 1 << 24;

/// A pack that has arrived whole and lies in [`INCOMING`].
#[derive(Debug)]
pub(crate) struct Pack {
    /// `pack-<checksum>`; none where the remote had nothing to send.
    pub(crate) name: Option<String>,
    pub(crate) stats: Stats,
    /// Its objects, sorted by id.
    objects: Vec<(Oid, ObjectType)>,
    /// What they name.
    pub(crate) links: Links,
}

impl Pack {
    /// What the object `id` is, where it is in the pack.
    pub(crate) fn kind(&self, id: Oid) -> Option<ObjectType> {
        let place = self.objects.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.objects[place].1)
    }
}

/// An object of a pack.
#[derive(Debug, Clone)]
struct Entry {
    offset: u64,
    /// Of its bytes in the pack.
    crc: u32,
    /// Bytes of what is deflated: its own, or a delta's.
    size: u32,
    /// Bytes before that.
    head: u8,
    base: Base,
    /// `Any` and zero for a delta until it is resolved.
    kind: ObjectType,
    id: Oid,
}

/// What an entry is a delta of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    None,
    /// An entry before it, by its place.
    Entry(u32),
    Id(Oid),
}

/// Indexes the pack that comes in `chunks` for the repository at `git_dir`, whose objects complete
/// a thin one. It is whole if `complete` is set by the time they end. On a thread of the runtime's
/// that may block.
pub(crate) fn index(
    git_dir: &Path,
    chunks: mpsc::Receiver<Bytes>,
    complete: &AtomicBool,
    turns: &Turns,
    job: &Job,
) -> Result<Pack> {
    let dir = incoming(git_dir);
    fs::create_dir_all(&dir).map_err(|error| Error::io("make", &dir, &error))?;
    let draft = dir.join("draft.pack");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&draft)
        .map_err(|error| Error::io("make", &draft, &error))?;
    let arrived = arriving::read(chunks, complete, &mut file, job)?;
    if arrived.entries.is_empty() {
        return Ok(Pack {
            name: None,
            stats: arrived.stats,
            objects: Vec::new(),
            links: arrived.links,
        });
    }
    let stats = arrived.stats;
    let repo = open::managed(git_dir)?;
    let odb = repo.odb().map_err(git_failure("open the objects"))?;
    let resolved = resolve::run(arrived, &file, &odb, turns, job)?;
    let checksum = match resolved.added {
        0 => resolved.checksum,
        _ => thin::seal(&mut file, resolved.end, resolved.entries.len() as u32, job)?,
    };
    let mut entries = resolved.entries;
    entries.sort_unstable_by_key(|entry| (entry.id, entry.offset));
    job.check()?;
    let name = format!(
        "pack-{}",
        Oid::from_bytes(&checksum).map_err(git_failure("name a pack"))?
    );
    let index = dir.join(&name).with_extension("idx");
    let pack = index.with_extension("pack");
    idx::write(&index, &entries, &checksum)
        .and_then(|()| fs::rename(&draft, &pack))
        .and_then(|()| fs::set_permissions(&index, Permissions::from_mode(0o444)))
        .and_then(|()| fs::set_permissions(&pack, Permissions::from_mode(0o444)))
        .map_err(|error| write_failed(&error))?;
    Ok(Pack {
        name: Some(name),
        stats,
        objects: entries
            .into_iter()
            .map(|entry| (entry.id, entry.kind))
            .collect(),
        links: resolved.links,
    })
}

/// A place below `.git` that [`index`] uses, for those who clean up.
pub(crate) fn incoming(git_dir: &Path) -> PathBuf {
    git_dir.join(INCOMING)
}

/// `size` bytes of an object, or of a delta where `kind` is none, if they may be had in memory.
fn checked_size(kind: Option<ObjectType>, size: u64) -> Result<usize> {
    let (most, what) = match kind {
        None | Some(ObjectType::Blob) => (MAX_FILE, "file"),
        Some(_) => (MAX_LISTING, "commit, tree or tag"),
    };
    match usize::try_from(size) {
        Ok(size) if size <= most => Ok(size),
        _ => {
            let message = format!(
                "the remote sent an object of {size} bytes; a {what} here has at most {most}"
            );
            Err(Error::new(Kind::TooLarge, message).with(Key::Limit, most as u64))
        }
    }
}

/// Makes the id of an object of `size` bytes, which are to be given to it. Collisions that were
/// made on purpose are detected, as in Git.
fn hasher(kind: ObjectType, size: usize) -> sha1dc::Hasher {
    let mut hasher = sha1dc::Hasher::new();
    hasher.update(format!("{kind} {size}\0").as_bytes());
    hasher
}

fn id(hasher: sha1dc::Hasher) -> Result<Oid> {
    let digest = hasher
        .finalize()
        .map_err(|_| corrupt("an object in it was made to have the id of another"))?;
    Oid::from_bytes(digest.as_ref()).map_err(git_failure("name an object"))
}

/// The caller knows better why the chunks ended; this is what it replaces.
fn cut() -> Error {
    Error::new(Kind::Network, "the pack ended before it was whole")
}

fn corrupt(why: &str) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("the pack that the remote sent is damaged: {why}"),
    )
}

fn write_failed(error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot write the pack: {error}"))
}

/// Reads `length` bytes at `offset` into `bytes`.
fn read_at(file: &File, offset: u64, length: usize, bytes: &mut Vec<u8>) -> Result<()> {
    use std::os::unix::fs::FileExt;
    bytes.clear();
    bytes.resize(length, 0);
    file.read_exact_at(bytes, offset)
        .map_err(|error| Error::new(Kind::Io, format!("cannot read the pack: {error}")))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
