//! How much two files have in common, by Git's own measure: the bytes of the lines that both have.

use std::collections::HashMap;

/// A piece of a file ends with its line, or after so many bytes.
const LONGEST_PIECE: u64 = 64;
/// How many pieces are told from each other (a prime number).
const BUCKETS: u32 = 107_927;

/// The bytes of a file by the pieces that they are in, sorted. What each piece comes to is Git's
/// own sum, so that scores are the same.
pub(super) fn pieces(data: &[u8]) -> Vec<(u32, u64)> {
    let is_text = !data[..data.len().min(8_000)].contains(&0);
    let mut bytes: HashMap<u32, u64> = HashMap::new();
    let (mut low, mut high, mut length) = (0u32, 0u32, 0);
    let mut end = |low: u32, high: u32, length: u64| {
        let piece = low.wrapping_add(high.wrapping_mul(0x61)) % BUCKETS;
        *bytes.entry(piece).or_default() += length;
    };
    for (at, byte) in data.iter().enumerate() {
        // The end of a line is one, however it is written.
        if is_text && *byte == b'\r' && data.get(at + 1) == Some(&b'\n') {
            continue;
        }
        (low, high) = (
            ((low << 7) ^ (high >> 25)).wrapping_add(u32::from(*byte)),
            (high << 7) ^ (low >> 25),
        );
        length += 1;
        if length == LONGEST_PIECE || *byte == b'\n' {
            end(low, high, length);
            (low, high, length) = (0, 0, 0);
        }
    }
    if length > 0 {
        end(low, high, length);
    }
    let mut pieces: Vec<_> = bytes.into_iter().collect();
    pieces.sort_unstable();
    pieces
}

/// The bytes of pieces that both have.
pub(super) fn common(old: &[(u32, u64)], new: &[(u32, u64)]) -> u64 {
    let mut new = new.iter().peekable();
    let mut sum = 0;
    for (piece, bytes) in old {
        while new.next_if(|(other, _)| other < piece).is_some() {}
        if let Some((_, others)) = new.next_if(|(other, _)| other == piece) {
            sum += bytes.min(others);
        }
    }
    sum
}
