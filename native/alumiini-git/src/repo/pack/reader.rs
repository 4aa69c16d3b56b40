//! Reads many files out of a repository's packs, faster than libgit2 reads one after the other: it
//! takes the sum of each to hold it against its id, and inflates with another zlib.
//!
//! What is not found here, or is not as it should be, is for libgit2 to read, or to say what is
//! wrong: nothing here is an error. Bytes that changed on the disk are found by the checksum in
//! each deflated stream.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use flate2::{Decompress, FlushDecompress, Status};
use git2::{ObjectType, Oid};

use super::header::{self, Delta, Form, Header};
use crate::repo::open_flags::FILE_ITSELF;

/// Packs that are looked through; a repository with more is repacked.
const MAX_PACKS: usize = 256;
/// Deltas that one file is made of (`pack.depth` is 50 by default, and at most 4,095).
const MAX_CHAIN: usize = 4_096;
/// Bytes that are made for one file, on the way to it.
const MAX_WORK: u64 = 256 << 20;
/// Files that others are deltas of, kept while a page is made.
const MAX_BASES: usize = 8 << 20;
/// Of an index: its own head and the table of first bytes.
const HEAD: u64 = 8;
const FANOUT: u64 = 4 * 256;
/// Objects of a pack whose index is small.
const SMALL: u64 = 1 << 14;
/// More room than an object needs: the last bytes before the end of it are inflated one by one (a
/// match has up to 258), and nothing is inflated into no room, not even nothing.
const SLACK: usize = 320;
/// What is read of a pack at once.
const PIECE: usize = 8 << 10;

/// The packs of a repository, for any number of readers.
pub(crate) struct Packs(Vec<Pack>);

/// A pack and its index.
struct Pack {
    pack: File,
    end: u64,
    index: File,
    /// How many ids begin with this byte or a smaller one.
    fanout: Vec<u32>,
    /// The ids that begin with a byte, or all, and the places of their objects: read when one is
    /// looked for.
    buckets: Vec<OnceLock<Option<Bucket>>>,
}

struct Bucket {
    ids: Vec<u8>,
    offsets: Vec<u8>,
}

/// One who reads, in one thread.
pub(crate) struct PackReader {
    packs: Arc<Packs>,
    /// The one that an object was found in.
    last: usize,
    inflate: Decompress,
    input: Vec<u8>,
    bases: HashMap<(usize, u64), Rc<Vec<u8>>>,
    bytes_of_bases: usize,
}

/// Where an object is.
type Place = (usize, u64);

impl Packs {
    /// Of the packs in `git_dir`, as far as they can be read.
    pub(crate) fn open(git_dir: &Path) -> Packs {
        let entries = fs::read_dir(git_dir.join("objects/pack"));
        let indexes = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "idx"));
        let packs = indexes.take(MAX_PACKS).filter_map(|path| Pack::open(&path));
        Packs(packs.collect())
    }
}

impl PackReader {
    pub(crate) fn new(packs: Arc<Packs>) -> PackReader {
        PackReader {
            packs,
            last: 0,
            inflate: Decompress::new(true),
            input: vec![0; PIECE],
            bases: HashMap::new(),
            bytes_of_bases: 0,
        }
    }

    /// How many bytes the file `id` has, where it is here and is no delta.
    pub(crate) fn size(&mut self, id: Oid) -> Option<u64> {
        let place = self.find(id)?;
        match self.header(place)?.0 {
            Header {
                form: Form::Whole(ObjectType::Blob),
                size,
            } => Some(size),
            _ => None,
        }
    }

    /// The file `id`, where it is here and has no more than `max` bytes. Nothing that it is made of
    /// has more either.
    pub(crate) fn content(&mut self, id: Oid, max: u64) -> Option<Vec<u8>> {
        let mut place = self.find(id)?;
        let mut deltas = Vec::new();
        let mut known = None;
        let mut unfolded = 0;
        let whole = loop {
            if let Some(base) = self.bases.get(&place) {
                known = Some(base.clone());
                break Vec::new();
            }
            let (header, length) = self.header(place)?;
            if header.size > max || deltas.len() >= MAX_CHAIN {
                return None;
            }
            unfolded += header.size;
            if unfolded > MAX_WORK {
                return None;
            }
            let data = self.inflate((place.0, place.1 + length), header.size)?;
            let base = match header.form {
                Form::Whole(ObjectType::Blob) => break data,
                Form::Whole(_) => return None,
                Form::Behind(distance) => (place.0, place.1.checked_sub(distance)?),
                Form::Of(base) => self.find(base)?,
            };
            deltas.push((place, data));
            place = base;
        };
        let mut content = match known {
            Some(known) => known,
            None if deltas.is_empty() => return Some(whole),
            None => self.keep(place, whole),
        };
        let mut deltas = deltas.into_iter().rev().peekable();
        while let Some((at, delta)) = deltas.next() {
            let delta = Delta::new(&delta)?;
            // A few bytes may make many, at each step of a chain.
            unfolded += delta.result.min(max);
            if delta.base != content.len() as u64 || delta.result > max || unfolded > MAX_WORK {
                return None;
            }
            let mut result = Vec::with_capacity(delta.result as usize);
            delta.apply(&content, &mut result)?;
            if deltas.peek().is_none() {
                return Some(result);
            }
            content = self.keep(at, result);
        }
        Some(content.to_vec())
    }

    fn keep(&mut self, place: Place, content: Vec<u8>) -> Rc<Vec<u8>> {
        let content = Rc::new(content);
        if self.bytes_of_bases + content.len() > MAX_BASES {
            self.bases.clear();
            self.bytes_of_bases = 0;
        }
        if content.len() <= MAX_BASES {
            self.bytes_of_bases += content.len();
            self.bases.insert(place, content.clone());
        }
        content
    }

