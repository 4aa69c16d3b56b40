//! The text that a user gives for a remote, taken apart once: where it is, and the credentials that
//! were in it.
//!
//! Nothing here shows userinfo, a query or a fragment: tokens hide in all three.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode;

use crate::error::{Error, Kind, Result};
use crate::net::auth::Auth;
pub(crate) use crate::net::http_url::HttpUrl;
use crate::net::identity::Identity;
use crate::net::redacted::{self, HIDDEN};
pub(crate) use crate::net::ssh_url::SshUrl;
use crate::net::ssh_url::neither;

/// A remote as the user named it. `Display` and `Debug` show it without credentials, query or
/// fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RemoteUrl {
    pub(crate) location: Location,
}

/// Where a remote is. This decides which code talks to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    /// On the network: this module talks to it.
    Network(NetUrl),
    /// A path of this machine (also from `file://`), which `repo::source` reads.
    Local(PathBuf),
}

/// A remote on the network.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum NetUrl {
    Http(HttpUrl),
    Ssh(SshUrl),
}

impl RemoteUrl {
    /// Takes apart `bytes`, the text of a request (bytes, since a local path need not be UTF-8).
    ///
    /// `invalid`: empty, control characters, or not a URL of its scheme. `unsupported`: a scheme
    /// that this worker does not speak. No error repeats the text: where it could not be taken
    /// apart, it cannot be shown without its secrets.
    pub(crate) fn parse(bytes: &[u8]) -> Result<RemoteUrl> {
        if bytes.is_empty() {
            return Err(Error::invalid("the URL is empty"));
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(Error::invalid(
                "the URL holds a control character (a line break, tab or NUL)",
            ));
        }
        let location = match scheme(bytes) {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" | "https" => Location::Network(NetUrl::Http(HttpUrl::parse(bytes)?)),
                "file" => Location::Local(file_url(rest)?),
                "ssh" | "git+ssh" | "ssh+git" => {
                    Location::Network(NetUrl::Ssh(SshUrl::parse(rest)?))
                }
                "git" => {
                    return Err(unsupported(
                        "git://, which is neither encrypted nor authenticated",
                    ));
                }
                other => return Err(unsupported(&format!("{other}://"))),
            },
            None => local(bytes)?,
        };
        Ok(RemoteUrl { location })
    }

    /// `https`, `http`, `ssh` or `file`. A path has the scheme `file`, too.
    pub(crate) fn scheme(&self) -> &'static str {
        match &self.location {
            Location::Network(NetUrl::Http(http)) if http.is_plaintext() => "http",
            Location::Network(NetUrl::Http(_)) => "https",
            Location::Network(NetUrl::Ssh(_)) => "ssh",
            Location::Local(_) => "file",
        }
    }

    /// The credentials in the URL.
    pub(crate) fn auth(&self) -> Option<&Auth> {
        match &self.location {
            Location::Network(NetUrl::Http(http)) => http.auth(),
            Location::Network(NetUrl::Ssh(_)) | Location::Local(_) => None,
        }
    }

    /// Whether `other` is the same repository, as far as host and path tell: people clone over SSH
    /// what others read over HTTPS.
    pub(crate) fn is_same_repository(&self, other: &RemoteUrl) -> bool {
        self.place() == other.place()
    }

    fn place(&self) -> (String, String) {
        let (host, path) = match &self.location {
            Location::Network(NetUrl::Http(http)) => (
                http.as_url().host_str().unwrap_or(""),
                http.as_url().path().into(),
            ),
            Location::Network(NetUrl::Ssh(ssh)) => (ssh.host.as_str(), ssh.path.as_str().into()),
            Location::Local(path) => ("", path.to_string_lossy()),
        };
        let path = path.trim_matches('/');
        let path = path
            .strip_suffix(".git")
            .unwrap_or(path)
            .trim_end_matches('/');
        (host.to_ascii_lowercase(), path.to_owned())
    }

    /// The URL as it may be shown: no userinfo, query or fragment, and nothing that may be one. A
    /// path that is not UTF-8 is shown lossily.
    pub(crate) fn redacted(&self) -> String {
        match &self.location {
            Location::Network(url) => url.redacted(),
            Location::Local(path)
                if redacted::is_doubtful_local(path.as_os_str().as_encoded_bytes()) =>
            {
                HIDDEN.to_owned()
            }
            Location::Local(path) => path.display().to_string(),
        }
    }

    /// What makes two remotes the same one. See [`Identity`].
    #[cfg(test)]
    pub(crate) fn identity(&self) -> Identity {
        match &self.location {
            Location::Network(url) => url.identity(),
            Location::Local(path) => {
                Identity::new(path.as_os_str().as_encoded_bytes(), self.redacted())
            }
        }
    }
}

