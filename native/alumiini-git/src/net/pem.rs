//! PEM text as people have it.

/// As it comes out of a secret or a file: without a byte order mark, indentation, Windows' line
/// ends, and with a newline at the end.
pub(super) fn tidied(text: &str) -> String {
    text.trim_start_matches('\u{feff}')
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}
