//! Makes a work tree equal a commit's tree, or tells whether it does.
//!
//! Done here rather than by libgit2's checkout, because one walk answers both questions: libgit2 keeps nested repositories when it
//! removes untracked files, leaves the recorded stat of a file alone where only that changed (so a volume mounted
//! anew would be hashed at every sync), and trusts time and size where we also ask for ctime and inode. What is written
//! are the committed bytes: no filters, no end-of-line conversion.
//!
//! Every step is relative to an open directory and follows no link.

#![allow(clippy::unnecessary_cast, reason = "the types of a stat differ between systems")]

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Index, IndexEntry, IndexTime, ObjectType, Odb, Oid, Repository};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::answer::{Name, Phase};
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::repo::{BUILD_PREFIX, git_failure};

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const KIND: u32 = 0o170000;
const FILE: u32 = 0o100000;
const LINK: u32 = 0o120000;
const GITLINK: u32 = 0o160000;
/// The index flag of `git update-index --assume-unchanged`, which libgit2 carries over and which makes `git status` blind.
const UNSEEN: u16 = 0x8000;
/// A bound on what one repository may make us write and remember.
const MOST_FILES: usize = 1_000_000;

/// Whether the work tree is exactly what `tree` says, as far as stat tells; only files whose stat differs from what the index
/// recorded are read. Where they turn out to be unchanged, the new stat is recorded.
pub(crate) fn is_settled(repo: &Repository, work: &Path, tree: Oid, job: &Job) -> Result<bool> {
    let Ok(mut index) = repo.index() else { return Ok(false) };
    let key = |entry: &IndexEntry| (entry.path.clone(), entry.id, entry.mode, entry.flags & UNSEEN);
    let recorded: Vec<_> = index.iter().map(|entry| key(&entry)).collect();
    read_tree(repo, &mut index, tree)?;
    let wanted: Vec<IndexEntry> = index.iter().collect();
    // Somebody staged something.
    if recorded.len() != wanted.len() || recorded.iter().zip(&wanted).any(|(was, is)| *was != key(is)) {
        return Ok(false);
    }
    let mut walk = Walk::new(repo, work, job, wanted, false)?;
    if !walk.run()? {
        return Ok(false);
    }
    walk.record(index)?;
    Ok(true)
}

/// Makes the work tree equal `tree`: writes what is missing or differs, removes everything else, records the stat of all files.
/// May be interrupted anywhere and called again.
pub(crate) fn settle(repo: &Repository, work: &Path, tree: Oid, job: &Job) -> Result<()> {
    // The index is derived from the tree: one that cannot be read is no reason to stop.
    let mut index = match repo.index() {
        Ok(index) => index,
        Err(_) => {
            let file = repo.path().join("index");
            let removed = match std::fs::symlink_metadata(&file) {
                Ok(found) if found.is_dir() => std::fs::remove_dir_all(&file),
                _ => std::fs::remove_file(&file),
            };
            removed.map_err(|error| failed("remove the damaged", &file, &error))?;
            repo.index().map_err(git_failure("open the index"))?
        }
    };
    read_tree(repo, &mut index, tree)?;
    let wanted: Vec<IndexEntry> = index.iter().collect();
    if wanted.len() > MOST_FILES {
        let message = format!(
            "the commit has {} files; a work tree here has at most {MOST_FILES}",
            wanted.len()
        );
        return Err(Error::new(Kind::TooLarge, message).with("limit", MOST_FILES as u64));
    }
    let mut walk = Walk::new(repo, work, job, wanted, true)?;
    let kept = walk.keeps;
    job.progress(Phase::Checkout, 0, walk.wanted.len() as u64, 0);
    walk.run()?;
    job.progress(Phase::Checkout, walk.done, walk.done, walk.bytes);
    if walk.keeps != kept {
        walk.keeps.record(repo)?;
    }
    walk.record(index)?;
    job.reach("index-written");
    Ok(())
}

