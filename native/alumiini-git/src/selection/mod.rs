//! Which files of a commit, or of a directory, a request is about: patterns as those of
//! gitignore(5).

pub(crate) mod paths;
pub(crate) mod scope;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// Nobody writes a longer one; and each is held against each path.
const LONGEST_PATTERN: usize = 1_024;

/// Patterns that a path is held against.
#[derive(Debug, Clone)]
pub(crate) struct Patterns(Gitignore);

impl Patterns {
    /// Of the lines of a file such as `.gitignore`. What is wrong, where they are none.
    pub(crate) fn of(text: &[u8]) -> std::result::Result<Patterns, String> {
        let mut builder = GitignoreBuilder::new("");
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                return Err("a pattern is not UTF-8".to_owned());
            };
            builder
                .add_line(None, line)
                .map_err(|error| error.to_string())?;
        }
        builder
            .build()
            .map(Patterns)
            .map_err(|error| error.to_string())
    }

    /// Whether the last pattern that matches `path` itself takes it; none where no one matches.
    fn verdict(&self, path: &[u8], is_dir: bool) -> Option<bool> {
        match self.0.matched(OsStr::from_bytes(path), is_dir) {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        }
    }

    /// Whether they take the file `path`: the last pattern decides that matches it, or else the
    /// nearest directory above it of which one says something.
    pub(crate) fn take(&self, path: &[u8]) -> bool {
        let mut at = path;
        let mut is_dir = false;
        loop {
            if let Some(taken) = self.verdict(at, is_dir) {
                return taken;
            }
            match at.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => at = &at[..slash],
                None => return false,
            }
            is_dir = true;
        }
    }
}

/// All files, or those that `matching` takes, without those that `ignored` takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    matching: Option<Patterns>,
    ignored: Option<Patterns>,
}

impl Selection {
    /// Of the lines that a request gives. `invalid` where one is none.
    pub(crate) fn new(
        matching: Option<Vec<Vec<u8>>>,
        ignored: Option<Vec<Vec<u8>>>,
    ) -> Result<Selection> {
        Ok(Selection {
            matching: patterns("match", matching)?,
            ignored: patterns("ignore", ignored)?,
        })
    }

    /// Whether some files are to match.
    pub(crate) fn is_matching(&self) -> bool {
        self.matching.is_some()
    }

    /// Whether something below the directory `path` may be selected, as far as that can be told.
    /// `path` ends with a slash.
    pub(crate) fn enters(&self, path: &[u8]) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        match &self.ignored {
            Some(ignored) => ignored.verdict(path, true) != Some(true),
            None => true,
        }
    }

    /// Whether the file `path` is selected, whose directories were [entered](Selection::enters).
    pub(crate) fn takes(&self, path: &[u8]) -> bool {
        self.matching.as_ref().is_none_or(|them| them.take(path))
            && self
                .ignored
                .as_ref()
                .is_none_or(|them| them.verdict(path, false) != Some(true))
    }
}

fn patterns(field: &str, lines: Option<Vec<Vec<u8>>>) -> Result<Option<Patterns>> {
    let Some(lines) = lines else {
        return Ok(None);
    };
    for line in &lines {
        let why = match line {
            line if line.len() > LONGEST_PATTERN => "is longer than 1,024 bytes",
            line if line.contains(&0) || line.contains(&b'\n') => "has more than one line",
            _ => continue,
        };
        return Err(Error::invalid(format!("a pattern of `{field}` {why}")));
    }
    let patterns = Patterns::of(&lines.join(&b'\n'));
    patterns
        .map(Some)
        .map_err(|error| Error::invalid(format!("`{field}`: {error}")))
}

#[cfg(test)]
mod tests;
