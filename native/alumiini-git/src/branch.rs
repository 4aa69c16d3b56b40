//! The name of a branch.

use std::fmt;

use crate::error::on_one_line;

/// A branch's name without `refs/heads/`. Bytes: Git does not promise that it is UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Branch(Vec<u8>);

impl Branch {
    pub(crate) fn new(name: impl Into<Vec<u8>>) -> Branch {
        Branch(name.into())
    }

    /// The branch whose local ref is `full`.
    pub(crate) fn of_local(full: &[u8]) -> Option<Branch> {
        full.strip_prefix(b"refs/heads/").map(Branch::new)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `refs/heads/…`.
    pub(crate) fn local(&self) -> Vec<u8> {
        [b"refs/heads/", self.as_bytes()].concat()
    }

    /// What the remote's branch was at when it was fetched last: `refs/remotes/origin/…`.
    pub(crate) fn tracking(&self) -> Vec<u8> {
        [b"refs/remotes/origin/", self.as_bytes()].concat()
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A ref's name in a sentence: as it is, but for what no terminal should get and for bytes that are no text.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(&on_one_line(chunk.valid()));
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_it_is_but_for_what_is_no_text() {
        for (name, expected) in [
            (&b"main"[..], "main"),
            ("käse".as_bytes(), "käse"),
            (b"caf\xe9/x", "caf\\xe9/x"),
            (b"a\x1b[31m", "a\\u{1b}[31m"),
        ] {
            assert_eq!(shown(name), expected);
        }
    }
}