fn read_tree(repo: &Repository, index: &mut Index, tree: Oid) -> Result<()> {
    let fail = git_failure("read the commit's tree");
    let tree = repo.find_tree(tree).map_err(&fail)?;
    index.read_tree(&tree).map_err(&fail)?;
    let odd = |entry: &IndexEntry| entry.flags & UNSEEN != 0 || entry.mode != canonical(entry.mode);
    let odd: Vec<IndexEntry> = index.iter().filter(odd).collect();
    for mut entry in odd {
        entry.flags &= !UNSEEN;
        entry.mode = canonical(entry.mode);
        index.add(&entry).map_err(&fail)?;
    }
    Ok(())
}

/// The modes that Git knows: older tools wrote others, such as 100664, which Git takes as these. One of no kind is a submodule to Git.
fn canonical(mode: u32) -> u32 {
    match mode & KIND {
        LINK => LINK,
        FILE if mode & 0o100 != 0 => 0o100755,
        FILE => 0o100644,
        _ => GITLINK,
    }
}

/// What a file system can keep of a mode, as `core.filemode` and `core.symlinks` have it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Keeps {
    executable: bool,
    links: bool,
}

impl Keeps {
    fn of(repo: &Repository) -> Keeps {
        let config = repo.config().and_then(|mut config| config.snapshot());
        let is = |key| config.as_ref().ok().and_then(|config| config.get_bool(key).ok());
        Keeps {
            executable: is("core.filemode").unwrap_or(true),
            links: is("core.symlinks").unwrap_or(true),
        }
    }

    /// Notes in the repository what was found out, which is for every `git` that comes here, too.
    fn record(self, repo: &Repository) -> Result<()> {
        let fail = git_failure("write the repository's config");
        let mut config = repo.config().map_err(&fail)?;
        for (key, value) in [("core.filemode", self.executable), ("core.symlinks", self.links)] {
            if !value {
                config.set_bool(key, false).map_err(&fail)?;
            }
        }
        Ok(())
    }
}

struct Walk<'a> {
    odb: Odb<'a>,
    work: PathBuf,
    job: &'a Job,
    wanted: Vec<IndexEntry>,
    /// When the index was written. A file that is not older may have changed after its stat was recorded without its
    /// time telling ("racy git"), so its contents are compared.
    indexed_at: (i64, i64),
    /// Put right what differs, rather than stop at it.
    mend: bool,
    keeps: Keeps,
    /// Entries whose stat has to be recorded, by their place in `wanted`.
    fresh: Vec<usize>,
    done: u64,
    bytes: u64,
}

impl<'a> Walk<'a> {
    fn new(repo: &'a Repository, work: &Path, job: &'a Job, wanted: Vec<IndexEntry>, mend: bool) -> Result<Walk<'a>> {
        let indexed_at = match rustix::fs::stat(repo.path().join("index")) {
            Ok(stat) => (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            Err(_) => (0, 0),
        };
        let odb = repo.odb().map_err(git_failure("open the objects"))?;
        Ok(Walk {
            odb,
            work: work.to_owned(),
            job,
            wanted,
            indexed_at,
            mend,
            keeps: Keeps::of(repo),
            fresh: Vec::new(),
            done: 0,
            bytes: 0,
        })
    }

    fn run(&mut self) -> Result<bool> {
        let root = rustix::fs::open(&self.work, DIR & !OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| failed("open", &self.work, &errno.into()))?;
        self.directory(root.as_fd(), 0, 0..self.wanted.len())
    }

    /// Records the stat of what was written or found unchanged. An index that is still right is not written again.
    fn record(self, mut index: Index) -> Result<()> {
        if self.fresh.is_empty() && !self.mend {
            return Ok(());
        }
        for place in self.fresh {
            index
                .add(&self.wanted[place])
                .map_err(git_failure("record the work tree in the index"))?;
        }
        index.write().map_err(git_failure("write the index"))
    }

