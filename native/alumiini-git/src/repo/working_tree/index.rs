//! `.git/index`, as Git writes it (gitformat-index(5)): read whole, and written in one go from a
//! sorted list.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Oid;
use rustix::fs::{Stat, Timespec, Timestamps, UTIME_NOW, futimens};
use sha1::{Digest, Sha1};

use crate::error::{Error, Result};
use crate::repo::tree_check::{LONGEST_PATH, MAX_PATH_BYTES};
use crate::repo::tree_files::Is;
use crate::repo::{git_dir_check, locked};

/// Bytes of an entry before its path.
const FIXED: usize = 62;
/// Of its flags: `git update-index --assume-unchanged`, more flags, the stage of a merge, the
/// length of the path.
const ASSUME_VALID: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
const LENGTH: u16 = 0x0fff;
/// Of the flags that follow where there are more: `git update-index --skip-worktree`.
const SKIP_WORKTREE: u16 = 0x4000;

/// One file of an index.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) id: Oid,
    pub(super) mode: u32,
    pub(super) stat: Recorded,
    /// Whether it is left out of the working tree.
    pub(super) skip: bool,
}

impl Entry {
    /// Of what no stat was taken.
    pub(super) fn unseen(path: Vec<u8>, is: Is) -> Entry {
        Entry {
            path,
            id: is.id,
            mode: is.mode,
            stat: Recorded::default(),
            skip: false,
        }
    }

    /// Whether both say the same of what is at their path.
    pub(super) fn is_same(&self, other: &Entry) -> bool {
        (self.id, self.mode, self.skip) == (other.id, other.mode, other.skip)
            && self.path == other.path
    }
}

/// The stat of a file, in the width that an index has for it. All zero where none was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) ctime: (u32, u32),
    pub(super) mtime: (u32, u32),
    dev: u32,
    ino: u32,
    uid: u32,
    gid: u32,
    size: u32,
}

impl Recorded {
    pub(super) fn of(stat: &Stat) -> Recorded {
        Recorded {
            ctime: (stat.st_ctime as u32, stat.st_ctime_nsec as u32),
            mtime: (stat.st_mtime as u32, stat.st_mtime_nsec as u32),
            dev: stat.st_dev as u32,
            ino: stat.st_ino as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u32,
        }
    }

    /// Whether the file is as it was recorded. Not where it is: a volume that is mounted anew has
    /// another number.
    pub(super) fn is_still(&self, now: &Recorded) -> bool {
        (self.ctime, self.mtime, self.ino, self.size) == (now.ctime, now.mtime, now.ino, now.size)
    }
}

/// An index that was read.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
    /// When it was written. A file that is not older may have changed after its stat was recorded
    /// without its times telling ("racy git").
    pub(super) written: (i64, i64),
    /// Somebody has put more into it than files, their stats, and which of them are left out: what
    /// is not to be looked at, what is to be added, sides of a merge.
    pub(super) is_special: bool,
}

/// The file that an index was written to, which is its own as long as it is there: who writes
/// another one renames it into place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) device: u64,
    pub(super) number: u64,
    pub(super) modified: (i64, i64),
}

pub(super) fn file(git_dir: &Path) -> PathBuf {
    git_dir.join("index")
}

/// The index of a repository. `None` where there is none, or one that cannot be read.
pub(super) fn read(git_dir: &Path) -> Option<Index> {
    let bytes = git_dir_check::read(&file(git_dir), git_dir_check::MAX_INDEX).ok()?;
    let stat = rustix::fs::stat(file(git_dir)).ok()?;
    let mut index = parse(&bytes)?;
    index.written = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
    Some(index)
}

