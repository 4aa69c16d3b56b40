//! How an entry of a pack begins, and what a delta says (gitformat-pack(5)).

use git2::{ObjectType, Oid};

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole(ObjectType),
    /// A delta of the entry that begins so many bytes before this one.
    Behind(u64),
    /// A delta of the object of this id.
    Of(Oid),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) form: Form,
    /// Bytes of what is deflated: the object's, or the delta's own.
    pub(super) size: u64,
}

/// Reads a header from what `next` gives byte by byte. The inner `None`: it is no header.
pub(super) fn read<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Option<Header>, E> {
    let first = next()?;
    let mut size = u64::from(first & 15);
    let (mut byte, mut shift) = (first, 4);
    while byte & 0x80 != 0 {
        byte = next()?;
        match u64::from(byte & 0x7f).checked_shl(shift) {
            Some(more) if more >> shift == u64::from(byte & 0x7f) => size |= more,
            _ => return Ok(None),
        }
        shift += 7;
    }
    let form = match first >> 4 & 7 {
        1 => Form::Whole(ObjectType::Commit),
        2 => Form::Whole(ObjectType::Tree),
        3 => Form::Whole(ObjectType::Blob),
        4 => Form::Whole(ObjectType::Tag),
        6 => match distance(&mut next)? {
            Some(distance) => Form::Behind(distance),
            None => return Ok(None),
        },
        7 => {
            let mut id = [0; 20];
            for byte in &mut id {
                *byte = next()?;
            }
            Form::Of(Oid::from_bytes(&id).unwrap_or(Oid::ZERO_SHA1))
        }
        _ => return Ok(None),
    };
    Ok(Some(Header { form, size }))
}

/// Big end first, and each byte but the last stands for one more than it says.
fn distance<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Option<u64>, E> {
    let mut byte = next()?;
    let mut distance = u64::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = next()?;
        let Some(shifted) = distance
            .checked_add(1)
            .and_then(|more| more.checked_mul(128))
        else {
            return Ok(None);
        };
        distance = shifted | u64::from(byte & 0x7f);
    }
    Ok(Some(distance))
}

/// The header of a whole object, as [`read`] reads it.
pub(super) fn write(kind: ObjectType, size: u64) -> Vec<u8> {
    let kind = match kind {
        ObjectType::Commit => 1,
        ObjectType::Tree => 2,
        ObjectType::Tag => 4,
        _ => 3,
    };
    let (mut byte, mut rest) = (kind << 4 | (size & 15) as u8, size >> 4);
    let mut header = Vec::new();
    while rest > 0 {
        header.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    header.push(byte);
    header
}

/// A delta, taken apart as far as its sizes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delta<'a> {
    /// Bytes of what it is made of.
    pub(super) base: u64,
    /// Bytes of what it makes.
    pub(super) result: u64,
    steps: &'a [u8],
}

impl<'a> Delta<'a> {
    /// None has less than four bytes: two sizes and one step, Git says.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Delta<'a>> {
        if bytes.len() < 4 {
            return None;
        }
        let (base, rest) = size(bytes)?;
        let (result, steps) = size(rest)?;
        Some(Delta {
            base,
            result,
            steps,
        })
    }

    /// Appends what it makes of `base` to `result`. `None` where it does not do as its sizes say;
    /// never more than they say.
    pub(super) fn apply(&self, base: &[u8], result: &mut Vec<u8>) -> Option<()> {
        let end = result
            .len()
            .checked_add(usize::try_from(self.result).ok()?)?;
        let mut steps = self.steps;
        while let Some((step, rest)) = steps.split_first() {
            let piece;
            (piece, steps) = match *step {
                0 => return None,
                copy if copy & 0x80 != 0 => {
                    let (at, length, rest) = copied(copy, rest)?;
                    (base.get(at..at.checked_add(length)?)?, rest)
                }
                length => rest.split_at_checked(usize::from(length))?,
            };
            if piece.len() > end - result.len() {
                return None;
            }
            result.extend_from_slice(piece);
        }
        (result.len() == end).then_some(())
    }
}

/// Little end first.
fn size(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut size, mut shift) = (0u64, 0);
    for (place, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let more = bits.checked_shl(shift)?;
        if more >> shift != bits {
            return None;
        }
        size |= more;
        if byte & 0x80 == 0 {
            return Some((size, &bytes[place + 1..]));
        }
        shift += 7;
    }
    None
}

