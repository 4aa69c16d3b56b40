//! Where a repository is over SSH, in both of Git's forms: `ssh://user@host:port/path` and `user@host:path` (git-fetch(1), "GIT URLS").

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::error::Result;
use crate::net::url::invalid;

pub(crate) const DEFAULT_PORT: u16 = 22;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SshUrl {
    /// None where the URL names none.
    pub(crate) user: Option<String>,
    /// A name, or an IP address without brackets. In lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What `git-upload-pack` gets: absolute, or relative to the user's home.
    pub(crate) path: String,
}

impl SshUrl {
    /// From what follows `ssh://`.
    ///
    /// `invalid`: a password (nothing sends it), no host, a port that is none, a path that is empty or looks like an option.
    pub(super) fn parse(rest: &[u8]) -> Result<SshUrl> {
        let rest = text(rest)?;
        let slash = rest
            .find('/')
            .ok_or_else(|| invalid("the SSH URL names no repository: ssh://git@host/path/to/repository"))?;
        let (authority, path) = rest.split_at(slash);
        let decode = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| invalid("the SSH URL is not UTF-8"))
        };
        let (user, host) = split_user(authority)?;
        let (host, port) = split_port(host)?;
        let path = decode(path)?;
        // `/~user/…` names a home.
        let path = if path.starts_with("/~") {
            path[1..].to_owned()
        } else {
            path
        };
        SshUrl::new(user.map(decode).transpose()?, host, port, path)
    }

    /// From `user@host:path`, where a colon precedes the first slash. `[host]:path` and `[host:port]:path` put a host or
    /// port with colons apart, as Git has it.
    pub(super) fn parse_short(bytes: &[u8]) -> Result<SshUrl> {
        let all = text(bytes)?;
        // Of a password that somebody put there, nothing must become the host or the path.
        let (user, rest) = match all.split_once('@') {
            Some((user, rest)) if !user.contains([':', '/', '[']) => (Some(user), rest),
            Some((user, _)) if user.contains(':') && !user.contains(['/', '[']) => return Err(password()),
            _ => (None, all),
        };
        let (host, port, path) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, path) = inner
                    .split_once("]:")
                    .ok_or_else(|| invalid("the SSH URL has a bracket that nothing closes"))?;
                // One colon parts a port; more are an IPv6 address.
                match host.rsplit_once(':') {
                    Some((name, port)) if !name.contains(':') => (name, parse_port(port)?, path),
                    _ => (host, DEFAULT_PORT, path),
                }
            }
            None => match rest.split_once(':') {
                Some((host, path)) => (host, DEFAULT_PORT, path),
                None => return Err(invalid("the SSH URL names no repository: git@host:path/to/repository")),
            },
        };
        let path = match path.strip_prefix('/') {
            Some(home) if home.starts_with('~') => home,
            _ => path,
        };
        SshUrl::new(user.map(str::to_owned), host, port, path.to_owned())
    }

    fn new(user: Option<String>, host: &str, port: u16, path: String) -> Result<SshUrl> {
        let odd = |text: &str| text.chars().any(|c| c.is_control() || c.is_whitespace());
        if host.is_empty() {
            return Err(invalid("the SSH URL names no host"));
        }
        if host.starts_with('-') || odd(host) || host.contains(['@', '/', '\\']) {
            return Err(invalid("the SSH URL names a host that is none"));
        }
        if user.as_deref().is_some_and(|user| user.is_empty() || odd(user)) {
            return Err(invalid("the user of the SSH URL is empty or holds whitespace"));
        }
        if path.is_empty() || path == "/" {
            return Err(invalid("the SSH URL names no repository: only a host"));
        }
        if path.starts_with('-') || path.chars().any(char::is_control) {
            return Err(invalid(
                "the path of the SSH URL begins with a dash or holds a control character",
            ));
        }
        Ok(SshUrl {
            user,
            host: host.to_ascii_lowercase(),
            port,
            path,
        })
    }

    /// `ssh://user@host:port/path`; for a path that is relative to a home, Git's short form where that can say it.
    pub(crate) fn shown(&self) -> String {
        let user = self.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.port, self.path.starts_with('/'), self.path.starts_with('~')) {
            (DEFAULT_PORT, true, _) => format!("ssh://{user}{host}{}", self.path),
            (DEFAULT_PORT, false, true) => format!("ssh://{user}{host}/{}", self.path),
            (port, true, _) => format!("ssh://{user}{host}:{port}{}", self.path),
            (port, false, true) => format!("ssh://{user}{host}:{port}/{}", self.path),
            (DEFAULT_PORT, false, false) => format!("{user}{host}:{}", self.path),
            (port, false, false) => format!("{user}[{}:{port}]:{}", self.host, self.path),
        }
    }
}

fn split_user(authority: &str) -> Result<(Option<&str>, &str)> {
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err(password()),
        Some((user, host)) => Ok((Some(user), host)),
        None => Ok((None, authority)),
    }
}

fn split_port(host: &str) -> Result<(&str, u16)> {
    if let Some(inner) = host.strip_prefix('[') {
        let (address, rest) = inner
            .split_once(']')
            .ok_or_else(|| invalid("the SSH URL has a bracket that nothing closes"))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, parse_port(port)?)),
            None if rest.is_empty() => Ok((address, DEFAULT_PORT)),
            None => Err(invalid("the SSH URL names a host that is none")),
        };
    }
    match host.split_once(':') {
        Some((host, port)) => Ok((host, parse_port(port)?)),
        None => Ok((host, DEFAULT_PORT)),
    }
}

fn parse_port(port: &str) -> Result<u16> {
    if port.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    // Not what it is instead: it may be a piece of a password.
    port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        invalid("the port of the SSH URL is not a number from 1 to 65535; for git@host:path leave `ssh://` out")
    })
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| invalid("the URL is not UTF-8"))
}

fn password() -> crate::error::Error {
    invalid(
        "the SSH URL holds a password, which SSH does not take from there: remove it and pass auth: ssh_key or ssh_agent",
    )
}

impl fmt::Display for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshUrl({})", self.shown())
    }
}

#[cfg(test)]
#[path = "ssh_url_tests.rs"]
mod tests;
