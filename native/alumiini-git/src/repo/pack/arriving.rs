//! The first pass over a pack, while it arrives: its bytes go to disk as they are, whole objects
//! get their ids, and deltas are noted.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use git2::{ObjectType, Oid};
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;

use super::header::{self, Form};
use super::links::Links;
use super::{Base, Entry, MAX_OBJECTS, checked_size, corrupt, cut, write_failed};
use crate::error::{Error, Key, Kind, Result};
use crate::task::job::Job;
use crate::task::progress::{Phase, Stats};

/// Files of more bytes go through a buffer of this size.
const PIECE: usize = 64 << 10;

/// What is known of a pack once all of it is there.
pub(super) struct Arrived {
    pub(super) entries: Vec<Entry>,
    /// Where the last entry ends.
    pub(super) end: u64,
    pub(super) checksum: [u8; 20],
    /// What the whole objects name.
    pub(super) links: Links,
    pub(super) stats: Stats,
}

/// Reads the pack that comes in `chunks` into `file`. It is whole if `complete` is set by the time
/// they end.
pub(super) fn read(
    chunks: mpsc::Receiver<Bytes>,
    complete: &AtomicBool,
    file: &mut File,
    job: &Job,
) -> Result<Arrived> {
    let mut pack = Arriving {
        chunks,
        complete,
        file,
        job,
        chunk: Bytes::new(),
        at: 0,
        summed: 0,
        before: 0,
        sum: Sha1::new(),
        crc: crc32fast::Hasher::new(),
        entry: 0,
        inflate: Decompress::new(true),
        piece: Vec::new(),
        links: Links::default(),
        received: 0,
    };
    let total = pack.header()?;
    let mut entries: Vec<Entry> = Vec::new();
    for done in 0..total {
        job.check()?;
        job.reach("index");
        job.progress(
            Phase::Receive,
            u64::from(done),
            u64::from(total),
            pack.received,
        );
        let entry = pack.entry(&entries)?;
        entries.push(entry);
    }
    let end = pack.offset();
    let checksum = pack.trailer()?;
    job.progress(
        Phase::Receive,
        u64::from(total),
        u64::from(total),
        pack.received,
    );
    Ok(Arrived {
        entries,
        end,
        checksum,
        stats: Stats {
            bytes: pack.received,
            objects: u64::from(total),
        },
        links: pack.links,
    })
}

struct Arriving<'a> {
    chunks: mpsc::Receiver<Bytes>,
    complete: &'a AtomicBool,
    file: &'a mut File,
    job: &'a Job,
    chunk: Bytes,
    /// What of the chunk was read.
    at: usize,
    /// And what of that is in the pack's checksum.
    summed: usize,
    /// Bytes of the pack before this chunk.
    before: u64,
    sum: Sha1,
    crc: crc32fast::Hasher,
    /// Where in the chunk the present entry goes on whose bytes are not in its checksum yet.
    entry: usize,
    inflate: Decompress,
    /// The content of the present object.
    piece: Vec<u8>,
    links: Links,
    received: u64,
}