    fn find(&mut self, id: Oid) -> Option<Place> {
        // Most likely in the one that the last was in.
        let packs = &self.packs.0;
        let others = (0..packs.len()).filter(|pack| *pack != self.last);
        for pack in [self.last].into_iter().chain(others) {
            if let Some(offset) = packs.get(pack).and_then(|pack| pack.find(id)) {
                self.last = pack;
                return Some((pack, offset));
            }
        }
        None
    }

    /// The header of an entry, and how many bytes it has.
    fn header(&mut self, (pack, offset): Place) -> Option<(Header, u64)> {
        let pack = &self.packs.0[pack];
        // Two sizes, and an id.
        let mut bytes = [0; 40];
        let there = pack.end.checked_sub(offset)?.min(bytes.len() as u64) as usize;
        pack.pack.read_exact_at(&mut bytes[..there], offset).ok()?;
        let mut rest = bytes[..there].iter();
        let header = header::read(|| rest.next().copied().ok_or(())).ok()??;
        Some((header, (there - rest.len()) as u64))
    }

    fn inflate(&mut self, (pack, offset): Place, size: u64) -> Option<Vec<u8>> {
        let pack = &self.packs.0[pack];
        let size = usize::try_from(size).ok()?;
        self.inflate.reset(true);
        let mut out = Vec::with_capacity(size + SLACK);
        let mut at = offset;
        loop {
            let left = pack.end.checked_sub(at)?.min(PIECE as u64) as usize;
            if left == 0 {
                return None;
            }
            // What deflates to little has no more than this, most of the time.
            let likely = left.min((size - out.len().min(size)) + 64);
            let input = &mut self.input[..likely];
            pack.pack.read_exact_at(input, at).ok()?;
            let before = self.inflate.total_in();
            let status = self
                .inflate
                .decompress_vec(input, &mut out, FlushDecompress::None)
                .ok()?;
            let taken = self.inflate.total_in() - before;
            at += taken;
            match status {
                Status::StreamEnd => return (out.len() == size).then_some(out),
                _ if out.len() > size || taken == 0 => return None,
                _ => {}
            }
        }
    }
}

impl Pack {
    fn open(index: &Path) -> Option<Pack> {
        let open = |path: &Path| {
            let flags = FILE_ITSELF.bits() as i32;
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
            let file = file.ok()?;
            let found = file.metadata().ok()?;
            found.is_file().then_some((file, found.len()))
        };
        let (pack, length) = open(&index.with_extension("pack"))?;
        let (index, bytes) = open(index)?;
        let mut head = [0; (HEAD + FANOUT) as usize];
        index.read_exact_at(&mut head, 0).ok()?;
        let table = head.strip_prefix(b"\xfftOc\0\0\0\x02")?;
        let fanout: Vec<u32> = table
            .chunks_exact(4)
            .map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        let count = u64::from(*fanout.last()?);
        let is_index = fanout.is_sorted() && bytes >= HEAD + FANOUT + count * 28 + 40;
        is_index.then_some(Pack {
            pack,
            // What ends it is its checksum.
            end: length.checked_sub(20)?,
            index,
            fanout,
            buckets: (0..256).map(|_| OnceLock::new()).collect(),
        })
    }

    fn find(&self, id: Oid) -> Option<u64> {
        let count = u64::from(self.fanout[255]);
        // Of a small one all is read at once.
        let (place, first, last) = match count <= SMALL {
            true => (0, 0, 255),
            false => (
                usize::from(id.as_bytes()[0]),
                id.as_bytes()[0],
                id.as_bytes()[0],
            ),
        };
        let bucket = self.buckets[place].get_or_init(|| self.bucket(first, last));
        let bucket = bucket.as_ref()?;
        let ids = |place: usize| &bucket.ids[place * 20..(place + 1) * 20];
        let (mut low, mut high) = (0, bucket.ids.len() / 20);
        while low < high {
            let middle = low + (high - low) / 2;
            match ids(middle).cmp(id.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let offset = &bucket.offsets[middle * 4..(middle + 1) * 4];
                    let offset = u32::from_be_bytes(offset.try_into().ok()?);
                    return match offset & 1 << 31 {
                        0 => Some(u64::from(offset)),
                        _ => self.far(count, u64::from(offset & !(1 << 31))),
                    };
                }
            }
        }
        None
    }

    fn bucket(&self, first: u8, last: u8) -> Option<Bucket> {
        let count = u64::from(self.fanout[255]);
        let end = self.fanout[usize::from(last)];
        let begin = match first {
            0 => 0,
            _ => self.fanout[usize::from(first) - 1],
        };
        let (begin, length) = (u64::from(begin), (end - begin) as usize);
        let mut bucket = Bucket {
            ids: vec![0; length * 20],
            offsets: vec![0; length * 4],
        };
        let ids = HEAD + FANOUT + begin * 20;
        self.index.read_exact_at(&mut bucket.ids, ids).ok()?;
        let offsets = HEAD + FANOUT + count * 24 + begin * 4;
        self.index
            .read_exact_at(&mut bucket.offsets, offsets)
            .ok()?;
        Some(bucket)
    }

    /// An offset that does not fit into four bytes.
    fn far(&self, count: u64, place: u64) -> Option<u64> {
        let mut offset = [0; 8];
        let at = HEAD + FANOUT + count * 28 + place * 8;
        self.index.read_exact_at(&mut offset, at).ok()?;
        Some(u64::from_be_bytes(offset))
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