/// From where, how much, and what follows the step: which bytes of both are written out is what the
/// step's own bits say.
fn copied(step: u8, mut rest: &[u8]) -> Option<(usize, usize, &[u8])> {
    let mut number = |bits: std::ops::Range<u32>| {
        let (mut number, first) = (0usize, bits.start);
        for bit in bits {
            if step >> bit & 1 == 1 {
                let (byte, after) = rest.split_first()?;
                number |= usize::from(*byte) << (8 * (bit - first));
                rest = after;
            }
        }
        Some(number)
    };
    let (at, length) = (number(0..4)?, number(4..7)?);
    Some((at, if length == 0 { 0x10000 } else { length }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Option<Header> {
        let mut rest = bytes.iter();
        let read = read(|| rest.next().copied().ok_or(()));
        assert!(rest.next().is_none(), "not all of {bytes:?} was read");
        read.ok().flatten()
    }

    #[test]
    fn headers_are_read_as_they_are_written() {
        for kind in [
            ObjectType::Commit,
            ObjectType::Tree,
            ObjectType::Blob,
            ObjectType::Tag,
        ] {
            for size in [0, 1, 15, 16, 2047, 2048, 1 << 31, u64::MAX] {
                let form = Form::Whole(kind);
                assert_eq!(header(&write(kind, size)), Some(Header { form, size }));
            }
        }
        // One byte more than it takes.
        let form = Form::Whole(ObjectType::Blob);
        assert_eq!(header(&[0xb3, 0]), Some(Header { form, size: 3 }));
        assert_eq!(
            header(&[0x65, 0x0c]),
            Some(Header {
                form: Form::Behind(12),
                size: 5
            })
        );
        assert_eq!(
            header(&[0x65, 0x80, 0]),
            Some(Header {
                form: Form::Behind(128),
                size: 5
            })
        );
    }

    #[test]
    fn what_is_no_header_is_told() {
        assert_eq!(header(&[0x05]), None, "no kind");
        assert_eq!(header(&[0x55]), None, "a kind that is not used");
        let long = [&[0xb0][..], &[0x80; 9], &[0x7f]].concat();
        let mut bytes = long.iter();
        assert_eq!(
            read(|| bytes.next().copied().ok_or(())),
            Ok(None),
            "a size of more than 64 bits"
        );
        let far = [&[0x60][..], &[0xff; 10], &[0]].concat();
        let mut bytes = far.iter();
        assert_eq!(
            read(|| bytes.next().copied().ok_or(())),
            Ok(None),
            "a distance of more than 64 bits"
        );
        assert_eq!(read(|| Err::<u8, _>("cut")), Err("cut"));
    }

    #[test]
    fn deltas_copy_and_insert() {
        let delta = Delta::new(&[5, 8, 0x91, 1, 3, 2, b'x', b'y', 0x90, 3]).unwrap();
        assert_eq!((delta.base, delta.result), (5, 8));
        let mut made = Vec::new();
        assert_eq!(delta.apply(b"abcde", &mut made), Some(()));
        assert_eq!(made, b"bcdxyabc");
    }

    #[test]
    fn deltas_that_lie_are_refused() {
        for (what, delta) in [
            ("a step of no kind", &[3, 1, 0, 0][..]),
            ("more than promised", &[3, 1, 2, b'x', b'y']),
            ("less than promised", &[3, 2, 1, b'x']),
            ("cut off in an insertion", &[3, 2, 2, b'x']),
            ("cut off in a copy", &[3, 2, 0x91, 0]),
            ("a copy from behind the end", &[3, 1, 0x91, 3, 1]),
            (
                "a copy of 64 KiB, which is what no length says",
                &[3, 1, 0x80, 0x80],
            ),
        ] {
            assert_eq!(
                Delta::new(delta).unwrap().apply(b"abc", &mut Vec::new()),
                None,
                "{what}"
            );
        }
        assert_eq!(Delta::new(&[3, 1, 0]), None, "too short");
        assert_eq!(Delta::new(&[0x80; 12]), None);
        assert_eq!(
            Delta::new(&[&[0xff; 9][..], &[0x7f, 1]].concat()),
            None,
            "more than 64 bits"
        );
    }
}
