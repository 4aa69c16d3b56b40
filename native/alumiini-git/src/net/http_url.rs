//! Where a repository is over HTTP or HTTPS, and what Git asks for there (gitprotocol-http(5)).

use std::fmt;

use percent_encoding::percent_decode;
use reqwest::Url;

use crate::error::{Error, Result};
use crate::net::auth::Auth;
use crate::net::identity::Identity;
use crate::net::redacted;

/// An `http` or `https` URL without userinfo and fragment, and the credentials that were its
/// userinfo.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct HttpUrl {
    url: Url,
    auth: Option<Auth>,
}

impl HttpUrl {
    /// Parses the whole text. `invalid` where it is not a URL, or probably a mistyped one. No error
    /// repeats the text.
    pub(super) fn parse(bytes: &[u8]) -> Result<HttpUrl> {
        let text =
            std::str::from_utf8(bytes).map_err(|_| Error::invalid("the URL is not UTF-8"))?;
        // After a bare `#` or `?` in a password, the rest of the password would become the fragment
        // or query, and the part before it the host that gets contacted. By the rules of browsers,
        // which `Url` follows, a backslash is a slash.
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

    /// From a resolved `Location` header. Userinfo that the server put there is dropped.
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

    /// Whether the connection is unencrypted.
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
        // In a URL with a port and no user, the host may be a user and the port the beginning of a
        // password.
        let is_password = url.port().is_some() && self.auth.is_none() && path.contains('@');
        if is_password || redacted::is_doubtful(bare) {
            return redacted::hidden(url.as_str().as_bytes());
        }
        url.into()
    }

    /// What makes two remotes the same one. See [`Identity`].
    pub(crate) fn identity(&self) -> Identity {
        // Equal keys must be shown alike, and only the key is sure to end with a slash.
        let shown = self.redacted();
        let shown = shown.strip_suffix('/').unwrap_or(&shown).to_owned();
        Identity::new(self.base(), shown)
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
        // The slash stays, since the base may be a host without a path.
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
