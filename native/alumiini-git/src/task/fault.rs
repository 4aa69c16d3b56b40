//! Faults on demand, for tests: kill, stop or hang the worker when a request reaches a named moment
//! (`protocol/README.md`, "For tests only"). Without the feature `fault-injection` nothing of it is
//! compiled in.

#[cfg(feature = "fault-injection")]
mod injected {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What happens at the moment.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) enum Act {
        Kill,
        Stop,
        Hang,
        /// As C code that loops: no cancel is seen.
        Wedge,
    }

    /// What a request asks to happen, and when. Unset for all but some requests of tests.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Fault(Option<Arc<Plan>>);

    #[derive(Debug)]
    struct Plan {
        at: String,
        act: Act,
        after: u64,
        reached: AtomicU64,
    }

    impl Fault {
        /// `act` happens when the moment `at` is reached for the `after`th time, counted
        /// from 1.
        pub(crate) fn new(at: String, act: Act, after: u64) -> Self {
            Fault(Some(Arc::new(Plan {
                at,
                act,
                after,
                reached: AtomicU64::new(0),
            })))
        }

        /// Syncs with a fault are never shared with others.
        pub(crate) fn is_set(&self) -> bool {
            self.0.is_some()
        }

        /// What a test asked for at this moment.
        pub(crate) fn reach(&self, at: &str) -> Option<Act> {
            let plan = self.0.as_ref().filter(|plan| plan.at == at)?;
            let is_now = plan.reached.fetch_add(1, Ordering::SeqCst) + 1 == plan.after;
            is_now.then_some(plan.act)
        }
    }
}

#[cfg(not(feature = "fault-injection"))]
mod injected {
    /// Never set.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Fault {}

    impl Fault {
        /// Never.
        pub(crate) fn is_set(&self) -> bool {
            false
        }
    }
}

pub(crate) use injected::*;
