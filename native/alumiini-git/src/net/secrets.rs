//! What no answer may repeat: servers and proxies are quoted in errors, and some quote what they
//! were sent.

use crate::error::{Error, Name};
use crate::net::redacted::HIDDEN;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter ones are in many words, and nobody's secret.
const SHORTEST: usize = 4;
/// So much of a secret is hidden where a text was cut within it.
const PART: usize = 8;
/// And so much of it anywhere. Else who chooses both secret and answer could have each byte of the
/// one compared with all of the other.
const LONG_PART: usize = 64;
/// Where texts are cut short.
const CUT: &[u8] = "…".as_bytes();

/// Names of users that stand for nobody, as the hosting services have them. Any other may be the
/// token itself, as in `TOKEN:x-oauth-basic@`.
const NOBODY: &[&str] = &[
    "git",
    "oauth",
    "oauth2",
    "token",
    "user",
    "username",
    "anonymous",
    "x-access-token",
    "x-oauth-basic",
    "x-token-auth",
    "x-bitbucket-api-token-auth",
    "gitlab-ci-token",
    "private-token",
    "__token__",
];

/// The secrets of a request.
#[derive(Default)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Adds a secret. One of less than [`SHORTEST`] bytes is left out: it would be found in many
    /// words.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        let mut forms = vec![secret.as_bytes().to_vec()];
        if secret.len() >= PART {
            forms.extend(base64(secret));
        }
        for form in forms {
            if !self.0.contains(&form) {
                self.0.push(form);
            }
        }
    }

    /// Adds those of `others`.
    pub(crate) fn add_all(&mut self, others: &Secrets) {
        for form in &others.0 {
            if !self.0.contains(form) {
                self.0.push(form.clone());
            }
        }
    }

    /// Adds a user and a password. `own` is what the request itself says of remote, path and ref: a
    /// user's name in it is shown anyway.
    pub(crate) fn add_login(&mut self, user: &str, password: &str, own: &str) {
        let is_nobody = |name: &str| NOBODY.contains(&name.to_ascii_lowercase().as_str());
        // First, so that it is hidden as the one thing that it is.
        self.add(&STANDARD_NO_PAD.encode(format!("{user}:{password}")));
        if !is_nobody(password) {
            self.add(password);
        }
        let is_token = password.is_empty() || is_nobody(password);
        let is_shown = own
            .to_ascii_lowercase()
            .contains(&user.to_ascii_lowercase());
        if !is_nobody(user) && (is_token || !is_shown) {
            self.add(user);
        }
    }

    /// `text` with [`HIDDEN`] in place of each secret, also where it is escaped or in base64.
    pub(crate) fn hide(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut shown = vec![];
        let mut at = 0;
        while at < bytes.len() {
            let found = self
                .0
                .iter()
                .filter_map(|secret| matched(&bytes[at..], secret))
                .max();
            match found {
                Some(length) => {
                    shown.extend_from_slice(HIDDEN.as_bytes());
                    at += length;
                }
                None => {
                    shown.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8(shown).unwrap_or_else(|_| HIDDEN.to_owned())
    }

    /// The same for an error's message and detail.
    pub(crate) fn hide_in(&self, mut error: Error) -> Error {
        error.message = self.hide(&error.message);
        for value in error.detail.values_mut() {
            value.each(|name| self.hide_in_name(name));
        }
        error
    }

    fn hide_in_name(&self, name: &Name) -> Name {
        let text = String::from_utf8_lossy(&name.0);
        let hidden = self.hide(&text);
        // What is no text stays as it is, where nothing is hidden in it.
        match hidden == text {
            true => name.clone(),
            false => Name(hidden.into_bytes()),
        }
    }
}

/// Three bytes become four characters, so a text has three forms within another one. The ends
/// depend on neighbours.
fn base64(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![];
    for (before, first) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [&b"xx"[..before], secret.as_bytes()].concat();
        for encoded in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            let end = match bytes.len() % 3 {
                0 => encoded.len(),
                _ => encoded.len() - 1,
            };
            forms.push(encoded.as_bytes()[first..end].to_vec());
        }
    }
    forms
}

/// How much of the beginning of `text` is `secret`: in either case (a server's host becomes lower
/// case), each byte as it is or escaped, and any space as any other. Also its beginning, where the
/// text is cut there.
fn matched(text: &[u8], secret: &[u8]) -> Option<usize> {
    let way = |escaped_first: bool| {
        let (mut at, mut read) = (0, 0);
        while read < secret.len() {
            let rest = &text[at..];
            if rest.is_empty() || rest.starts_with(CUT) {
                return (read >= PART).then_some(at);
            }
            if secret[read].is_ascii_whitespace() {
                match spaces(rest) {
                    Some(length) => at += length,
                    None => return (read >= LONG_PART).then_some(at),
                }
                read += secret[read..]
                    .iter()
                    .take_while(|b| b.is_ascii_whitespace())
                    .count();
                continue;
            }
            let plain = rest[0].eq_ignore_ascii_case(&secret[read]).then_some(1);
            let length = match escaped_first {
                true => escaped(rest, secret[read]).or(plain),
                false => plain.or_else(|| escaped(rest, secret[read])),
            };
            match length {
                Some(length) => at += length,
                None => return (read >= LONG_PART).then_some(at),
            }
            read += 1;
        }
        Some(at)
    };
    // They differ where the secret holds a `%` or a backslash itself.
    way(false).or_else(|| way(true))
}

fn spaces(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < PART
        && let Some(byte) = text.get(at)
    {
        at += match byte {
            b'+' => 1,
            byte if byte.is_ascii_whitespace() => 1,
            _ => match b" \t\r\n"
                .iter()
                .find_map(|space| escaped(&text[at..], *space))
            {
                Some(length) => length,
                None => break,
            },
        };
    }
    (at > 0).then_some(at)
}

/// The length of an escape at the beginning of `text` that stands for `byte`: of URLs (once, and
/// twice), of JSON, of strings.
fn escaped(text: &[u8], byte: u8) -> Option<usize> {
    if !matches!(text, [b'%' | b'\\', ..]) {
        return None;
    }
    for begin in [&b"%25"[..], b"%", b"\\u00", b"\\x"] {
        let digits = text.strip_prefix(begin).and_then(|rest| rest.get(..2));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if value.is_some_and(|value| value.eq_ignore_ascii_case(&byte)) {
            return Some(begin.len() + 2);
        }
    }
    let backslash = text.first() == Some(&b'\\') && text.get(1) == Some(&byte);
    backslash.then_some(2)
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
