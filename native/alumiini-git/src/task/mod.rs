//! What runs a piece of work: for whom, on which threads, how far it is, and how it is stopped.

pub(crate) mod all_of;
pub(crate) mod fault;
pub(crate) mod job;
pub(crate) mod keyed_lock;
pub(crate) mod patience;
pub(crate) mod pool;
pub(crate) mod progress;
pub(crate) mod share;
pub(crate) mod single_flight;
