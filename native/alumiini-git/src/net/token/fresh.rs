//! A token as a provider made it.

use std::time::Duration;

use crate::net::auth::Auth;
use crate::net::secrets::Secrets;
use crate::net::token::source::AwsKeys;

/// What a provider gives.
#[derive(Clone, PartialEq)]
pub(super) enum Token {
    /// It goes to the remote as it is.
    Login(Auth),
    /// What each request is signed with.
    Keys(AwsKeys),
}

/// A token that has just come.
pub(super) struct Fresh {
    pub(super) token: Token,
    pub(super) lifetime: Duration,
    /// How many seconds the provider's clock is ahead of ours, where that matters to it.
    pub(super) clock: i64,
}

impl Token {
    pub(super) fn bearer(token: String) -> Token {
        Token::Login(Auth::Bearer { token })
    }

    pub(super) fn password(username: &str, password: String) -> Token {
        Token::Login(Auth::Basic {
            username: username.to_owned(),
            password,
        })
    }

    pub(super) fn add_secrets(&self, secrets: &mut Secrets) {
        match self {
            Token::Login(auth) => auth.add_secrets(secrets, ""),
            Token::Keys(keys) => keys.add_secrets(secrets),
        }
    }
}
