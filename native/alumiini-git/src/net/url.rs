//! The text that a user gives for a remote, taken apart once: where it is, and the credentials that
//! were in it.
//!
//! Nothing here shows userinfo, a query or a fragment: tokens hide in all three.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode;
use reqwest::Url;

use crate::error::{Error, Kind, Result};
use crate::net::auth::Auth;
use crate::net::redacted::{self, HIDDEN};
pub(crate) use crate::net::ssh_url::SshUrl;
use crate::net::ssh_url::neither;

/// A remote as the user named it. `Display` and `Debug` show it without credentials, query or
/// fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RemoteUrl {
    pub(crate) location: Location,
}

/// Where a remote is, which decides who talks to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    /// Over the network, by this module.
    Network(NetUrl),
    /// A path of this machine (also from `file://`), which `repo::source` reads.
    Local(PathBuf),
}

/// A remote that the network leads to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum NetUrl {
    Http(HttpUrl),
    Ssh(SshUrl),
}

/// An `http` or `https` URL without userinfo and fragment, and the credentials that were its
/// userinfo.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct HttpUrl {
    url: Url,
    auth: Option<Auth>,
}

/// A key to cache or coalesce by: equal for two texts that name the same remote, whatever userinfo
/// they hold (put the effective [`Auth`] beside it where that matters). It may hold a query, so its
/// `Debug` is as careful as the URL's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    key: Vec<u8>,
    shown: String,
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

    /// What it is reached by: `https`, `http`, `ssh`, or `file`, which a path is of, too.
    pub(crate) fn scheme(&self) -> &'static str {
        match &self.location {
            Location::Network(NetUrl::Http(http)) if http.is_plaintext() => "http",
            Location::Network(NetUrl::Http(_)) => "https",
            Location::Network(NetUrl::Ssh(_)) => "ssh",
            Location::Local(_) => "file",
        }
    }

    /// The credentials that stood in it.
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
            Location::Local(path) => Identity {
                key: path.as_os_str().as_encoded_bytes().to_vec(),
                shown: self.redacted(),
            },
        }
    }
}

impl NetUrl {
    /// As it may be shown: without credentials, query and fragment. The user of an SSH URL is none:
    /// it says which repository is meant.
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
            // All schemes of theirs have a port of their own.
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

    pub(crate) fn identity(&self) -> Identity {
        match self {
            NetUrl::Http(url) => url.identity(),
            NetUrl::Ssh(url) => Identity {
                key: url.spelled().into_bytes(),
                shown: url.redacted(),
            },
        }
    }
}

impl HttpUrl {
    fn parse(bytes: &[u8]) -> Result<HttpUrl> {
        let text =
            std::str::from_utf8(bytes).map_err(|_| Error::invalid("the URL is not UTF-8"))?;
        // What follows a bare `#` or `?` in a password would become fragment or query, and what
        // precedes it the host that gets contacted; and browsers' rules, which `Url` follows, read
        // a backslash as a slash.
        if text.contains('#') {
            return Err(Error::invalid(
                "the URL holds a '#': write %23 where it is part of a name or password",
            ));
        }
        if text.contains('\\') || text.contains(' ') {
            return Err(Error::invalid(
                "the URL holds a backslash or space: write %5C or %20",
            ));
        }
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let end = authority.find(['/', '?']).unwrap_or(authority.len());
        if authority[end..].starts_with('?') {
            return Err(Error::invalid(
                "the URL has a '?' right after its host: write %3F where it is part of a password",
            ));
        }
        if end == 0 {
            return Err(Error::invalid("the URL names no host"));
        }
        let mut url = Url::parse(text)
            .map_err(|e| Error::invalid(format!("the URL cannot be read ({e})")))?;
        let auth = userinfo(&url)?;
        // Both fail only for URLs without a host, which http cannot be.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(HttpUrl { url, auth })
    }

    /// From a `Location` header that was resolved: whatever userinfo the server put there is
    /// dropped.
    pub(crate) fn from_redirect(mut url: Url) -> HttpUrl {
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        HttpUrl { url, auth: None }
    }