impl Arriving<'_> {
    fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// Takes what was read of the chunk into the checksums.
    fn account(&mut self) {
        self.sum.update(&self.chunk[self.summed..self.at]);
        self.crc.update(&self.chunk[self.entry..self.at]);
        (self.summed, self.entry) = (self.at, self.at);
    }

    /// Sees to it that the chunk has something that was not read yet.
    fn fill(&mut self) -> Result<()> {
        while self.at == self.chunk.len() {
            self.account();
            self.before += self.chunk.len() as u64;
            self.job.check()?;
            self.chunk = match self.chunks.blocking_recv() {
                Some(chunk) => chunk,
                // The remote says that this was all.
                None if self.complete.load(Ordering::Acquire) => {
                    return Err(corrupt("it ends in the middle"));
                }
                None => return Err(cut()),
            };
            (self.at, self.summed, self.entry) = (0, 0, 0);
            self.received += self.chunk.len() as u64;
            self.file
                .write_all(&self.chunk)
                .map_err(|error| write_failed(&error))?;
            self.job.reach("pack");
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        self.fill()?;
        self.at += 1;
        Ok(self.chunk[self.at - 1])
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// How many objects the pack says it has.
    fn header(&mut self) -> Result<u32> {
        if &self.bytes::<4>()? != b"PACK" || !matches!(u32::from_be_bytes(self.bytes()?), 2 | 3) {
            return Err(corrupt("it does not begin like a pack"));
        }
        let total = u32::from_be_bytes(self.bytes()?);
        if total > MAX_OBJECTS {
            let message = format!(
                "the remote sent a pack of {total} objects; one here has at most {MAX_OBJECTS}"
            );
            return Err(
                Error::new(Kind::TooLarge, message).with(Key::Limit, u64::from(MAX_OBJECTS))
            );
        }
        Ok(total)
    }

    /// The checksum at the end, which must be that of the bytes before it, with nothing behind.
    fn trailer(&mut self) -> Result<[u8; 20]> {
        self.account();
        let sum: [u8; 20] = mem::take(&mut self.sum).finalize().into();
        if self.bytes()? != sum {
            return Err(corrupt("its checksum is wrong"));
        }
        let more = self.at < self.chunk.len() || self.chunks.blocking_recv().is_some();
        if !self.complete.load(Ordering::Acquire) {
            return Err(cut());
        }
        if more {
            return Err(corrupt("something follows its end"));
        }
        Ok(sum)
    }

    fn entry(&mut self, before: &[Entry]) -> Result<Entry> {
        // What was read belongs to others.
        self.account();
        self.crc = crc32fast::Hasher::new();
        let offset = self.offset();
        let Some(read) = header::read(|| self.byte())? else {
            return Err(corrupt("an object in it does not begin like one"));
        };
        let head = (self.offset() - offset) as u8;
        let (base, kind) = match read.form {
            Form::Whole(kind) => (Base::None, Some(kind)),
            Form::Of(id) => (Base::Id(id), None),
            Form::Behind(distance) => {
                let place = offset
                    .checked_sub(distance)
                    .and_then(|at| before.binary_search_by_key(&at, |entry| entry.offset).ok());
                let place = place
                    .ok_or_else(|| corrupt("a delta in it is of something that is no object"))?;
                (Base::Entry(place as u32), None)
            }
        };
        let size = checked_size(kind, read.size)?;
        let id = match kind {
            None => self.inflated(size, |_| ()).map(|()| Oid::ZERO_SHA1)?,
            Some(kind) => self.whole(kind, size)?,
        };
        self.account();
        Ok(Entry {
            offset,
            crc: self.crc.clone().finalize(),
            size: size as u32,
            head,
            base,
            kind: kind.unwrap_or(ObjectType::Any),
            id,
        })
    }

    /// The id of a whole object. What it names is noted.
    fn whole(&mut self, kind: ObjectType, size: usize) -> Result<Oid> {
        let mut hash = super::hasher(kind, size);
        if kind == ObjectType::Blob {
            self.inflated(size, |piece| hash.update(piece))?;
            return super::id(hash);
        }
        let mut content = Vec::new();
        self.inflated(size, |piece| content.extend_from_slice(piece))?;
        hash.update(&content);
        let id = super::id(hash)?;
        self.links.add(kind, id, &content);
        Ok(id)
    }

    /// Inflates what follows, which must be `size` bytes, and hands them on.
    fn inflated(&mut self, size: usize, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.inflate.reset(true);
        let mut piece = mem::take(&mut self.piece);
        piece.resize(PIECE, 0);
        let mut left = size;
        loop {
            self.fill()?;
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let result =
                self.inflate
                    .decompress(&self.chunk[self.at..], &mut piece, FlushDecompress::None);
            let (taken, made) = (
                self.inflate.total_in() - taken,
                self.inflate.total_out() - made,
            );
            let status = result.map_err(|_| corrupt("an object in it cannot be inflated"))?;
            self.at += taken as usize;
            let made = made as usize;
            if made > left {
                return Err(corrupt("an object in it is larger than it says"));
            }
            each(&piece[..made]);
            left -= made;
            match status {
                Status::StreamEnd if left == 0 => break,
                Status::StreamEnd => {
                    return Err(corrupt("an object in it is smaller than it says"));
                }
                Status::Ok | Status::BufError if taken == 0 && made == 0 => {
                    return Err(corrupt("an object in it cannot be inflated"));
                }
                Status::Ok | Status::BufError => {}
            }
        }
        self.piece = piece;
        Ok(())
    }
}