    /// One directory: `range` are the wanted entries below it, whose first `prefix` bytes of path are its own name.
    /// False where something differs and `mend` is off.
    fn directory(&mut self, dir: BorrowedFd<'_>, prefix: usize, range: Range<usize>) -> Result<bool> {
        let mut present = self.list(dir, prefix, range.start)?;
        if prefix == 0 {
            let wanted = self.names(prefix, range.clone());
            let is_build = |name: &[u8]| name.starts_with(BUILD_PREFIX.as_bytes()) && !wanted.contains(name);
            present.retain(|name, _| name != b".git" && !is_build(name));
        }
        if self.mend {
            // Before anything is written, so that what goes makes room for what comes.
            let wanted = self.names(prefix, range.clone());
            for name in present.keys().filter(|name| !wanted.contains(name.as_slice())) {
                self.remove(dir, name)?;
            }
            present.retain(|name, _| wanted.contains(name.as_slice()));
        }
        let mut place = range.start;
        while place < range.end {
            self.job.check()?;
            let path = &self.wanted[place].path;
            let rest = &path[prefix..];
            let slash = rest.iter().position(|byte| *byte == b'/');
            let name = rest[..slash.unwrap_or(rest.len())].to_vec();
            self.allowed(&name, place)?;
            let kind = present.remove(&name);
            let next = match slash {
                None => {
                    if !self.leaf(dir, &name, kind, place)? {
                        return Ok(false);
                    }
                    place + 1
                }
                Some(slash) => {
                    let inner = prefix + slash + 1;
                    let below = &path[..inner];
                    let end =
                        place + self.wanted[place..range.end].partition_point(|entry| entry.path.starts_with(below));
                    let Some(sub) = self.enter(dir, &name, kind)? else {
                        return Ok(false);
                    };
                    if !self.directory(sub.as_fd(), inner, place..end)? {
                        return Ok(false);
                    }
                    end
                }
            };
            place = next;
        }
        Ok(present.is_empty())
    }

    /// The names that the wanted entries `range` have in their directory.
    fn names(&self, prefix: usize, range: Range<usize>) -> HashSet<&[u8]> {
        let mut names = HashSet::new();
        let mut place = range.start;
        while place < range.end {
            let path = &self.wanted[place].path;
            let length = path[prefix..].iter().position(|byte| *byte == b'/');
            place += match length {
                None => 1,
                Some(length) => {
                    let below = &path[..=prefix + length];
                    self.wanted[place..range.end].partition_point(|entry| entry.path.starts_with(below))
                }
            };
            names.insert(&path[prefix..length.map_or(path.len(), |length| prefix + length)]);
        }
        names
    }

