//! Compressed bodies. We do not ask for them, since packs are compressed already. Some proxies
//! compress all that passes, and Git accepts that.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// Bytes of input that are decompressed at a time. The output is at most about a thousand times as
/// long.
const STEP: usize = 1024;

/// A body that is being decompressed.
pub(super) struct Unfolding {
    decoder: Decoder,
    input: Bytes,
    /// Bytes after the end are ignored, as curl does.
    ended: bool,
}

enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    /// `deflate`, before enough has arrived to tell which of the two formats of that name it is.
    Unsure(Vec<u8>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Raw(DeflateDecoder<Vec<u8>>),
}

impl Unfolding {
    /// `None` if the body is not encoded. `Err`: the name of an encoding that is not known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Unfolding>, String> {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let names: Vec<String> = values
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
            .filter(|name| !["", "identity", "none"].contains(&name.as_str()))
            .collect();
        let decoder = match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => return Ok(None),
            ["gzip" | "x-gzip"] => Decoder::Gzip(GzDecoder::new(vec![])),
            ["deflate"] => Decoder::Unsure(vec![]),
            _ => return Err(names.join(", ")),
        };
        Ok(Some(Unfolding {
            decoder,
            input: Bytes::new(),
            ended: false,
        }))
    }

    /// Takes the next chunk of input. Call it only after [`next`](Self::next) has returned `None`.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.input = chunk;
    }

    /// The next part of the output. `None` if more input is needed.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.ended && !self.input.is_empty() {
            let step = &self.input[..self.input.len().min(STEP)];
            let used = self.decoder.write(step)?;
            self.ended = used == 0;
            let _ = self.input.split_to(used);
            let out = self.decoder.taken()?;
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }

    /// Call this at the end of the input. Fails if the input is not complete.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Zlib(decoder) => decoder.try_finish(),
            Decoder::Raw(decoder) => decoder.try_finish(),
            Decoder::Unsure(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Decoder {
    fn write(&mut self, step: &[u8]) -> io::Result<usize> {
        match self {
            Decoder::Gzip(decoder) => decoder.write(step),
            Decoder::Zlib(decoder) => decoder.write(step),
            Decoder::Raw(decoder) => decoder.write(step),
            Decoder::Unsure(head) => {
                head.push(step[0]);
                if let [first, second] = head[..] {
                    // RFC 1950, 2.2: the method, and a check over both bytes. Some servers leave
                    // this header out.
                    let zlib = first & 15 == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
                    *self = match zlib {
                        true => Decoder::Zlib(ZlibDecoder::new(vec![])),
                        false => Decoder::Raw(DeflateDecoder::new(vec![])),
                    };
                    match self {
                        Decoder::Zlib(decoder) => decoder.write_all(&[first, second])?,
                        Decoder::Raw(decoder) => decoder.write_all(&[first, second])?,
                        _ => {}
                    }
                }
                Ok(1)
            }
        }
    }

    /// The input so far.
    fn taken(&mut self) -> io::Result<Vec<u8>> {
        Ok(match self {
            Decoder::Gzip(decoder) => {
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
            Decoder::Zlib(decoder) => {
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
            Decoder::Raw(decoder) => {
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
            Decoder::Unsure(_) => vec![],
        })
    }
}

#[cfg(test)]
#[path = "content_encoding_tests.rs"]
mod tests;
