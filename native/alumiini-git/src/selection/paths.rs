//! Files and directories that are named by their paths, and what is below them.

use crate::error::{Error, Kind, Result};

/// All paths where none is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Paths {
    /// Sorted by bytes with the slash first, so that nothing comes between a directory and what is
    /// below it; none is below another.
    names: Vec<Vec<u8>>,
}

impl Paths {
    /// Of paths from the root of a commit. A slash at the end, as a directory may have it, does not
    /// matter, nor does their order, nor one that is below another. `unsafe_path` where one leads
    /// out.
    pub(crate) fn new(names: Vec<Vec<u8>>) -> Result<Paths> {
        let mut names = names.into_iter().map(clean).collect::<Result<Vec<_>>>()?;
        names.sort_unstable_by(|one, other| key(one).cmp(key(other)));
        names.dedup_by(|name, before| is_at(name, before));
        // The root is all there is.
        if names.first().is_some_and(Vec::is_empty) {
            names.clear();
        }
        Ok(Paths { names })
    }

    pub(crate) fn is_all(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// Whether `path` is one of them, or below one.
    pub(crate) fn take(&self, path: &[u8]) -> bool {
        self.is_all() || {
            let next = self.names.partition_point(|name| key(name).le(key(path)));
            next > 0 && is_at(path, &self.names[next - 1])
        }
    }

    /// Whether one of them is below the directory `path`, which ends with a slash, or above it.
    pub(crate) fn enter(&self, path: &[u8]) -> bool {
        self.take(path) || {
            let next = self.names.partition_point(|name| key(name).lt(key(path)));
            self.names
                .get(next)
                .is_some_and(|name| name.starts_with(path))
        }
    }
}

/// What paths are sorted by.
fn key(path: &[u8]) -> impl Iterator<Item = u8> + '_ {
    // No path holds a NUL.
    path.iter()
        .map(|byte| if *byte == b'/' { 0 } else { *byte })
}

/// The path `name`, without what says nothing. `unsafe_path` where it leads out.
pub(crate) fn clean(name: Vec<u8>) -> Result<Vec<u8>> {
    let steps: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|step| !step.is_empty() && *step != b".")
        .collect();
    if name.starts_with(b"/") || name.contains(&0) || steps.contains(&&b".."[..]) {
        let message = format!(
            "the path `{}` is refused: paths are relative to the repository, without `..`",
            crate::reference::shown(&name)
        );
        return Err(Error::new(Kind::UnsafePath, message));
    }
    Ok(steps.join(&b'/'))
}

/// Whether `path` is `name`, or below it.
fn is_at(path: &[u8], name: &[u8]) -> bool {
    name.is_empty()
        || path
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<Paths> {
        Paths::new(names.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn what_is_named_is_taken_with_what_is_below() {
        let paths = of(&["deploy/", "charts//./app", "deploy-old"]).unwrap();
        for path in [
            "deploy/a.yaml",
            "deploy/b/c",
            "deploy",
            "deploy-old/a",
            "charts/app",
            "charts/app/x",
        ] {
            assert!(paths.take(path.as_bytes()), "{path}");
        }
        for path in ["deployment", "charts/x", "charts", "a/deploy/b", "deploy-"] {
            assert!(!paths.take(path.as_bytes()), "{path}");
        }
        for dir in ["deploy/", "charts/", "charts/app/", "deploy/b/"] {
            assert!(paths.enter(dir.as_bytes()), "{dir}");
        }
        for dir in ["charts/other/", "src/", "chart/", "deploy-new/"] {
            assert!(!paths.enter(dir.as_bytes()), "{dir}");
        }
    }

    #[test]
    fn the_same_paths_are_equal_however_they_are_written() {
        let paths = of(&["b", "a/c", "a"]).unwrap();
        assert_eq!(paths, of(&["a/", "b//", "a/x/y", "./b"]).unwrap());
        assert_ne!(paths, of(&["a", "b-"]).unwrap());
        assert_eq!(paths.names(), [b"a".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn the_root_is_all_and_what_leads_out_is_refused() {
        for all in [&[][..], &["."], &["", "deploy"], &["./"]] {
            let paths = of(all).unwrap();
            assert!(paths.is_all() && paths.take(b"any/thing") && paths.enter(b"any/"));
        }
        for out in ["/etc", "a/../..", "..", "a\0"] {
            assert_eq!(of(&[out]).unwrap_err().kind, Kind::UnsafePath, "{out}");
        }
    }
}
