//! What may be shown of a URL. A mistyped URL may be read as something else, such as a path, that
//! holds the password.
//!
//! In doubt, less is shown. `protocol/shown_urls.txt` has the cases; the tests of the Elixir
//! library read it, too.

use percent_encoding::percent_decode;

/// What is shown in place of something that may be secret.
pub(crate) const HIDDEN: &str = "[hidden]";

/// Schemes of URLs. Any other word before a colon may be a user or a token.
const SCHEMES: &[&str] = &[
    "http", "https", "ssh", "git+ssh", "ssh+git", "git", "file", "ftp", "ftps", "socks5", "socks5h",
];

/// The scheme of a text that is not a URL.
pub(super) fn hidden(text: &[u8]) -> String {
    let colon = text.iter().position(|b| *b == b':');
    let word = colon.map(|at| String::from_utf8_lossy(&text[..at]).to_ascii_lowercase());
    match word {
        Some(word) if is_scheme(&word) => format!("{word}:{HIDDEN}"),
        _ => HIDDEN.to_owned(),
    }
}

pub(super) fn is_scheme(word: &str) -> bool {
    SCHEMES.contains(&word.to_ascii_lowercase().as_str())
}

/// Whether a path may hold a URL or credentials.
pub(super) fn is_doubtful(path: &[u8]) -> bool {
    let path: Vec<u8> = percent_decode(path).collect();
    let has = |text: &[u8]| path.windows(text.len()).any(|part| part == text);
    has(b"@") && (has(b":") || has(b"//")) || without_parameters(&path) != path
}

/// `path` without parameters that were meant as a query: `/x;token=…`.
pub(super) fn without_parameters(path: &[u8]) -> &[u8] {
    match path.iter().position(|b| b"?;&#".contains(b)) {
        Some(at) if path[at..].contains(&b'=') => &path[..at],
        _ => path,
    }
}

/// Whether a path of this machine may be a URL without its scheme, or without the colon after it.
pub(super) fn is_doubtful_local(path: &[u8]) -> bool {
    let first = path.split(|b| *b == b'/').next().unwrap_or_default();
    let word = first
        .strip_suffix(b";")
        .unwrap_or(first)
        .to_ascii_lowercase();
    let is_relative = !path.starts_with(b"/") && !path.starts_with(b".");
    let is_word = matches!(&word[..], b"http" | b"https" | b"ssh") && path.contains(&b'@');
    is_doubtful(path) || is_relative && (first.contains(&b'@') || is_word)
}
