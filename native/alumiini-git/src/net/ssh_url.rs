//! Where a repository is over SSH, in both of Git's forms: `ssh://user@host:port/path` and
//! `user@host:path` (git-fetch(1), "GIT URLS").

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::error::{Error, Result};
use crate::net::redacted;

/// The port of SSH where the URL has none (RFC 4253, 4.1).
pub(crate) const DEFAULT_PORT: u16 = 22;

/// A repository over SSH.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshUrl {
    /// None where the URL names none.
    pub(crate) user: Option<String>,
    /// A name, or an IP address without brackets. In lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path for `git-upload-pack`: absolute, or relative to the user's home.
    pub(crate) path: String,
}

impl SshUrl {
    /// From what follows `ssh://`.
    ///
    /// `invalid`: a password (SSH has no use for it), no host, a port that is not a number, a path
    /// that is empty or looks like an option.
    pub(super) fn parse(rest: &[u8]) -> Result<SshUrl> {
        let rest = text(rest)?;
        let slash = rest.find('/').ok_or_else(|| {
            Error::invalid("the SSH URL names no repository: ssh://git@host/path/to/repository")
        })?;
        let (authority, path) = rest.split_at(slash);
        let path = decode(path)?;
        // `/~user/…` names a home.
        let path = if path.starts_with("/~") {
            path[1..].to_owned()
        } else {
            path
        };
        SshUrl::new(Authority::parse(&decode(authority)?)?, path)
    }

    /// From `user@host:path`, where a colon precedes the first slash. Nothing of it is
    /// percent-decoded.
    pub(super) fn parse_short(bytes: &[u8]) -> Result<SshUrl> {
        let all = text(bytes)?;
        let brackets = opening_bracket(all).filter(|at| !all[..*at].contains('/'));
        let behind = match brackets {
            Some(at) => at + all[at..].find(']').ok_or_else(open_bracket)?,
            None => 0,
        };
        let colon = all[behind..]
            .find(':')
            .map(|at| behind + at)
            .ok_or_else(|| {
                Error::invalid("the SSH URL names no repository: git@host:path/to/repository")
            })?;
        let (authority, path) = (&all[..colon], &all[colon + 1..]);
        // Git reads `user:password@host:path` as a path at the host `user`. No part of a password
        // may become a host or a path.
        let begin = path.split('/').next().unwrap_or("");
        if let Some((_, rest)) = begin.split_once('@')
            && (!authority.contains(['@', '[']) || rest.contains(':'))
        {
            return Err(password());
        }
        if redacted::is_scheme(authority) && path.starts_with('/') || path.starts_with("//") {
            return Err(neither());
        }
        let path = match path.strip_prefix('/') {
            Some(home) if home.starts_with('~') => home,
            _ => path,
        };
        SshUrl::new(Authority::parse(authority)?, path.to_owned())
    }

    fn new(authority: Authority, path: String) -> Result<SshUrl> {
        let Authority { user, host, port } = authority;
        let odd = |text: &str| text.chars().any(|c| c.is_control() || c.is_whitespace());
        if host.is_empty() {
            return Err(Error::invalid("the SSH URL names no host"));
        }
        let address = host.split('%').next().unwrap_or("");
        let colons = host.contains(':') && address.parse::<Ipv6Addr>().is_err();
        if colons || host.starts_with('-') || odd(&host) || host.contains(['/', '\\']) {
            return Err(no_host());
        }
        // `%2F` is a slash, which ends the host for Git: the rest would be the path.
        let no_user = |user: &str| {
            user.is_empty() || odd(user) || user.starts_with('-') || user.contains('/')
        };
        if user.as_deref().is_some_and(no_user) {
            return Err(Error::invalid(
                "the user of the SSH URL is empty, begins with a dash, or holds whitespace or a \
                 slash",
            ));
        }
        if path.is_empty() || path == "/" {
            return Err(Error::invalid(
                "the SSH URL names no repository: only a host",
            ));
        }
        if path.starts_with('-') || path.chars().any(char::is_control) {
            return Err(Error::invalid(
                "the path of the SSH URL begins with a dash or holds a control character",
            ));
        }
        Ok(SshUrl {
            user,
            host: ipv4(&host)
                .map_or_else(|| host.to_ascii_lowercase(), |address| address.to_string()),
            port,
            path,
        })
    }

