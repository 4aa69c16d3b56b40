//! Tokens that renew themselves: made by a provider from what proves who we are, kept until shortly
//! before they end, shared by all requests with the same credentials.

mod azure;
pub(super) mod cache;
mod civil;
mod codecommit;
pub(super) mod endpoints;
mod fresh;
mod github_app;
mod google;
mod json;
mod provider;
mod request;
pub(crate) mod source;
mod token_file;
