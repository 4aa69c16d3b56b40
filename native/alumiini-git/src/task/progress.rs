//! What a piece of work tells while it runs, and what came of it in numbers.

use serde::Serialize;

use crate::error::Name;

/// What came over the network for a sync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Stats {
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
}

impl Stats {
    /// What came for both.
    pub(crate) fn and(self, more: Stats) -> Stats {
        Stats {
            bytes: self.bytes + more.bytes,
            objects: self.objects + more.objects,
        }
    }
}

/// What a sync is doing. The names are those of `protocol/README.md`, "Events".
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Connect,
    Receive,
    Index,
    Checkout,
}

/// What is told of a request while it runs, in the form in which it travels.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    Progress {
        phase: Phase,
        done: u64,
        total: u64,
        bytes: u64,
    },
    Repaired {
        path: Name,
        reason: String,
    },
    #[cfg(feature = "fault-injection")]
    Fault {
        at: String,
    },
}