pub(super) fn parse(bytes: &[u8]) -> Option<Index> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(20)?)?;
    // Where `index.skipHash` is set, there is none.
    if sum != [0; 20] && sum != &Sha1::digest(body)[..] {
        return None;
    }
    let word =
        |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let version = word(body, 4)?;
    if !body.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let count = word(body, 8)?;
    let mut rest = &body[12..];
    let mut index = Index::default();
    let mut last: Vec<u8> = Vec::new();
    // In version 4 a few bytes stand for a path as long as the one before.
    let mut path_bytes = 0;
    for _ in 0..count {
        let fixed = rest.get(..FIXED)?;
        let flags = u16::from_be_bytes([fixed[60], fixed[61]]);
        let more = if version > 2 && flags & EXTENDED != 0 {
            2
        } else {
            0
        };
        let after = rest.get(FIXED + more..)?;
        let extended = match rest[FIXED..FIXED + more] {
            [high, low] => u16::from_be_bytes([high, low]),
            _ => 0,
        };
        index.is_special |= flags & (ASSUME_VALID | STAGE) != 0 || extended & !SKIP_WORKTREE != 0;
        let (path, taken) = if version == 4 {
            let (cut, digits) = varint(after)?;
            let new = &after[digits..];
            let end = new.iter().position(|byte| *byte == 0)?;
            let kept = last.get(..last.len().checked_sub(cut)?)?;
            (
                [kept, &new[..end]].concat(),
                FIXED + more + digits + end + 1,
            )
        } else {
            let end = after.iter().position(|byte| *byte == 0)?;
            // Padded with zeros, at least one, to a multiple of eight.
            (after[..end].to_vec(), (FIXED + more + end + 8) / 8 * 8)
        };
        path_bytes += path.len() as u64;
        if path.len() as u64 > LONGEST_PATH || path_bytes > MAX_PATH_BYTES {
            return None;
        }
        rest = rest.get(taken..)?;
        let word = |place: usize| word(fixed, place * 4);
        index.entries.push(Entry {
            id: Oid::from_bytes(&fixed[40..60]).ok()?,
            mode: word(6)?,
            stat: Recorded {
                ctime: (word(0)?, word(1)?),
                mtime: (word(2)?, word(3)?),
                dev: word(4)?,
                ino: word(5)?,
                uid: word(7)?,
                gid: word(8)?,
                size: word(9)?,
            },
            path: path.clone(),
            skip: extended & SKIP_WORKTREE != 0,
        });
        last = path;
    }
    // Extensions that begin with a small letter change what the rest means: split and sparse
    // indexes.
    while let Some(extension) = rest.get(..8) {
        index.is_special |= extension[0].is_ascii_lowercase();
        rest = rest.get(8 + word(extension, 4)? as usize..)?;
    }
    rest.is_empty().then_some(index)
}

/// Git's numbers of version 4: big end first, and each byte but the last stands for one more than
/// it says.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0usize;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        number = (number << 7) + usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, place + 1));
        }
        number += 1;
    }
    None
}

/// Writes an index of these entries, which are sorted by path, in place of the one that is there.
/// It is modified last, by the file system's clock, after what it tells of, and after `newest`, if
/// that clock is quick enough to tell.
pub(super) fn write(git_dir: &Path, entries: &[Entry], newest: (u32, u32)) -> Result<Written> {
    let (file, lock) = (file(git_dir), git_dir.join("index.lock"));
    let fail = |error: io::Error| Error::io("write", &file, &error);
    let mut opened = match OpenOptions::new().write(true).create_new(true).open(&lock) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(locked(&lock)),
        opened => opened.map_err(fail)?,
    };
    let newest = entries
        .iter()
        .map(|entry| entry.stat.ctime.max(entry.stat.mtime))
        .fold(newest, std::cmp::max);
    let written = opened
        .write_all(&bytes(entries))
        .and_then(|()| after(&opened, newest))
        .and_then(|written| {
            // Whatever is there in its place.
            if fs::symlink_metadata(&file).is_ok_and(|found| found.is_dir()) {
                fs::remove_dir_all(&file)?;
            }
            fs::rename(&lock, &file).map(|()| written)
        });
    written.map_err(|error| {
        let _ = fs::remove_file(&lock);
        fail(error)
    })
}

