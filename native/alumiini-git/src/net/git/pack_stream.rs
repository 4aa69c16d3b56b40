//! Passes a pack's bytes from the server to the indexer, and checks, as Git does, that the pack is
//! of version 2 or 3 and whole.
//!
//! Version 3 is version 2 with another number (gitformat-pack). It is passed on as version 2, with
//! the checksum that goes with that. Without side-bands, only the checksum tells a whole pack from
//! one that was cut.

use bytes::{Bytes, BytesMut};
use sha1::{Digest, Sha1};

/// `PACK` and the version.
const HEAD: usize = 8;
const CHECKSUM: usize = 20;

pub(in crate::net) struct PackStream {
    state: State,
    must_be_whole: bool,
}

enum State {
    /// The head, as far as it has arrived.
    Head(BytesMut),
    /// Bytes are passed on unchanged.
    Plain,
    Checked(Checked),
}

struct Checked {
    /// Over all bytes but those in `held`.
    sum: Sha1,
    /// The same over the bytes that are passed on, where the version differs.
    changed: Option<Sha1>,
    /// The last bytes so far. At the end of the pack they are its checksum.
    held: BytesMut,
}

impl PackStream {
    /// `must_be_whole`: whether [`end`](Self::end) tells a whole pack from one that was cut.
    pub(in crate::net) fn new(must_be_whole: bool) -> PackStream {
        PackStream {
            state: State::Head(BytesMut::new()),
            must_be_whole,
        }
    }

    /// Takes the next bytes. Returns those that can be passed on, which may be none.
    pub(in crate::net) fn take(&mut self, data: Bytes) -> Bytes {
        match &mut self.state {
            State::Plain => data,
            State::Checked(checked) => checked.take(&data),
            State::Head(head) if head.len() + data.len() < HEAD => {
                head.extend_from_slice(&data);
                Bytes::new()
            }
            State::Head(head) => {
                let mut all = std::mem::take(head);
                all.extend_from_slice(&data);
                let third = all.starts_with(b"PACK\0\0\0\x03");
                if !third && !self.must_be_whole {
                    self.state = State::Plain;
                    return all.freeze();
                }
                let mut checked = Checked {
                    sum: Sha1::new(),
                    changed: None,
                    held: BytesMut::new(),
                };
                let mut passed = all.split_to(HEAD);
                checked.sum.update(&passed);
                if third {
                    passed[HEAD - 1] = 2;
                    checked.changed = Some(Sha1::new_with_prefix(&passed));
                }
                passed.extend_from_slice(&checked.take(&all));
                self.state = State::Checked(checked);
                passed.freeze()
            }
        }
    }

    /// The last bytes to pass on. `None`: the pack is not whole, though it must be.
    pub(in crate::net) fn end(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.state, State::Plain) {
            State::Plain => Some(Bytes::new()),
            State::Head(head) => (!self.must_be_whole).then(|| head.freeze()),
            State::Checked(checked) => {
                if checked.sum.finalize()[..] != checked.held[..] {
                    // The indexer finds that the checksum is wrong.
                    return (!self.must_be_whole).then(|| checked.held.freeze());
                }
                let changed = checked
                    .changed
                    .map(|sum| Bytes::copy_from_slice(&sum.finalize()));
                Some(changed.unwrap_or_else(|| checked.held.freeze()))
            }
        }
    }
}

impl Checked {
    fn take(&mut self, data: &[u8]) -> Bytes {
        self.held.extend_from_slice(data);
        let passed = self.held.split_to(self.held.len().saturating_sub(CHECKSUM));
        self.sum.update(&passed);
        if let Some(changed) = &mut self.changed {
            changed.update(&passed);
        }
        passed.freeze()
    }
}

#[cfg(test)]
#[path = "pack_stream_tests.rs"]
mod tests;
