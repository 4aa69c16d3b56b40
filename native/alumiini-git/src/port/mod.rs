//! The wire: frames on standard input and output, requests in them, and their answers. The contract
//! is `protocol/README.md`.

pub(crate) mod connection;
pub(crate) mod cursor;
pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod outbox;
pub(crate) mod remote;
pub(crate) mod reply;
pub(crate) mod request;
