//! A thin pack leaves out what its deltas are of, where the other side has it. On disk it has to be
//! whole: that is put behind its objects.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ErrorCode, ObjectType, Odb, Oid};
use sha1::{Digest, Sha1};

use super::{Base, Entry, checked_size, header, write_failed};
use crate::error::Result;
use crate::repo::raw_object;
use crate::task::job::Job;

/// Writes the object `id` of `odb` at `end`. Returns its content, too, and where it ends. `None`
/// where it is not there.
pub(super) fn add(
    file: &File,
    end: u64,
    odb: &Odb<'_>,
    id: Oid,
) -> Result<Option<(Entry, Vec<u8>, u64)>> {
    let (size, kind) = match odb.read_header(id) {
        Ok(found) => found,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(raw_object::unreadable(id)(error)),
    };
    checked_size(
        Some(kind).filter(|kind| *kind != ObjectType::Blob),
        size as u64,
    )?;
    let object = odb.read(id).map_err(raw_object::unreadable(id))?;
    let head = header::write(kind, size as u64);
    let mut bytes = head.clone();
    let mut deflate = ZlibEncoder::new(&mut bytes, Compression::fast());
    deflate
        .write_all(object.data())
        .and_then(|()| deflate.finish().map(drop))
        .and_then(|()| file.write_all_at(&bytes, end))
        .map_err(|error| write_failed(&error))?;
    let entry = Entry {
        offset: end,
        crc: crc32fast::hash(&bytes),
        size: size as u32,
        head: head.len() as u8,
        base: Base::None,
        kind,
        id,
    };
    Ok(Some((
        entry,
        object.data().to_vec(),
        end + bytes.len() as u64,
    )))
}

/// Makes a pack of what is before `end`, which are so many objects. Returns its checksum.
pub(super) fn seal(file: &mut File, end: u64, objects: u32, job: &Job) -> Result<[u8; 20]> {
    let fail = |error: io::Error| write_failed(&error);
    file.write_all_at(&objects.to_be_bytes(), 8).map_err(fail)?;
    file.seek(SeekFrom::Start(0)).map_err(fail)?;
    let (mut sum, mut left) = (Sha1::new(), end);
    let mut piece = vec![0; 256 << 10];
    while left > 0 {
        job.check()?;
        let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut piece[..length]).map_err(fail)?;
        sum.update(&piece[..length]);
        left -= length as u64;
    }
    let sum: [u8; 20] = sum.finalize().into();
    file.write_all(&sum).map_err(fail)?;
    let whole = file.stream_position().map_err(fail)?;
    file.set_len(whole).map_err(fail)?;
    Ok(sum)
}
