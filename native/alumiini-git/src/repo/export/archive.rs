//! A compressed archive of the files of a commit: the same bytes for the same files, everywhere.
//!
//! Nothing of the machine or the time goes into it: owners are none, times are those of the commit.
//! It is compressed by one implementation with one setting, in portable code: those that are made
//! of a processor's own instructions compress to something else on another one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{MZError, MZFlush, MZStatus};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::Sink;
use crate::error::{Error, Result};

/// Of the ten that there are; what `gzip` takes, too, where nothing else is said.
const LEVEL: i32 = 6;
/// No time, no name, an unknown system (RFC 1952).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

pub(crate) struct Archive {
    tar: Builder<Gzip<BufWriter<File>>>,
    /// In seconds since 1970.
    time: u64,
    /// For messages.
    shown: PathBuf,
}

impl Archive {
    /// Written to `file`. `time`: of all that is in it.
    pub(crate) fn new(file: File, time: i64, shown: &Path) -> Result<Archive> {
        let gzip = Gzip::new(BufWriter::new(file));
        let gzip = gzip.map_err(|error| Error::io("write", shown, &error))?;
        Ok(Archive {
            tar: Builder::new(gzip),
            time: u64::try_from(time).unwrap_or(0),
            shown: shown.to_owned(),
        })
    }

    /// Writes the end. The SHA-256 of all its bytes, in hex.
    pub(crate) fn end(self) -> Result<String> {
        let fail = |error: io::Error| Error::io("write", &self.shown, &error);
        let gzip = self.tar.into_inner().map_err(fail)?;
        gzip.end().map_err(fail)
    }

    fn head(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut head = Header::new_gnu();
        head.set_entry_type(kind);
        head.set_mode(mode);
        head.set_size(size);
        head.set_uid(0);
        head.set_gid(0);
        head.set_mtime(self.time);
        head
    }

    fn fail(&self, path: &[u8], error: &io::Error) -> Error {
        Error::io("write", &self.shown.join(OsStr::from_bytes(path)), error)
    }
}

impl Sink for Archive {
    fn file(&mut self, path: &[u8], is_executable: bool, content: &[u8]) -> Result<()> {
        let mode = if is_executable { 0o755 } else { 0o644 };
        let mut head = self.head(EntryType::Regular, mode, content.len() as u64);
        let added = self
            .tar
            .append_data(&mut head, OsStr::from_bytes(path), content);
        added.map_err(|error| self.fail(path, &error))
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let mut head = self.head(EntryType::Symlink, 0o777, 0);
        let (from, to) = (OsStr::from_bytes(path), OsStr::from_bytes(target));
        let added = self.tar.append_link(&mut head, from, to);
        added.map_err(|error| self.fail(path, &error))
    }

    fn submodule(&mut self, path: &[u8]) -> Result<()> {
        let mut head = self.head(EntryType::Directory, 0o755, 0);
        let name = [path, b"/"].concat();
        let added = self
            .tar
            .append_data(&mut head, OsStr::from_bytes(&name), io::empty());
        added.map_err(|error| self.fail(path, &error))
    }
}

/// Compresses what is written, and sums up what comes out.
struct Gzip<W> {
    out: W,
    compressor: Box<CompressorOxide>,
    checksum: crc32fast::Hasher,
    length: u32,
    digest: Sha256,
    buffer: Vec<u8>,
}

impl<W: Write> Gzip<W> {
    fn new(out: W) -> io::Result<Gzip<W>> {
        // Without the frame of zlib, whose window is of this size.
        let flags = create_comp_flags_from_zip_params(LEVEL, -15, 0);
        let mut gzip = Gzip {
            out,
            compressor: Box::new(CompressorOxide::new(flags)),
            checksum: crc32fast::Hasher::new(),
            length: 0,
            digest: Sha256::new(),
            buffer: vec![0; 64 << 10],
        };
        gzip.pass_on(&GZIP_HEAD)?;
        Ok(gzip)
    }

    fn pass_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.out.write_all(bytes)
    }

    fn compress(&mut self, mut data: &[u8], flush: MZFlush) -> io::Result<()> {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let done = deflate(&mut self.compressor, data, &mut buffer, flush);
            let passed = self.pass_on(&buffer[..done.bytes_written]);
            self.buffer = buffer;
            passed?;
            data = &data[done.bytes_consumed..];
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok(()),
                // Nothing is left to be taken, nor to be given out.
                Err(MZError::Buf) if data.is_empty() => return Ok(()),
                Ok(_) if data.is_empty() && flush == MZFlush::None => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err(io::Error::other("the archive cannot be compressed")),
            }
        }
    }

    fn end(mut self) -> io::Result<String> {
        self.compress(&[], MZFlush::Finish)?;
        let checksum = self.checksum.clone().finalize().to_le_bytes();
        let length = self.length.to_le_bytes();
        self.pass_on(&checksum)?;
        self.pass_on(&length)?;
        self.out.flush()?;
        Ok(hex(&self.digest.finalize()))
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.checksum.update(data);
        // As much as fits into its field: the length modulo 2^32.
        self.length = self.length.wrapping_add(data.len() as u32);
        self.compress(data, MZFlush::None)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
