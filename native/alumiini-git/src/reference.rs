//! Names of refs: what Git takes as one, and what people call it.

use std::fmt;

use crate::error::{Error, Key, Name, Result, on_one_line};

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

/// A ref as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Branch(Vec<u8>),
    Tag(Vec<u8>),
    /// `HEAD`, or a full ref name.
    Full(Vec<u8>),
}

impl Reference {
    /// As it was given.
    pub(crate) fn name(&self) -> &[u8] {
        let (Reference::Branch(name) | Reference::Tag(name) | Reference::Full(name)) = self;
        name
    }

    /// The full ref name; `invalid` where one was to be given and is not.
    pub(crate) fn full(&self) -> Result<Vec<u8>> {
        match self {
            Reference::Branch(name) => Ok([b"refs/heads/", &name[..]].concat()),
            Reference::Tag(name) => Ok([b"refs/tags/", &name[..]].concat()),
            Reference::Full(name) if name == b"HEAD" || name.starts_with(b"refs/") => Ok(name.clone()),
            Reference::Full(name) => {
                let message = format!("`{}` is not a full ref name: refs/…, or HEAD", shown(name));
                Err(Error::invalid(message))
            }
        }
    }
}

/// Refuses what Git's `check-ref-format` refuses, before it reaches a remote or libgit2.
pub(crate) fn valid_ref(full: &[u8]) -> Result<()> {
    if is_valid_name(full) {
        return Ok(());
    }
    let (what, short) = named(full);
    let message = format!(
        "`{}` is not a valid name for a {what} (see git check-ref-format)",
        shown(short)
    );
    Err(Error::invalid(message).with(Key::Ref, Name::new(short)))
}

/// What a ref is called to people: what it is, and its name.
pub(crate) fn named(full: &[u8]) -> (&'static str, &[u8]) {
    for (prefix, what) in [(&b"refs/heads/"[..], "branch"), (b"refs/tags/", "tag")] {
        if let Some(short) = full.strip_prefix(prefix) {
            return (what, short);
        }
    }
    ("ref", full)
}

/// Whether Git takes `name` as a ref's (git-check-ref-format), of one level only where that is in capitals, like `HEAD`.
pub(crate) fn is_valid_name(name: &[u8]) -> bool {
    let one_level = !name.contains(&b'/');
    if one_level && !name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') {
        return false;
    }
    let holds = |two: &[u8]| name.windows(2).any(|pair| pair == two);
    let forbidden = |byte: &u8| byte.is_ascii_control() || b" ~^:?*[\\".contains(byte);
    let components = name.split(|byte| *byte == b'/');
    !(name.iter().any(forbidden) || holds(b"..") || holds(b"@{") || name.ends_with(b"."))
        && components
            .into_iter()
            .all(|component| !(component.is_empty() || component.starts_with(b".") || component.ends_with(b".lock")))
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
