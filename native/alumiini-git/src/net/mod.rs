//! The fetch conversation with a remote over HTTP, in async Rust. libgit2 never touches the network (its HTTP client cannot be
//! cancelled, pools nothing and reads the whole ref advertisement).
//!
//! Cancelling anything here is dropping its future: sockets close.

pub(crate) mod auth;
pub(crate) mod discover;
pub(crate) mod failure;
pub(crate) mod fetch;
pub(crate) mod http;
pub(crate) mod pkt;
pub(crate) mod refs;
pub(crate) mod url;

pub(crate) use http::Net;