    /// The URL as it may be shown, with the user, who says which repository is meant. Without the
    /// user if that may contain a password.
    pub(crate) fn redacted(&self) -> String {
        let spelled = self.spelled();
        let is_password = self.user.is_none() && self.path.contains('@');
        if is_password || redacted::is_doubtful(self.path.as_bytes()) {
            return redacted::hidden(spelled.as_bytes());
        }
        spelled
    }

    /// `ssh://user@host:port/path`. For a path that is relative to a home, Git's short form, if
    /// that can express it.
    pub(super) fn spelled(&self) -> String {
        let path = &self.path;
        let user = self
            .user
            .as_ref()
            .map_or(String::new(), |user| format!("{user}@"));
        let short = !path.starts_with(['/', '~']);
        // Git would read `host::path` as a remote helper.
        let brackets = self.host.contains(':') || path.starts_with(':');
        let host = match (self.port, brackets) {
            (DEFAULT_PORT, false) => self.host.clone(),
            (DEFAULT_PORT, true) => format!("[{}]", self.host),
            (port, _) if short => format!("[{}:{port}]", self.host),
            (port, false) => format!("{}:{port}", self.host),
            (port, true) => format!("[{}]:{port}", self.host),
        };
        if short {
            return format!("{user}{host}:{path}");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        // What was percent-decoded must decode to the same again.
        format!(
            "ssh://{}",
            format!("{user}{host}{slash}{path}").replace('%', "%25")
        )
    }
}

/// The part before the path, parsed as Git parses it.
struct Authority {
    user: Option<String>,
    host: String,
    port: u16,
}

impl Authority {
    /// `user@host:port`, where a user may be a mail address. Brackets hold an IPv6 address, a host
    /// with its port, or all three.
    fn parse(text: &str) -> Result<Authority> {
        let (name, port) = match opening_bracket(text) {
            None => (text.to_owned(), None),
            Some(at) => {
                let (inner, rest) = text[at + 1..].split_once(']').ok_or_else(open_bracket)?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => Some(parse_port(port)?),
                    None if rest.is_empty() => None,
                    None => return Err(no_host()),
                };
                (format!("{}{inner}", &text[..at]), port)
            }
        };
        let (user, host) = match name.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(password()),
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, name.as_str()),
        };
        // With one colon there is a port; with more it is an IPv6 address.
        let (host, port) = match host.split_once(':') {
            Some((host, digits)) if port.is_none() && !digits.contains(':') => {
                (host, parse_port(digits)?)
            }
            _ => (host, port.unwrap_or(DEFAULT_PORT)),
        };
        let host = host.to_owned();
        Ok(Authority { user, host, port })
    }
}

/// The place of the bracket that Git looks for: at the beginning, or right after an `@`.
fn opening_bracket(text: &str) -> Option<usize> {
    if text.starts_with('[') {
        Some(0)
    } else {
        text.find("@[").map(|at| at + 1)
    }
}

/// The address that a resolver reads in `127.1` and `0x7f000001`, as in URLs of HTTP. So the
/// address that is checked is the one that is connected to.
fn ipv4(host: &str) -> Option<Ipv4Addr> {
    let may_be_one = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let url = Url::parse(&format!("http://{host}"))
        .ok()
        .filter(|_| may_be_one)?;
    url.host_str()?.parse().ok()
}

fn decode(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Error::invalid("the SSH URL is not UTF-8"))
}

fn parse_port(port: &str) -> Result<u16> {
    if port.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    // The error does not repeat the text, which may be part of a password.
    port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        Error::invalid(
            "the port of the SSH URL is not a number from 1 to 65535; for \
                        git@host:path leave `ssh://` out",
        )
    })
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::invalid("the URL is not UTF-8"))
}

fn open_bracket() -> Error {
    Error::invalid("the SSH URL has a bracket that nothing closes")
}

fn no_host() -> Error {
    Error::invalid("the SSH URL names a host that is none")
}

fn password() -> Error {
    Error::invalid(
        "the SSH URL holds a password, which SSH does not take from there: remove it and pass \
         auth: ssh_key or ssh_agent",
    )
}

impl fmt::Display for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshUrl({})", self.redacted())
    }
}

/// The error for a mistyped URL, which Git would read as a path or as the host `https`.
pub(super) fn neither() -> Error {
    Error::invalid(
        "it is neither a URL with a scheme (https://host/path) nor user@host:path, nor a path",
    )
}

#[cfg(test)]
#[path = "ssh_url_tests.rs"]
mod tests;