fn bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(
        entries
            .iter()
            .map(|entry| FIXED + entry.path.len() + 8)
            .sum::<usize>()
            + 32,
    );
    // The least version that has what is in it.
    let version: u32 = if entries.iter().any(|entry| entry.skip) {
        3
    } else {
        2
    };
    bytes.extend(b"DIRC");
    bytes.extend(version.to_be_bytes());
    bytes.extend((entries.len() as u32).to_be_bytes());
    for Entry {
        path,
        id,
        mode,
        stat,
        skip,
    } in entries
    {
        let begin = bytes.len();
        for word in [
            stat.ctime.0,
            stat.ctime.1,
            stat.mtime.0,
            stat.mtime.1,
            stat.dev,
            stat.ino,
            *mode,
            stat.uid,
            stat.gid,
            stat.size,
        ] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(id.as_bytes());
        let length = u16::try_from(path.len()).unwrap_or(LENGTH).min(LENGTH);
        let more = if *skip { 2 } else { 0 };
        if *skip {
            bytes.extend((length | EXTENDED).to_be_bytes());
            bytes.extend(SKIP_WORKTREE.to_be_bytes());
        } else {
            bytes.extend(length.to_be_bytes());
        }
        bytes.extend(path);
        let padded = begin + (FIXED + more + path.len() + 8) / 8 * 8;
        bytes.resize(padded, 0);
    }
    let sum = Sha1::digest(&bytes);
    bytes.extend(sum);
    bytes
}

/// How often the clock of a file system is looked at again, and how long it is waited for in all.
/// Linux's own tick at most every 10 ms; those that tell whole seconds only are not waited for.
const LOOK: Duration = Duration::from_millis(1);
const LOOKS: usize = 12;

/// Sees to it that `file` was modified later than `newest`, if the file system's clock can tell so
/// soon. Who finds a file with the times in `newest` in it can believe then that it was not touched
/// again.
fn after(file: &File, newest: (u32, u32)) -> io::Result<Written> {
    let newest = (i64::from(newest.0), i64::from(newest.1));
    let mut look = 0;
    loop {
        let stat = rustix::fs::fstat(file)?;
        let now = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        if now > newest || look == LOOKS || now.1 == 0 || newest > (now.0 + 1, now.1) {
            return Ok(Written {
                device: stat.st_dev as u64,
                number: stat.st_ino as u64,
                modified: now,
            });
        }
        look += 1;
        std::thread::sleep(LOOK);
        let touch = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        futimens(
            file,
            &Timestamps {
                last_access: touch,
                last_modification: touch,
            },
        )?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of version 4 whose first path has so many bytes, and whose others are the same with
    /// one more each.
    fn index(first: usize, others: u32) -> Vec<u8> {
        let mut bytes = [
            &b"DIRC"[..],
            &4u32.to_be_bytes(),
            &(others + 1).to_be_bytes(),
        ]
        .concat();
        bytes.extend([&[0; FIXED][..], &[0], &vec![b'a'; first], &[0]].concat());
        for _ in 0..others {
            bytes.extend([&[0; FIXED][..], &[1], b"b\0"].concat());
        }
        bytes.extend([0; 20]);
        bytes
    }

    /// Each entry of some 65 bytes would take as much memory as its path, and half a gigabyte of
    /// them is read.
    #[test]
    fn paths_that_share_a_beginning_are_bounded_together() {
        let longest = LONGEST_PATH as usize;
        assert_eq!(parse(&index(longest, 100)).unwrap().entries.len(), 101);
        assert!(parse(&index(longest + 1, 0)).is_none());
        let most = (MAX_PATH_BYTES / LONGEST_PATH) as u32;
        assert!(parse(&index(longest, most - 1)).is_some());
        assert!(parse(&index(longest, most)).is_none());
    }
}
