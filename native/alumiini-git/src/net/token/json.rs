//! What providers answer in JSON.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::net::token::request::Reply;

/// A token as OAuth 2.0 has it (RFC 6749, 5.1).
#[derive(Deserialize)]
pub(super) struct AccessToken {
    pub(super) access_token: String,
    expires_in: Option<u64>,
}

/// What is taken for the lifetime of a token of which none is said.
const LIFETIME: Duration = Duration::from_secs(300);

impl AccessToken {
    /// `protocol` where there is no token in `reply`.
    pub(super) fn of(reply: &Reply) -> Result<AccessToken> {
        parsed(reply, "an `access_token`")
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.expires_in.map_or(LIFETIME, Duration::from_secs)
    }
}

/// `protocol` where `reply` is no JSON with `what` in it. The parser's own words may quote it.
pub(super) fn parsed<T: DeserializeOwned>(reply: &Reply, what: &str) -> Result<T> {
    serde_json::from_slice(&reply.body).map_err(|_| reply.unreadable(what))
}
