//! The index of a pack, version 2 (gitformat-pack(5)).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sha1::{Digest, Sha1};

use super::Entry;

/// Offsets from here on have a table of their own.
const FAR: u64 = 1 << 31;

/// Writes the index of a pack that holds `entries`, which are sorted by id, and ends with
/// `checksum`.
pub(super) fn write(file: &Path, entries: &[Entry], checksum: &[u8; 20]) -> io::Result<()> {
    let mut out = Summed {
        out: BufWriter::with_capacity(1 << 16, File::create_new(file)?),
        sum: Sha1::new(),
    };
    out.put(b"\xfftOc\0\0\0\x02")?;
    let mut place = 0;
    for first in 0..=255 {
        place += entries[place..].partition_point(|entry| entry.id.as_bytes()[0] <= first);
        out.put(&(place as u32).to_be_bytes())?;
    }
    for entry in entries {
        out.put(entry.id.as_bytes())?;
    }
    for entry in entries {
        out.put(&entry.crc.to_be_bytes())?;
    }
    let mut far = Vec::new();
    for entry in entries {
        let offset = if entry.offset < FAR {
            entry.offset as u32
        } else {
            far.push(entry.offset);
            FAR as u32 | (far.len() - 1) as u32
        };
        out.put(&offset.to_be_bytes())?;
    }
    for offset in far {
        out.put(&offset.to_be_bytes())?;
    }
    out.put(checksum)?;
    let Summed { mut out, sum } = out;
    out.write_all(&sum.finalize())?;
    out.flush()
}

struct Summed {
    out: BufWriter<File>,
    sum: Sha1,
}

impl Summed {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }
}
