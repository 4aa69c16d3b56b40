//! What can go wrong, as one closed list that travels: `Kind` is the wire's `kind` and Elixir's
//! `reason`.

mod detail;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

pub(crate) use detail::{Detail, Key, Name};

macro_rules! kinds {
    ($($name:ident $wire:literal $retryable:literal,)*) => {
        /// The closed list of reasons (`protocol/README.md`, "Kinds of error").
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        // Some are part of the contract before anything here gives them.
        #[allow(dead_code)]
        pub(crate) enum Kind { $($name,)* }

        impl Kind {
            #[cfg(test)]
            pub(crate) const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// Its name in replies, such as `not_a_repository`.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Kind::$name => $wire,)* }
            }

            /// Whether the same request may succeed later without anyone changing it.
            pub(crate) fn retryable(self) -> bool {
                match self { $(Kind::$name => $retryable,)* }
            }
        }
    };
}

kinds! {
    Network "network" true,
    RateLimited "rate_limited" true,
    Timeout "timeout" true,
    Overloaded "overloaded" true,
    Incomplete "incomplete" true,
    Locked "locked" true,
    Invalid "invalid" false,
    Unsupported "unsupported" false,
    Auth "auth" false,
    HostKey "host_key" false,
    Certificate "certificate" false,
    Protocol "protocol" false,
    RefNotFound "ref_not_found" false,
    RepoNotFound "repo_not_found" false,
    PathNotFound "path_not_found" false,
    NotARepository "not_a_repository" false,
    Occupied "occupied" false,
    Dirty "dirty" false,
    UnsafePath "unsafe_path" false,
    TooLarge "too_large" false,
    Signature "signature" false,
    Corrupt "corrupt" false,
    Io "io" false,
    Cancelled "cancelled" false,
    Internal "internal" false,
}

/// An error as it travels: a sentence that says what failed, on what, and what to do about it.
/// It must never hold a secret; URLs in it are shown through [`crate::net::url::RemoteUrl`]'s
/// `Display`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Error {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) detail: BTreeMap<Key, Detail>,
    pub(crate) hint: Option<Hint>,
}

/// What an error tells those on its way within this process; it does not travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The ref moved while it was fetched, or the remote did not send what it listed: ask again.
    Moved,
    /// The server answered, and its answer was empty.
    Silent,
    /// No connection could be made.
    Unreachable,
    /// The move of refs and working tree failed; they are back where they were.
    RolledBack,
    /// Who answered shows another time than we do: it is ahead by so many seconds.
    Clock(i64),
    /// There is no token to ask the remote with: it was not asked.
    NoToken,
}

/// What everything here that can fail returns.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// `message` is a sentence for people: it says what failed, on what, and what to do about it.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            detail: BTreeMap::new(),
            hint: None,
        }
    }

    /// `invalid`: what was asked for cannot be meant.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::new(Kind::Invalid, message)
    }

    /// `io`: the file system refused. `action` is what failed, as in "cannot open …".
    pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        Error::new(
            Kind::Io,
            format!("cannot {action} {}: {error}", path.display()),
        )
        .with(Key::Path, Name::of(path))
    }

    /// Adds what callers within this process act on.
    pub(crate) fn hinted(mut self, hint: Hint) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Adds one key of `detail` (the list is in `protocol/README.md`, "Replies").
    pub(crate) fn with(mut self, key: Key, value: impl Into<Detail>) -> Self {
        self.detail.insert(key, value.into());
        self
    }

    /// Escapes line breaks and other control characters in the message and the detail. Both quote
    /// names and URLs that others chose, and a line break in one would add a line to a log.
    pub(crate) fn on_one_line(mut self) -> Self {
        self.message = on_one_line(&self.message);
        self.detail.values_mut().for_each(Detail::escape);
        self
    }

    /// Puts what was being done in front of the message: `context: message`.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

/// What becomes of a request whose work panicked. The panic itself went to standard error.
pub(crate) fn panicked() -> Error {
    Error::new(
        Kind::Internal,
        "the worker failed in an unforeseen way (a panic); please report it with the worker's log",
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Error {}

/// `text` with escapes for each character that ends a line, moves a terminal's cursor or changes
/// the direction of the text after it.
pub(crate) fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        let turns = matches!(
            char,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        match char.is_control() || turns {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_stays_on_one_line() {
        let name = "a\n\u{1b}[31mb\u{85}\u{2028}\u{202e}c\u{7f}ä\\n";
        let shown = "a\\n\\u{1b}[31mb\\u{85}\\u{2028}\\u{202e}c\\u{7f}ä\\n";
        let near = vec![Name::new(name.as_bytes()), Name::new(b"\xff\n\x1b")];
        let error = Error::new(Kind::Io, name)
            .with(Key::Path, name)
            .with(Key::Near, near)
            .with(Key::Status, 1u64);
        let error = error.on_one_line();
        assert_eq!(error.message, shown);
        assert_eq!(error.detail[&Key::Path], shown.into());
        assert_eq!(error.detail[&Key::Status], 1u64.into());
        let near = vec![Name::new(shown.as_bytes()), Name::new(b"\xff\\n\\u{1b}")];
        assert_eq!(error.detail[&Key::Near], near.into());
    }
}