    fn list(&self, dir: BorrowedFd<'_>, prefix: usize, place: usize) -> Result<HashMap<Vec<u8>, FileType>> {
        let shown = || match self.wanted.get(place) {
            Some(entry) => self.work.join(OsStr::from_bytes(&entry.path[..prefix])),
            None => self.work.clone(),
        };
        let fail = |errno: Errno| failed("list", &shown(), &errno.into());
        let mut names = HashMap::new();
        for entry in Dir::read_from(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.insert(name.to_vec(), entry.file_type());
            }
        }
        Ok(names)
    }

    /// libgit2 refuses such names when it reads the tree into the index; this is where a miss would do harm.
    fn allowed(&self, name: &[u8], place: usize) -> Result<()> {
        if name.is_empty() || name == b"." || name == b".." || name.eq_ignore_ascii_case(b".git") {
            let path = String::from_utf8_lossy(&self.wanted[place].path);
            return Err(Error::new(
                Kind::UnsafePath,
                format!("the commit holds the path `{path}`, which may not be checked out"),
            ));
        }
        Ok(())
    }

    /// Opens the wanted directory `name`, made anew where something else has its place.
    fn enter(&mut self, dir: BorrowedFd<'_>, name: &[u8], kind: Option<FileType>) -> Result<Option<OwnedFd>> {
        let os = OsStr::from_bytes(name);
        if kind.is_some() {
            match rustix::fs::openat(dir, os, DIR, Mode::empty()) {
                Ok(sub) => return Ok(Some(sub)),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK | Errno::NOENT) => {}
                Err(errno) => return Err(failed("open", &self.work.join(os), &errno.into())),
            }
        }
        if !self.mend {
            return Ok(None);
        }
        if kind.is_some() {
            self.remove(dir, name)?;
        }
        let fail = |errno: Errno| failed("make", &self.work.join(os), &errno.into());
        rustix::fs::mkdirat(dir, os, Mode::from_raw_mode(0o777)).map_err(fail)?;
        rustix::fs::openat(dir, os, DIR, Mode::empty()).map(Some).map_err(fail)
    }

    fn leaf(&mut self, dir: BorrowedFd<'_>, name: &[u8], kind: Option<FileType>, place: usize) -> Result<bool> {
        let os = OsStr::from_bytes(name);
        if self.wanted[place].mode & KIND == GITLINK {
            // A submodule that is not checked out is an empty directory.
            let Some(sub) = self.enter(dir, name, kind)? else {
                return Ok(false);
            };
            return self.directory(sub.as_fd(), self.wanted[place].path.len(), place..place);
        }
        if kind.is_some() {
            match rustix::fs::statat(dir, os, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    if self.as_recorded(place, &stat) {
                        self.done += 1;
                        return Ok(true);
                    }
                    if self.unchanged(dir, os, place, &stat)? {
                        self.note(place, &stat);
                        return Ok(true);
                    }
                    if self.mend {
                        self.remove(dir, name)?;
                    }
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("look at", &self.work.join(os), &errno.into())),
            }
        }
        if !self.mend {
            return Ok(false);
        }
        let stat = self.write(dir, os, place)?;
        self.note(place, &stat);
        self.job.reach("checkout");
        self.job
            .progress(Phase::Checkout, self.done, self.wanted.len() as u64, self.bytes);
        Ok(true)
    }

    /// The stat is the one recorded, and old enough to be believed.
    fn as_recorded(&self, place: usize, stat: &Stat) -> bool {
        let entry = &self.wanted[place];
        let at = |time: &IndexTime| (i64::from(time.seconds()), i64::from(time.nanoseconds()));
        let changed = (stat.st_mtime as i32 as i64, stat.st_mtime_nsec as i64);
        at(&entry.mtime) == changed
            && at(&entry.ctime) == (stat.st_ctime as i32 as i64, stat.st_ctime_nsec as i64)
            && entry.file_size == stat.st_size as u32
            && entry.ino == stat.st_ino as u32
            && self.same_kind(entry.mode, stat)
            && changed < self.indexed_at
    }

    /// Reads the file and compares it with the blob.
    fn unchanged(&self, dir: BorrowedFd<'_>, name: &OsStr, place: usize, stat: &Stat) -> Result<bool> {
        let entry = &self.wanted[place];
        if !self.same_kind(entry.mode, stat) {
            return Ok(false);
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let there = rustix::fs::readlinkat(dir, name, Vec::new());
            return Ok(there.is_ok_and(|there| self.link(entry.id).is_ok_and(|wanted| wanted == there.as_bytes())));
        }
        // Also a bound on what is read: never more than the blob has.
        let (size, _) = self
            .odb
            .read_header(entry.id)
            .map_err(git_failure("read a file's object"))?;
        if stat.st_size as u64 != size as u64 {
            return Ok(false);
        }
        let mut content = Vec::with_capacity(size);
        let Ok(file) = rustix::fs::openat(dir, name, READ, Mode::empty()) else {
            return Ok(false);
        };
        std::fs::File::from(file)
            .take(size as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|error| failed("read", &self.work.join(name), &error))?;
        let id = Oid::hash_object(ObjectType::Blob, &content).map_err(git_failure("hash a file"))?;
        Ok(id == entry.id)
    }

    fn write(&mut self, dir: BorrowedFd<'_>, name: &OsStr, place: usize) -> Result<Stat> {
        let entry = &self.wanted[place];
        let shown = || self.work.join(OsStr::from_bytes(&entry.path));
        let blob = self.odb.read(entry.id).map_err(git_failure("read a file's object"))?;
        if blob.kind() != ObjectType::Blob {
            return Err(Error::new(
                Kind::Corrupt,
                format!("{} is a {} where a file is wanted", entry.id, blob.kind()),
            ));
        }
        self.bytes += blob.len() as u64;
        let fail = |error: io::Error| failed("write", &shown(), &error);
        if entry.mode & KIND == LINK && self.keeps.links {
            match rustix::fs::symlinkat(OsStr::from_bytes(target(blob.data())), dir, name) {
                Ok(()) => {
                    return rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|errno| fail(errno.into()));
                }
                // A file system without links: as Git, a file that holds where it leads.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => self.keeps.links = false,
                Err(errno) => return Err(fail(errno.into())),
            }
        }
        let mode = if entry.mode & 0o100 != 0 { 0o777 } else { 0o666 };
        let file =
            rustix::fs::openat(dir, name, CREATE, Mode::from_raw_mode(mode)).map_err(|errno| fail(errno.into()))?;
        let mut file = std::fs::File::from(file);
        if let Err(error) = file.write_all(blob.data()) {
            // On a full disk, room for going back to what was there.
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
            return Err(fail(error));
        }
        let stat = rustix::fs::fstat(&file).map_err(|errno| fail(errno.into()))?;
        // What was just asked for is not there: modes are fixed here.
        if (stat.st_mode & 0o100 != 0) != (mode & 0o100 != 0) {
            self.keeps.executable = false;
        }
        Ok(stat)
    }

    /// Where the link in the blob `id` leads.
    fn link(&self, id: Oid) -> Result<Vec<u8>> {
        let fail = git_failure("read a file's object");
        let (size, _) = self.odb.read_header(id).map_err(&fail)?;
        // No system has longer ones.
        if size > 1 << 16 {
            return Ok(Vec::new());
        }
        Ok(target(self.odb.read(id).map_err(&fail)?.data()).to_vec())
    }

    fn same_kind(&self, mode: u32, stat: &Stat) -> bool {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if mode & KIND == LINK => !self.keeps.links,
            FileType::RegularFile => {
                let executable = !self.keeps.executable || (mode & 0o100 != 0) == (stat.st_mode & 0o100 != 0);
                mode & KIND == 0o100000 && executable
            }
            FileType::Symlink => mode & KIND == LINK,
            _ => false,
        }
    }

    /// Takes the file's stat over into its index entry.
    fn note(&mut self, place: usize, stat: &Stat) {
        let entry = &mut self.wanted[place];
        entry.mtime = IndexTime::new(stat.st_mtime as i32, stat.st_mtime_nsec as u32);
        entry.ctime = IndexTime::new(stat.st_ctime as i32, stat.st_ctime_nsec as u32);
        entry.dev = stat.st_dev as u32;
        entry.ino = stat.st_ino as u32;
        entry.uid = stat.st_uid;
        entry.gid = stat.st_gid;
        entry.file_size = stat.st_size as u32;
        self.fresh.push(place);
        self.done += 1;
    }

    /// Removes `name`, whatever it is, with everything below it.
    fn remove(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let os = OsStr::from_bytes(name);
        let fail = |errno: Errno| failed("remove", &self.work.join(os), &errno.into());
        match rustix::fs::unlinkat(dir, os, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // A directory: EISDIR on Linux, EPERM elsewhere.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let sub = rustix::fs::openat(dir, os, DIR, Mode::empty()).map_err(fail)?;
        // Listed before the first removal: some systems skip entries of a directory that changes while it is read.
        let names: Vec<Vec<u8>> = Dir::read_from(&sub)
            .map_err(fail)?
            .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()))
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        for name in names.iter().filter(|name| *name != b"." && *name != b"..") {
            self.job.check()?;
            self.remove(sub.as_fd(), name)?;
        }
        rustix::fs::unlinkat(dir, os, AtFlags::REMOVEDIR).map_err(fail)
    }
}

/// A link's target ends at the first NUL, as in Git, which hands it on as a C string.
fn target(blob: &[u8]) -> &[u8] {
    blob.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot {what} {}: {error}", path.display())).with("path", Name::of(path))
}

#[cfg(test)]
#[path = "worktree_tests.rs"]
mod tests;
