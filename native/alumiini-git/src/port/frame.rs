//! Frames on a pipe: a 4-byte big-endian length and that many bytes (Erlang's `{packet, 4}`).

use std::io::{self, Read};

/// The longest request that is read. Requests hold names, URLs and keys; none of them comes near
/// this.
pub(crate) const MAX_REQUEST: usize = 1 << 20;
/// The longest reply that is written: a `read` of 64 MiB in base64 fits.
pub(crate) const MAX_REPLY: usize = 128 << 20;

/// What arrived.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Body(Vec<u8>),
    /// Longer than [`MAX_REQUEST`]; it was skipped. The length it claimed.
    TooLong(u32),
    /// The input ended inside a frame.
    Truncated,
}

/// Reads the next frame; `None` at the end of the input. Memory grows with the bytes that arrive,
/// not with the length that the frame claims.
pub(crate) fn read(input: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 4];
    match fill(input, &mut head)? {
        0 => return Ok(None),
        4 => {}
        _ => return Ok(Some(Frame::Truncated)),
    }
    let claimed = u32::from_be_bytes(head);
    let length = claimed as u64;
    if length > MAX_REQUEST as u64 {
        let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        return Ok(Some(if skipped == length {
            Frame::TooLong(claimed)
        } else {
            Frame::Truncated
        }));
    }
    let mut body = Vec::with_capacity(claimed.min(4096) as usize);
    let arrived = input.by_ref().take(length).read_to_end(&mut body)? as u64;
    Ok(Some(if arrived == length {
        Frame::Body(body)
    } else {
        Frame::Truncated
    }))
}

/// `read_exact`, but it tells how much there was before the end.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Makes room for the length before a body that is going to be written.
pub(crate) fn begin() -> Vec<u8> {
    vec![0; 4]
}

/// Fills the length in.
pub(crate) fn end(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut frame = begin();
        frame.extend_from_slice(body);
        end(frame)
    }

    fn all(mut bytes: &[u8]) -> Vec<Frame> {
        std::iter::from_fn(|| read(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn an_end_inside_a_frame_is_told_apart_from_an_end_between_frames() {
        assert_eq!(all(b""), []);
        assert_eq!(all(b"\0\0"), [Frame::Truncated]);
        assert_eq!(all(b"\0\0\0\x02a"), [Frame::Truncated]);
        assert_eq!(all(b"\0\0\0\0"), [Frame::Body(vec![])]);
    }

    #[test]
    fn a_frame_that_is_too_long_is_skipped_and_the_next_one_read() {
        let mut bytes = ((MAX_REQUEST + 1) as u32).to_be_bytes().to_vec();
        bytes.resize(4 + MAX_REQUEST + 1, 7);
        bytes.extend(framed(b"next"));
        assert_eq!(
            all(&bytes),
            [
                Frame::TooLong(MAX_REQUEST as u32 + 1),
                Frame::Body(b"next".to_vec())
            ]
        );
        assert_eq!(all(b"\xff\xff\xff\xffabc"), [Frame::Truncated]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            let mut bytes = Vec::new();
            for body in &bodies {
                bytes.extend(framed(body));
            }
            prop_assert_eq!(all(&bytes), bodies.into_iter().map(Frame::Body).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(all(&bytes).len() <= bytes.len());
        }
    }
}
