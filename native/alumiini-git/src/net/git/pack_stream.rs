//! A pack's bytes on their way from a server to who indexes them, as Git takes them: of version 2
//! or 3, and whole.
//!
//! Version 3 is version 2 with another number (gitformat-pack). libgit2 reads 2 only, so that
//! number and the checksum over it change on the way. Without side-bands nothing but that checksum
//! tells a whole pack from one that was cut.

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
    /// What has come of the head.
    Head(BytesMut),
    /// Nothing to be done.
    Plain,
    Checked(Checked),
}

struct Checked {
    /// Over all but what is held.
    sum: Sha1,
    /// The same with the version that is passed on, where that is another one.
    changed: Option<Sha1>,
    /// The last bytes so far: the checksum, once all has come.
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

    /// Takes the next bytes; returns those that can be passed on, none perhaps.
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
                    // Whoever indexes it finds the checksum wrong.
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
