//! Parses a commit as `git log` does.
//!
//! In twenty years, tools have written commits that libgit2 refuses and Git shows: with no e-mail
//! address or two, with dates that are not numbers or beyond any range, with time zones of weeks.
//! The rules here are those of Git's `split_ident_line` and of its pretty formats.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// Who did something, and when. Fields are empty where the commit lacks them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Person {
    pub(crate) name: Vec<u8>,
    pub(crate) email: Vec<u8>,
    pub(crate) date: Option<Date>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Date {
    /// Seconds since 1970. 0 if the number is beyond Git's range, as Git shows it.
    pub(crate) seconds: i64,
    /// Minutes east of UTC.
    pub(crate) offset: i32,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Text {
    pub(crate) author: Person,
    pub(crate) committer: Person,
    pub(crate) message: Vec<u8>,
}

/// Parses the bytes of a commit object. Any bytes have a result.
pub(crate) fn text(data: &[u8]) -> Text {
    // Git handles them as a C string.
    let data = &data[..position(data, 0).unwrap_or(data.len())];
    let mut text = Text::default();
    let mut encoding = None;
    let mut rest = data;
    let mut header = |name: &[u8], value: &[u8]| match name {
        b"author" => text.author = person(value),
        b"committer" => text.committer = person(value),
        b"encoding" if encoding.is_none() => encoding = Some(value.to_vec()),
        _ => {}
    };
    while !rest.is_empty() {
        let end = position(rest, b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        if let Some(space) = position(line, b' ') {
            header(&line[..space], &line[space + 1..]);
        }
    }
    text.message = rest.to_vec();
    if let Some(encoding) = encoding {
        let to_utf8 = |bytes: &mut Vec<u8>| {
            if let Some(decoded) = decode(&encoding, bytes) {
                *bytes = decoded.into_owned().into_bytes();
            }
        };
        let people = [&mut text.author, &mut text.committer];
        for person in people {
            to_utf8(&mut person.name);
            to_utf8(&mut person.email);
        }
        to_utf8(&mut text.message);
    }
    text
}

fn person(line: &[u8]) -> Person {
    let Some(begin) = position(line, b'<') else {
        return Person::default();
    };
    let Some(length) = position(&line[begin + 1..], b'>') else {
        return Person::default();
    };
    Person {
        name: trim_end(&line[..begin]).to_vec(),
        email: line[begin + 1..begin + 1 + length].to_vec(),
        date: date(line),
    }
}

/// Parses the text after the last `>`: digits, and a time zone with its sign.
fn date(line: &[u8]) -> Option<Date> {
    let last = line.iter().rposition(|byte| *byte == b'>')?;
    let (seconds, rest) = digits(trim_start(&line[last + 1..]))?;
    let (sign, rest) = trim_start(rest).split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (zone, _) = digits(rest)?;
    let Some(seconds) = number(seconds).and_then(|seconds| i64::try_from(seconds).ok()) else {
        return Some(Date {
            seconds: 0,
            offset: 0,
        });
    };
    // Hours and minutes are in one number, which is split as in Git.
    let zone = number(zone)
        .and_then(|zone| i32::try_from(zone).ok())
        .unwrap_or(0);
    let minutes = i64::from(zone / 100) * 60 + i64::from(zone % 100);
    Some(Date {
        seconds,
        offset: i32::try_from(sign * minutes).unwrap_or(0),
    })
}

fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// As Git's own `isspace`, which knows four characters.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim_start(text: &[u8]) -> &[u8] {
    let begin = text
        .iter()
        .position(|byte| !is_space(*byte))
        .unwrap_or(text.len());
    &text[begin..]
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(0, |at| at + 1);
    &text[..end]
}

fn position(text: &[u8], wanted: u8) -> Option<usize> {
    text.iter().position(|byte| *byte == wanted)
}

/// `bytes` in UTF-8. `None` if the encoding is not known, or the bytes are not valid in it. Then
/// Git, too, shows them unchanged.
fn decode<'a>(encoding: &[u8], bytes: &'a [u8]) -> Option<Cow<'a, str>> {
    let name = String::from_utf8_lossy(encoding).to_ascii_lowercase();
    // On the Web this name means another encoding, which has letters in place of control
    // characters.
    if ["iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1"].contains(&name.as_str()) {
        return Some(bytes.iter().map(|byte| char::from(*byte)).collect());
    }
    let label = match name.as_str() {
        // Names that `iconv` knows and the Web standard does not.
        "cp932" | "ms932" | "sjis-win" | "windows-932" => "shift_jis",
        "eucjp" => "euc-jp",
        "cp936" | "ms936" | "windows-936" | "euccn" | "euc-cn" => "gbk",
        "cp949" | "uhc" | "euckr" => "euc-kr",
        "cp950" | "big-5" => "big5",
        // On the Web this name means another encoding, which has additional letters.
        "ascii" | "us-ascii" => return None,
        other => other,
    };
    let encoding = Encoding::for_label(label.as_bytes())?;
    // No commit is in UTF-16, since its headers are not.
    if encoding == UTF_16LE || encoding == UTF_16BE {
        return None;
    }
    encoding.decode_without_bom_handling_and_without_replacement(bytes)
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
