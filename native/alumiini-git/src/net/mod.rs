//! The fetch conversation with a remote, in async Rust. libgit2 never touches the network (DESIGN: its HTTP client
//! cannot be cancelled, pools nothing and reads the whole ref advertisement).
//!
//! Cancelling anything here is dropping its future: sockets close, or go back to the pool where they are reusable. Nothing here has
//! a deadline of its own but the connection's making: the caller drops the future at the request's. The phase `connect` of a
//! request lasts until the first chunk of a pack arrives in its sink.

pub(crate) mod auth;
mod discovery;
mod failure;
pub(crate) mod fetch;
pub(crate) mod http;
mod pkt;
pub(crate) mod refs;
pub(crate) mod url;

use crate::error::Result;
use auth::Auth;
use url::HttpUrl;

/// Whom to talk to, and as whom. Equal endpoints may share an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) url: HttpUrl,
    pub(crate) auth: Option<Auth>,
}

impl Endpoint {
    /// `explicit`: the credentials of the request; they stand above those in `url`.
    ///
    /// `invalid` where credentials would go over plain `http` without `allow_insecure`, or cannot be sent at all.
    pub(crate) fn new(url: HttpUrl, explicit: Option<Auth>, allow_insecure: bool) -> Result<Endpoint> {
        let auth = auth::effective(explicit, &url);
        auth::refuse_plaintext(auth.as_ref(), &url, allow_insecure)?;
        if let Some(auth) = &auth {
            auth.header()?;
        }
        Ok(Endpoint { url, auth })
    }
}

#[cfg(test)]
mod tests;
