//! Which files of a repository are fetched and checked out: all, or those of some paths.

use crate::error::{Error, Result};
use crate::reference::shown;
use crate::selection::Selection;
use crate::selection::paths::Paths;

/// Bytes of all paths and rules of one scope: it is noted in the repository.
const MAX_BYTES: usize = 64 << 10;
/// How many paths an error names.
const SHOWN: usize = 5;

/// Two scopes that are equal take the same files. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    paths: Paths,
    /// Lines as those of a `.gitignore`: what they take is left out.
    ignored: Vec<Vec<u8>>,
}

impl Scope {
    /// `unsafe_path` where a path leads out; `invalid` where a rule is none, or there are too many.
    pub(crate) fn new(paths: Vec<Vec<u8>>, ignored: Vec<Vec<u8>>) -> Result<Scope> {
        let bytes: usize = paths.iter().chain(&ignored).map(|one| one.len() + 2).sum();
        if bytes > MAX_BYTES {
            let message = format!(
                "`paths` and `ignore` have {bytes} bytes together; a sync takes at most {MAX_BYTES}"
            );
            return Err(Error::invalid(message));
        }
        let paths = Paths::new(paths)?;
        let scope = Scope { paths, ignored };
        scope.filter().map(|_| scope)
    }

    /// Whether no file is left out.
    pub(crate) fn is_all(&self) -> bool {
        self.paths.is_all() && self.ignored.is_empty()
    }

    /// What paths are held against.
    pub(crate) fn filter(&self) -> Result<Filter> {
        let ignored = (!self.ignored.is_empty()).then(|| self.ignored.clone());
        Ok(Filter {
            paths: self.paths.clone(),
            selection: Selection::new(None, ignored)?,
        })
    }

    /// As it is noted, see [`Scope::decode`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        let one = |kind: u8, text: &[u8]| [&[kind], text, b"\0"].concat();
        let paths = self.paths.names().iter().map(|path| one(b'p', path));
        let ignored = self.ignored.iter().map(|line| one(b'i', line));
        paths.chain(ignored).flatten().collect()
    }

    /// None where `bytes` are not what [`Scope::encode`] makes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Scope> {
        let (mut paths, mut ignored) = (Vec::new(), Vec::new());
        let Some(bytes) = bytes.strip_suffix(b"\0") else {
            return bytes.is_empty().then(Scope::default);
        };
        for one in bytes.split(|byte| *byte == 0) {
            match one.split_first()? {
                (b'p', path) => paths.push(path.to_vec()),
                (b'i', line) => ignored.push(line.to_vec()),
                _ => return None,
            }
        }
        Scope::new(paths, ignored).ok()
    }

    /// As patterns of Git's `info/sparse-checkout` (git-sparse-checkout(1), "Internals - Full
    /// Pattern Set").
    pub(crate) fn patterns(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if self.paths.is_all() {
            text.extend(b"/*\n");
        }
        for path in self.paths.names() {
            text.push(b'/');
            for byte in path {
                if b"\\*?[ ".contains(byte) {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
            text.push(b'\n');
        }
        for line in &self.ignored {
            match line.strip_prefix(b"!") {
                Some(rest) => text.extend(rest),
                None if line.is_empty() || line.starts_with(b"#") => text.extend(line),
                None => text.extend([b"!", &line[..]].concat()),
            }
            text.push(b'\n');
        }
        text
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        let names = self.paths.names();
        let mut text: Vec<String> = names.iter().take(SHOWN).map(|path| shown(path)).collect();
        if names.len() > SHOWN {
            text.push(format!("{} more", names.len() - SHOWN));
        }
        match (text.is_empty(), self.ignored.is_empty()) {
            (true, _) => "all but what `ignore` says".to_owned(),
            (false, true) => text.join(", "),
            (false, false) => format!("{}, without what `ignore` says", text.join(", ")),
        }
    }
}

/// A scope that paths are held against.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    paths: Paths,
    selection: Selection,
}

impl Filter {
    /// Whether something below the directory `path`, which ends with a slash, may be in it.
    pub(crate) fn enters(&self, path: &[u8]) -> bool {
        self.paths.enter(path) && self.selection.enters(path)
    }

    /// Whether the file `path` is in it, whose directories were [entered](Filter::enters).
    pub(crate) fn takes(&self, path: &[u8]) -> bool {
        self.paths.take(path) && self.selection.takes(path)
    }

    /// Whether the file `path` is in it.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.takes(path) && self.is_entered(path)
    }

    /// Whether the directories above `path` are in it, or above it.
    pub(crate) fn is_entered(&self, path: &[u8]) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.map(|(place, _)| &path[..=place]);
        above.all(|dir| self.enters(dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str], ignored: &[&str]) -> Scope {
        let lines = |of: &[&str]| of.iter().map(|line| line.as_bytes().to_vec()).collect();
        Scope::new(lines(paths), lines(ignored)).unwrap()
    }

    #[test]
    fn a_scope_is_read_as_it_was_written() {
        for scope in [
            of(&[], &[]),
            of(&["a b", "c\nd", "caf\u{e9}"], &[]),
            of(&["a"], &["*.png", "!keep.png", ""]),
            of(&[], &["/docs/"]),
        ] {
            assert_eq!(Scope::decode(&scope.encode()), Some(scope));
        }
        for damaged in [&b"p"[..], b"x\0", b"pa", b"p..\0", b"\0"] {
            assert_eq!(Scope::decode(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn what_is_ignored_is_left_out_with_what_is_below() {
        let filter = of(&["deploy", "charts/app"], &["*.png", "!logo.png", "cache/"])
            .filter()
            .unwrap();
        for path in ["deploy/a.yaml", "deploy/x/logo.png", "charts/app/cache"] {
            assert!(filter.has(path.as_bytes()), "{path}");
        }
        for path in ["deploy/a.png", "deploy/cache/a/b", "src/a", "charts/a.yaml"] {
            assert!(!filter.has(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn too_much_is_refused() {
        let many = vec![b"a/long/path".to_vec(); 10_000];
        let error = Scope::new(many, vec![]).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Invalid);
        assert!(Scope::new(vec![], vec![b"a\nb".to_vec()]).is_err());
    }
}