    /// The credentials that stood in the URL as `user:password@`, percent-decoded.
    pub(crate) fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }

    /// The same without the credentials: to be remembered.
    pub(crate) fn without_auth(&self) -> HttpUrl {
        HttpUrl {
            url: self.url.clone(),
            auth: None,
        }
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn is_plaintext(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// Whether both are the same scheme, host and port: the only place where credentials may go.
    pub(crate) fn same_origin(&self, other: &HttpUrl) -> bool {
        self.url.origin() == other.url.origin()
    }

    /// `https://host/path`, without userinfo, query or fragment.
    pub(crate) fn redacted(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().to_owned();
        let bare = redacted::without_parameters(path.as_bytes());
        if bare.len() < path.len() {
            url.set_path(&path[..bare.len()]);
        }
        // With a port and no user, the one may be the user and the other the beginning of a
        // password.
        let is_password = url.port().is_some() && self.auth.is_none() && path.contains('@');
        if is_password || redacted::is_doubtful(bare) {
            return redacted::hidden(url.as_str().as_bytes());
        }
        url.into()
    }

    pub(crate) fn identity(&self) -> Identity {
        // Equal keys must show the same, and only the key has its slash for certain.
        let shown = self.redacted();
        Identity {
            key: self.base().into_bytes(),
            shown: shown.strip_suffix('/').unwrap_or(&shown).to_owned(),
        }
    }

    /// What Git appends service names to: the URL with one slash at its end if there was none. A
    /// query stays where it is and the service is appended to it, as Git does (for servers at
    /// `…/cgi?repo=`).
    fn base(&self) -> String {
        let mut base = self.url.as_str().to_owned();
        if !base.ends_with('/') {
            base.push('/');
        }
        base
    }

    /// Where refs are advertised.
    pub(crate) fn info_refs(&self) -> Result<HttpUrl> {
        let query = if self.url.query().is_some() { '&' } else { '?' };
        self.joined(&format!("info/refs{query}service=git-upload-pack"))
    }

    /// Where `ls-refs` and `fetch` are posted.
    pub(crate) fn upload_pack(&self) -> Result<HttpUrl> {
        self.joined("git-upload-pack")
    }

    /// The repository's URL that an [`info_refs`](Self::info_refs) URL belongs to, or None where it
    /// is not one. The tail must be the one that was asked for, as Git requires too: else a
    /// redirect to a login page would pass for a repository.
    pub(crate) fn strip_info_refs(&self) -> Option<HttpUrl> {
        let text = self.url.as_str();
        let base = text
            .strip_suffix("/info/refs?service=git-upload-pack")
            .or_else(|| text.strip_suffix("/info/refs&service=git-upload-pack"))?;
        // The slash stays: the base may be the host alone.
        let url = Url::parse(&format!("{base}/")).ok()?;
        Some(HttpUrl { url, auth: None })
    }

    /// For the HTTP client only: it may hold a query.
    pub(crate) fn as_url(&self) -> &Url {
        &self.url
    }

    fn joined(&self, tail: &str) -> Result<HttpUrl> {
        let url = Url::parse(&format!("{}{tail}", self.base()))
            .map_err(|e| Error::invalid(format!("the URL cannot be extended ({e})")))?;
        Ok(HttpUrl { url, auth: None })
    }
}

/// `user:password@` of a URL. A user without a password is how hosts take a bare token.
fn userinfo(url: &Url) -> Result<Option<Auth>> {
    let decode = |text: &str| {
        percent_decode(text.as_bytes())
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| Error::invalid("the credentials in the URL are not UTF-8"))
    };
    let (username, password) = (
        decode(url.username())?,
        decode(url.password().unwrap_or(""))?,
    );
    if username.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Ok(Some(Auth::Basic { username, password }))
}

/// What may be shown of the text of a request, be it a URL or none.
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
    // Git percent-decodes what looks like a URL.
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

/// What has no scheme: a path, or `host:path` as scp writes it (Git's rule: a colon before the
/// first slash).
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
    // With a slash too few or a colon, to Git it is a path as well.
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

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({})", self.redacted())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.shown)
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
