//! Files and directories that are named by their paths, and what is below them.

use crate::error::{Error, Kind, Result};

/// All paths where none is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths(Vec<Vec<u8>>);

impl Paths {
    /// Of paths from the root of a commit. A slash at the end, as a directory may have it, does not
    /// matter. `unsafe_path` where one leads out.
    pub(crate) fn new(names: Vec<Vec<u8>>) -> Result<Paths> {
        let names = names.into_iter().map(clean).collect::<Result<Vec<_>>>()?;
        // The root is all there is.
        match names.iter().any(Vec::is_empty) {
            true => Ok(Paths::default()),
            false => Ok(Paths(names)),
        }
    }

    /// Whether `path` is one of them, or below one.
    pub(crate) fn take(&self, path: &[u8]) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| is_at(path, name))
    }

    /// Whether one of them is below the directory `path`, which ends with a slash, or above it.
    pub(crate) fn enter(&self, path: &[u8]) -> bool {
        self.take(path) || self.0.iter().any(|name| name.starts_with(path))
    }
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

fn is_at(path: &[u8], name: &[u8]) -> bool {
    path.strip_prefix(name)
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
        let paths = of(&["deploy/", "charts//./app"]).unwrap();
        for path in [
            "deploy/a.yaml",
            "deploy/b/c",
            "deploy",
            "charts/app",
            "charts/app/x",
        ] {
            assert!(paths.take(path.as_bytes()), "{path}");
        }
        for path in ["deployment", "charts/x", "charts", "a/deploy/b"] {
            assert!(!paths.take(path.as_bytes()), "{path}");
        }
        for dir in ["deploy/", "charts/", "charts/app/", "deploy/b/"] {
            assert!(paths.enter(dir.as_bytes()), "{dir}");
        }
        for dir in ["charts/other/", "src/", "chart/"] {
            assert!(!paths.enter(dir.as_bytes()), "{dir}");
        }
    }

    #[test]
    fn the_root_is_all_and_what_leads_out_is_refused() {
        for all in [&[][..], &["."], &["", "deploy"], &["./"]] {
            assert!(of(all).unwrap().take(b"any/thing"));
        }
        for out in ["/etc", "a/../..", "..", "a\0"] {
            assert_eq!(of(&[out]).unwrap_err().kind, Kind::UnsafePath, "{out}");
        }
    }
}
