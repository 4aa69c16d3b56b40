//! A pack on its way into a repository: indexed as it arrives, apart from the objects, then moved in.
//!
//! `.git/shallow` names the commits that a pack leaves without parents, so it is written before the pack is moved in: whenever a kill
//! comes, `git fsck` finds no commit whose parents are missing without being told so.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use git2::{Indexer, ObjectType, Odb, OdbLookupFlags, Oid, Repository};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::answer::{Name, Phase, Stats};
use crate::error::{Error, Hint, Kind, Result};
use crate::job::Job;
use crate::ops::pool::Pool;
use crate::repo::raw_object::{self, RawEntry};
use crate::repo::{git_failure, kind_of, marker, open, sound_tree};

/// Below `.git`: where packs are until they are whole.
pub(crate) const INCOMING: &str = "alumiini-incoming";

/// Bytes of one file. A pack of kilobytes can hold files of gigabytes, and a checkout has each in memory once. Lower in the tests'
/// build, which would rather not make such a file.
pub(crate) const MAX_FILE: usize = if cfg!(feature = "fault-injection") {
    64 << 20
} else {
    512 << 20
};

/// A pack that has arrived whole and lies in [`INCOMING`].
#[derive(Debug)]
pub(crate) struct Pack {
    /// `pack-<hash>`; none where the remote had nothing to send.
    name: Option<String>,
    pub(crate) stats: Stats,
}

/// What a fetch changes in `.git/shallow`.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    pub(crate) shallow: Vec<Oid>,
    pub(crate) unshallow: Vec<Oid>,
}

