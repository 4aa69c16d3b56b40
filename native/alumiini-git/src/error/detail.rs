//! What an error says to programs beside its sentence.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Serialize, Serializer};

use crate::error::on_one_line;

/// A name or path, as bytes: Git and Unix do not promise that it is UTF-8. Where it is, it travels
/// as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) Vec<u8>);

impl Name {
    /// From bytes as they are in Git or on the disk.
    pub(crate) fn new(bytes: &[u8]) -> Name {
        Name(bytes.to_vec())
    }

    /// From a path or a part of one.
    pub(crate) fn of(path: impl AsRef<OsStr>) -> Name {
        Name::new(path.as_ref().as_bytes())
    }

    /// `None` where the bytes are not UTF-8.
    pub(crate) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Without what would end a line or move a terminal's cursor.
    fn on_one_line(&self) -> Name {
        match self.as_str() {
            Some(text) => Name(on_one_line(text).into_bytes()),
            None => {
                let escaped = self
                    .0
                    .iter()
                    .flat_map(|byte| match byte.is_ascii_control() {
                        true => char::from(*byte)
                            .escape_default()
                            .map(|char| char as u8)
                            .collect(),
                        false => vec![*byte],
                    });
                Name(escaped.collect())
            }
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_bytes(&self.0),
        }
    }
}

/// The keys of an error's detail, a closed list (`protocol/README.md`, "Replies").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Url,
    Path,
    File,
    Ref,
    Status,
    Near,
    Limit,
    Changed,
    RetryAfter,
    Fingerprint,
    Line,
}

impl Key {
    /// Its name in replies, such as `retry_after`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Key::Url => "url",
            Key::Path => "path",
            Key::File => "file",
            Key::Ref => "ref",
            Key::Status => "status",
            Key::Near => "near",
            Key::Limit => "limit",
            Key::Changed => "changed",
            Key::RetryAfter => "retry_after",
            Key::Fingerprint => "fingerprint",
            Key::Line => "line",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The value of one key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Detail {
    Number(u64),
    Text(Name),
    Names(Vec<Name>),
}

impl Detail {
    /// The number, if it is one.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Detail::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one and UTF-8.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Detail::Text(text) => text.as_str(),
            _ => None,
        }
    }

    /// Changes each name and text in it.
    pub(crate) fn each(&mut self, change: impl Fn(&Name) -> Name) {
        match self {
            Detail::Number(_) => {}
            Detail::Text(text) => *text = change(text),
            Detail::Names(names) => names.iter_mut().for_each(|name| *name = change(name)),
        }
    }

    pub(super) fn escape(&mut self) {
        self.each(Name::on_one_line);
    }
}

impl From<Name> for Detail {
    fn from(name: Name) -> Self {
        Detail::Text(name)
    }
}

impl From<Vec<Name>> for Detail {
    fn from(names: Vec<Name>) -> Self {
        Detail::Names(names)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Detail::Text(Name::new(text.as_bytes()))
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Detail::Text(Name(text.into_bytes()))
    }
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Detail::Number(number)
    }
}

impl From<u16> for Detail {
    fn from(number: u16) -> Self {
        Detail::Number(number.into())
    }
}

impl From<u32> for Detail {
    fn from(number: u32) -> Self {
        Detail::Number(number.into())
    }
}

impl From<usize> for Detail {
    fn from(number: usize) -> Self {
        Detail::Number(number as u64)
    }
}
