//! Git's own protocol: what a server says it can do, the refs that it lists, and the packs that it
//! sends.

pub(crate) mod advertised;
pub(super) mod capabilities;
pub(super) mod discovery;
pub(crate) mod fetch;
pub(super) mod fetch_answer;
mod fetch_request;
pub(crate) mod ls_refs;
mod pack_stream;
pub(super) mod pkt_line;