/// Indexes the pack that comes in `chunks`. It is whole if `complete` is set by the time they end. On a thread of the runtime's that
/// may block; `resolving` bounds how many packs have their deltas resolved at once.
pub(crate) fn index(
    git_dir: &Path,
    mut chunks: mpsc::Receiver<Bytes>,
    complete: &AtomicBool,
    resolving: &Pool,
    job: &Job,
) -> Result<Pack> {
    let dir = git_dir.join(INCOMING);
    fs::create_dir_all(&dir).map_err(|error| failed("make", &dir, &error))?;
    let mut head = Vec::new();
    while head.len() < 12 {
        match chunks.blocking_recv() {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    let mut stats = Stats {
        bytes: head.len() as u64,
        objects: 0,
    };
    stats.objects = match head.get(..12) {
        Some([b'P', b'A', b'C', b'K', _, _, _, _, count @ ..]) => {
            count.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        }
        None if !complete.load(Ordering::Acquire) => return Err(cut()),
        _ => return Err(corrupt("it does not begin like a pack")),
    };
    if stats.objects == 0 {
        while chunks.blocking_recv().is_some() {}
        return if complete.load(Ordering::Acquire) {
            Ok(Pack { name: None, stats })
        } else {
            Err(cut())
        };
    }

    // libgit2 leaves counting the bytes to who receives them.
    let arrived = Cell::new(stats.bytes);
    let mut receiving = true;
    let repo = open::managed(git_dir)?;
    let odb = repo.odb().map_err(git_failure("open the objects"))?;
    // No connectivity check: libgit2's refuses packs of shallow clones. `verify` does ours.
    let mut indexer = Indexer::new(Some(&odb), &dir, 0, false).map_err(git_failure("index the pack"))?;
    indexer.progress(|progress| {
        job.reach("index");
        let (received, total) = (progress.received_objects() as u64, progress.total_objects() as u64);
        if receiving {
            job.progress(Phase::Receive, received, total, arrived.get());
            receiving = received < total;
        } else {
            let (indexed, deltas) = (progress.indexed_deltas() as u64, progress.total_deltas() as u64);
            job.progress(Phase::Index, indexed, deltas, arrived.get());
        }
        !job.is_cancelled()
    });
    let mut room = Room::of(&dir)?;
    let mut chunk = Bytes::from(head);
    loop {
        room.reserve(chunk.len())?;
        indexer
            .write_all(&chunk)
            .map_err(|error| indexing_failed(&error, job))?;
        job.reach("pack");
        match chunks.blocking_recv() {
            Some(next) => chunk = next,
            None => break,
        }
        stats.bytes += chunk.len() as u64;
        arrived.set(stats.bytes);
    }
    if !complete.load(Ordering::Acquire) {
        return Err(cut());
    }
    // libgit2 caches up to 16 MiB for each pack whose deltas it resolves: a few at a time, which needs no remote any more.
    let _place = Handle::current().block_on(resolving.take(1))?;
    job.check()?;
    let name = indexer
        .commit()
        .map_err(|error| indexing_failed(&io::Error::other(error), job))?;
    Ok(Pack {
        name: Some(format!("pack-{name}")),
        stats,
    })
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

fn indexing_failed(error: &io::Error, job: &Job) -> Error {
    if let Err(cancelled) = job.check() {
        return cancelled;
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<git2::Error>()) {
        Some(error) => match kind_of(error) {
            Kind::Io => Error::new(Kind::Io, format!("cannot write the pack: {}", error.message())),
            _ => corrupt(error.message()),
        },
        None => Error::new(Kind::Io, format!("cannot write the pack: {error}")),
    }
}

/// Disk space for the pack. libgit2 writes packs through a memory map, where a full disk is no error but a SIGBUS; asking the file
/// system for the blocks first makes it an error.
struct Room {
    file: Option<fs::File>,
    used: u64,
}

impl Room {
    fn of(dir: &Path) -> Result<Room> {
        let mut entries = fs::read_dir(dir)
            .map_err(|error| failed("list", dir, &error))?
            .flatten();
        let pack = entries.find(|entry| entry.file_name().as_encoded_bytes().starts_with(b"pack_git2_"));
        let file = pack.and_then(|pack| fs::OpenOptions::new().write(true).open(pack.path()).ok());
        Ok(Room { file, used: 0 })
    }

    #[cfg(target_os = "linux")]
    fn reserve(&mut self, length: usize) -> Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        // libgit2 extends the file by whole pages.
        const PAGE: u64 = 1 << 16;
        if let Some(file) = &self.file {
            match fallocate(file, FallocateFlags::KEEP_SIZE, self.used, length as u64 + PAGE) {
                Ok(()) => self.used += length as u64,
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                    return Err(Error::new(
                        Kind::Io,
                        format!("cannot write the pack: {}", io::Error::from(errno)),
                    ));
                }
                // A file system that cannot reserve.
                Err(_) => self.file = None,
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&mut self, length: usize) -> Result<()> {
        self.used += length as u64;
        let _ = &self.file;
        Ok(())
    }
}

/// Moves a pack in and brings `.git/shallow` up to date, in the order that keeps every moment between sound; then checks that
/// all that `want` needs is there. What is not is taken out again.
pub(crate) fn install(git_dir: &Path, pack: &Pack, boundary: &Boundary, want: Oid, job: &Job) -> Result<()> {
    let before = open::shallow(git_dir)?;
    let mut union: Vec<Oid> = before.clone();
    union.extend(boundary.shallow.iter().filter(|oid| !before.contains(oid)));
    let gone: HashSet<Oid> = boundary.unshallow.iter().copied().collect();
    let after: Vec<Oid> = union.iter().copied().filter(|oid| !gone.contains(oid)).collect();

    let repo = open::managed(git_dir)?;
    let known = repo.odb().map_err(git_failure("open the objects"))?;
    // The first look loads the list of packs; from then on this handle, asked not to refresh, knows the old ones only.
    let held = known.exists(want);
    if !held && pack.name.is_none() {
        // Nothing was changed yet. A server that is behind the one that listed the commit has nothing to send.
        let message = format!("the remote sent nothing, though it lists {want}");
        return Err(Error::new(Kind::Network, message).hinted(Hint::Moved));
    }
    write_shallow(git_dir, &before, &union)?;
    job.reach("shallow");
    if let Some(name) = &pack.name {
        // The index last: a pack counts from when its index is there.
        for extension in ["pack", "idx"] {
            let file = Path::new(name).with_extension(extension);
            let (from, to) = (
                git_dir.join(INCOMING).join(&file),
                git_dir.join("objects/pack").join(&file),
            );
            fs::rename(&from, &to).map_err(|error| failed("move the pack to", &to, &error))?;
        }
    }
    let _ = fs::remove_dir_all(git_dir.join(INCOMING));
    job.reach("installed");
    // Before the walk: libgit2 shows a commit that the file names without its parents.
    write_shallow(git_dir, &union, &after)?;
    let fresh = open::managed(git_dir)?;
    verify(&fresh, &known, want, &boundary.unshallow, job).inspect_err(|_| {
        if let Some(name) = &pack.name {
            for extension in ["idx", "pack"] {
                let _ = fs::remove_file(git_dir.join("objects/pack").join(name).with_extension(extension));
            }
        }
        let _ = write_shallow(git_dir, &after, &before);
    })
}

fn write_shallow(git_dir: &Path, is: &[Oid], wanted: &[Oid]) -> Result<()> {
    let file = git_dir.join("shallow");
    if is == wanted {
        return Ok(());
    }
    if wanted.is_empty() {
        return fs::remove_file(&file).map_err(|error| failed("remove", &file, &error));
    }
    let text: String = wanted.iter().map(|oid| format!("{oid}\n")).collect();
    marker::write_atomically(&file, text.as_bytes())
}

/// Walks what is new from `want`: every commit down to the boundary or to what `known` holds, their trees, their blobs.
fn verify(repo: &Repository, known: &Odb<'_>, want: Oid, unshallow: &[Oid], job: &Job) -> Result<()> {
    let odb = repo.odb().map_err(git_failure("open the objects"))?;
    let is_known = |oid: Oid| known.exists_ext(oid, OdbLookupFlags::NO_REFRESH);
    let shallow: HashSet<Oid> = open::shallow(repo.path())?.into_iter().collect();
    let lost = |oid: Oid, error: Error| match odb.exists(oid) {
        true => error.context("the remote sent something that cannot be read"),
        false => {
            let message = format!("the remote did not send everything: {oid} is missing");
            Error::new(Kind::Corrupt, message)
        }
    };
    let mut seen: HashSet<Oid> = HashSet::new();
    let mut commits = vec![want];
    // These were known without their parents.
    let reopened: HashSet<Oid> = unshallow.iter().copied().collect();
    commits.extend(&reopened);
    let mut trees = Vec::new();
    while let Some(oid) = commits.pop() {
        if !seen.insert(oid) || is_known(oid) && !reopened.contains(&oid) {
            continue;
        }
        job.check()?;
        let commit = raw_object::read_commit(&odb, oid).map_err(|error| lost(oid, error))?;
        trees.push(commit.tree);
        if !shallow.contains(&oid) {
            commits.extend(commit.parents);
        }
    }
    while let Some(oid) = trees.pop() {
        if !seen.insert(oid) || is_known(oid) {
            continue;
        }
        job.check()?;
        let entry = |RawEntry { kind, name, id }: RawEntry<'_>| {
            match kind {
                ObjectType::Tree => trees.push(id),
                // Not only whether it is there: what a tree calls a file may be anything.
                ObjectType::Blob => match odb.read_header(id) {
                    Ok((size, ObjectType::Blob)) if size > MAX_FILE => return Err(file_too_large(name, size)),
                    Ok((_, ObjectType::Blob)) => {}
                    Ok((_, other)) => {
                        let name = String::from_utf8_lossy(name);
                        return Err(raw_object::damaged(
                            id,
                            &format!("it is a {other}, and `{name}` is to be a file"),
                        ));
                    }
                    Err(error) => return Err(lost(id, raw_object::unreadable(id)(error))),
                },
                // Commits are submodules: theirs is another repository.
                _ => {}
            }
            Ok(())
        };
        raw_object::read_tree(&odb, oid, entry)
            .map_err(|error| if odb.exists(oid) { error } else { lost(oid, error) })?;
    }
    let tip = raw_object::read_commit(&odb, want).map_err(|error| lost(want, error))?;
    sound_tree::check(repo, tip.tree, job)
}

pub(crate) fn file_too_large(name: &[u8], size: usize) -> Error {
    let name = String::from_utf8_lossy(name);
    let message = format!("the file `{name}` has {size} bytes; a file here has at most {MAX_FILE}");
    Error::new(Kind::TooLarge, message).with("limit", MAX_FILE as u64)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot {what} {}: {error}", path.display())).with("path", Name::of(path))
}

/// A place below `.git` that [`index`] uses, for those who clean up.
pub(crate) fn incoming(git_dir: &Path) -> PathBuf {
    git_dir.join(INCOMING)
}
