//! Names of refs: what Git takes as one, and what people call it.

use std::fmt;

use git2::Oid;

use crate::error::{Error, Key, Name, Result, on_one_line};

/// A branch's name without `refs/heads/`. Bytes: Git does not promise that it is UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Branch(Vec<u8>);

impl Branch {
    /// From a short name, such as `main`. Nothing checks it: see [`Reference::full`].
    pub(crate) fn new(name: impl Into<Vec<u8>>) -> Branch {
        Branch(name.into())
    }

    /// The branch whose local ref is `full`.
    pub(crate) fn of_local(full: &[u8]) -> Option<Branch> {
        full.strip_prefix(b"refs/heads/").map(Branch::new)
    }

    /// The short name, without `refs/heads/`.
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

/// A ref's name for messages: control characters, and bytes that are not UTF-8, are escaped.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(&on_one_line(chunk.valid()));
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

/// What a request names of a remote.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Branch(Branch),
    Tag(Vec<u8>),
    /// `HEAD`, or a full ref name.
    Full(Vec<u8>),
    /// What the client has found a tag to be at.
    TagAt(Vec<u8>, Tip),
    Commit(Oid),
    /// The branch that the remote's HEAD names.
    Default,
}

/// What a ref is at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tip {
    /// What the ref itself holds: for an annotated tag, the tag object.
    pub(crate) id: Oid,
    /// The commit that `id` leads to: `id` itself, unless it is a tag object.
    pub(crate) commit: Oid,
    /// The full name of the ref that this one points to, if it is symbolic.
    pub(crate) symref_target: Option<Vec<u8>>,
}

impl Tip {
    /// For a commit that no ref need be at.
    pub(crate) fn of(commit: Oid) -> Tip {
        Tip {
            id: commit,
            commit,
            symref_target: None,
        }
    }
}

impl Reference {
    /// The branch of this short name.
    pub(crate) fn branch(name: impl Into<Vec<u8>>) -> Reference {
        Reference::Branch(Branch::new(name))
    }

    /// The name as the request gave it: a short one of a branch or tag, the id of a commit.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Reference::Branch(branch) => branch.as_bytes().to_vec(),
            Reference::Tag(name) | Reference::TagAt(name, _) | Reference::Full(name) => {
                name.clone()
            }
            Reference::Commit(id) => id.to_string().into_bytes(),
            Reference::Default => HEAD.to_vec(),
        }
    }

    /// The full ref name, such as `refs/heads/main`; `None` for a commit. `invalid` where Git does
    /// not take the name (git-check-ref-format(1)), or where it is short and has to be full.
    pub(crate) fn full(&self) -> Result<Option<Vec<u8>>> {
        let full = match self {
            Reference::Branch(branch) => branch.local(),
            Reference::Tag(name) | Reference::TagAt(name, _) => [b"refs/tags/", &name[..]].concat(),
            Reference::Full(name) if name == HEAD || name.starts_with(b"refs/") => name.clone(),
            Reference::Full(name) => {
                let message = format!("`{}` is not a full ref name: refs/…, or HEAD", shown(name));
                return Err(Error::invalid(message));
            }
            Reference::Commit(_) => return Ok(None),
            Reference::Default => HEAD.to_vec(),
        };
        valid_ref(&full)?;
        Ok(Some(full))
    }

    /// The branch that HEAD is to be on, where the ref is at `tip`; none where HEAD is to be
    /// detached. The name of the default branch is the remote's, and one that Git does not take is
    /// none.
    pub(crate) fn head_branch(&self, tip: &Tip) -> Option<Branch> {
        match self {
            Reference::Branch(branch) => Some(branch.clone()),
            Reference::Default => {
                let target = tip
                    .symref_target
                    .as_deref()
                    .filter(|target| is_valid_name(target))?;
                Branch::of_local(target)
            }
            _ => None,
        }
    }
}

const HEAD: &[u8] = b"HEAD";

/// Refuses what Git's `check-ref-format` refuses, before it reaches a remote or libgit2.
fn valid_ref(full: &[u8]) -> Result<()> {
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

/// A full ref name in two parts for messages: what it is (`branch`, `tag` or `ref`), and its short
/// name.
pub(crate) fn named(full: &[u8]) -> (&'static str, &[u8]) {
    for (prefix, what) in [(&b"refs/heads/"[..], "branch"), (b"refs/tags/", "tag")] {
        if let Some(short) = full.strip_prefix(prefix) {
            return (what, short);
        }
    }
    ("ref", full)
}

/// Whether Git takes `name` as a ref's (git-check-ref-format), of one level only where that is in
/// capitals, like `HEAD`.
pub(crate) fn is_valid_name(name: &[u8]) -> bool {
    let one_level = !name.contains(&b'/');
    if one_level
        && !name
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || *byte == b'_')
    {
        return false;
    }
    let holds = |two: &[u8]| name.windows(2).any(|pair| pair == two);
    let forbidden = |byte: &u8| byte.is_ascii_control() || b" ~^:?*[\\".contains(byte);
    let components = name.split(|byte| *byte == b'/');
    !(name.iter().any(forbidden) || holds(b"..") || holds(b"@{") || name.ends_with(b"."))
        && components.into_iter().all(|component| {
            !(component.is_empty() || component.starts_with(b".") || component.ends_with(b".lock"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_branch_is_of_a_name_that_git_takes() {
        let head = |target: &[u8]| {
            let tip = Tip {
                symref_target: Some(target.to_vec()),
                ..Tip::of(Oid::from_bytes(&[0; 20]).unwrap())
            };
            Reference::Default.head_branch(&tip)
        };
        assert_eq!(head(b"refs/heads/a/b"), Some(Branch::new("a/b")));
        for target in [
            &b"refs/heads/../../../x"[..],
            b"refs/heads/a\nb",
            b"refs/heads/",
            b"refs/heads/.x",
            b"refs/heads/x.lock",
            b"refs/tags/v1",
            b"HEAD",
            b"",
        ] {
            assert_eq!(head(target), None, "{target:?}");
        }
    }

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
