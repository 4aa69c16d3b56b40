//! The fetch conversation with a remote, in async Rust. libgit2 never touches the network (DESIGN: its HTTP client
//! cannot be cancelled, pools nothing and reads the whole ref advertisement).
//!
//! Cancelling anything here is dropping its future: sockets close, or go back to the pool where they are reusable.
