//! Counts informational answers (1xx) of HTTP/1. The HTTP client reads and drops them for as long
//! as they come. They are found in the bytes that TLS decrypts, as frames of HTTP/2 are.

use memchr::memmem;

const VERSION: &[u8] = b"HTTP/1.";
/// What follows: the minor version, a space, and the first digit of the status.
const BEHIND: usize = 3;
/// What precedes it: the empty line that ends the previous answer.
const BEFORE: usize = 3;
const WHOLE: usize = BEFORE + VERSION.len() + BEHIND;

/// Counts informational answers in data that may be cut anywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Interim {
    /// The last bytes that have arrived.
    tail: Vec<u8>,
}

impl Interim {
    /// How many informational answers `data` completes that follow another answer's head. (A body
    /// could contain the same text, but packs and lists do not.)
    pub(super) fn count(&mut self, data: &[u8]) -> usize {
        let begun = self.tail.len();
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&data[..data.len().min(WHOLE - 1)]);
        // Those that begin before `data` are counted in the seam, the others in `data`.
        let found = found(&seam).filter(|at| at - BEFORE < begun).count() + found(data).count();
        self.tail = match data.len() {
            short if short < WHOLE - 1 => seam.split_off(seam.len().saturating_sub(WHOLE - 1)),
            _ => data[data.len() - (WHOLE - 1)..].to_vec(),
        };
        found
    }
}

/// Where the versions in status lines are.
fn found(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memmem::find_iter(bytes, VERSION).filter(|at| {
        let is_behind_a_head =
            *at >= BEFORE && matches!(&bytes[at - BEFORE..*at], b"\n\r\n" | [_, b'\n', b'\n']);
        let rest = &bytes[at + VERSION.len()..];
        is_behind_a_head && matches!(rest, [_, b' ', b'1', ..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_however_they_are_cut() {
        let one = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        let bare = b"HTTP/1.0 100 \n\n";
        let last = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nHTTP/1.1 103 is what it says\r\n";
        let answers = [&one[..], one, bare, bare, one, last].concat();
        for size in 1..=answers.len() {
            let mut interim = Interim::default();
            let found: usize = answers.chunks(size).map(|part| interim.count(part)).sum();
            // Not the first, which follows none; and the body's, which looks like one.
            assert_eq!(found, 5, "{size}");
        }
        let mut interim = Interim::default();
        let list =
            b"003f1111111111111111111111111111111111111111 refs/heads/HTTP/1.1\n".repeat(1000);
        assert_eq!(interim.count(&list), 0);
    }
}