impl NetUrl {
    /// The URL as it may be shown: without credentials, query and fragment. The user of an SSH URL
    /// is not a credential, but says which repository is meant.
    pub(crate) fn redacted(&self) -> String {
        match self {
            NetUrl::Http(url) => url.redacted(),
            NetUrl::Ssh(url) => url.redacted(),
        }
    }

    /// The host's name or address.
    pub(super) fn host(&self) -> &str {
        match self {
            NetUrl::Http(url) => url.as_url().host_str().unwrap_or(""),
            NetUrl::Ssh(url) => &url.host,
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            // Each scheme has a default port.
            NetUrl::Http(url) => url.as_url().port_or_known_default().unwrap_or(443),
            NetUrl::Ssh(url) => url.port,
        }
    }

    /// Scheme, host and port: whom a connection is made to.
    pub(super) fn authority(&self) -> String {
        match self {
            NetUrl::Http(url) => url.as_url().origin().ascii_serialization(),
            NetUrl::Ssh(url) => format!("ssh://{}:{}", url.host, url.port),
        }
    }

    /// What makes two remotes the same one. See [`Identity`].
    pub(crate) fn identity(&self) -> Identity {
        match self {
            NetUrl::Http(url) => url.identity(),
            NetUrl::Ssh(url) => Identity::new(url.spelled(), url.redacted()),
        }
    }
}

/// The part of a remote's text that may be shown, whether or not it is a URL.
pub(crate) fn redacted(text: &[u8]) -> String {
    RemoteUrl::parse(text).map_or_else(|_| redacted::hidden(text), |url| url.redacted())
}

/// Splits `scheme://rest`.
fn scheme(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let at = bytes.windows(3).position(|w| w == b"://")?;
    let scheme = std::str::from_utf8(&bytes[..at]).ok()?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.as_bytes().iter().all(in_scheme);
    fits.then_some((scheme, &bytes[at + 3..]))
}

fn in_scheme(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(byte)
}

fn file_url(rest: &[u8]) -> Result<PathBuf> {
    // Git percent-decodes a text that looks like a URL.
    let path: Vec<u8> = percent_decode(rest).collect();
    let path = path
        .strip_prefix(b"localhost")
        .filter(|p| p.starts_with(b"/"))
        .unwrap_or(&path);
    if path.contains(&0) {
        return Err(Error::invalid("the URL holds a NUL"));
    }
    if !path.starts_with(b"/") && !has_drive(path) {
        return Err(Error::invalid(
            "a file:// URL names an absolute path: file:///path/to/repository",
        ));
    }
    path_from(path)
}

/// A remote without a scheme: a path, or `host:path` as scp writes it (Git's rule: a colon before
/// the first slash).
fn local(bytes: &[u8]) -> Result<Location> {
    let slash = bytes.iter().position(|b| *b == b'/');
    let colon = bytes.iter().position(|b| *b == b':');
    if colon.is_some_and(|colon| slash.is_none_or(|slash| colon < slash)) && !has_drive(bytes) {
        // `ext::sh -c …` is Git's way to run a command, not a host.
        let helper = colon
            .is_some_and(|at| bytes[at..].starts_with(b"::") && bytes[..at].iter().all(in_scheme));
        return if helper {
            Err(unsupported("remote helpers (name::address)"))
        } else {
            Ok(Location::Network(NetUrl::Ssh(SshUrl::parse_short(bytes)?)))
        };
    }
    // Git also reads a URL that lacks a slash or the colon as a path.
    if bytes.starts_with(b"//") && bytes.contains(&b'@') {
        return Err(neither());
    }
    if slash.is_none() && !bytes.starts_with(b".") && !has_drive(bytes) {
        return Err(Error::new(
            Kind::Unsupported,
            "the URL has no scheme and is no path: use https://, or ./name for a directory",
        ));
    }
    Ok(Location::Local(path_from(bytes)?))
}

fn has_drive(bytes: &[u8]) -> bool {
    cfg!(windows)
        && matches!(bytes, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
}

#[cfg(unix)]
fn path_from(bytes: &[u8]) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn path_from(bytes: &[u8]) -> Result<PathBuf> {
    std::str::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|_| Error::invalid("the path is not UTF-8"))
}

fn unsupported(what: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("this URL needs {what}, which is not supported: use https://"),
    )
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({})", self.redacted())
    }
}

impl fmt::Display for NetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for NetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetUrl({})", self.redacted())
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
