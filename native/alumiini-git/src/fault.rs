//! Faults on demand, for tests: kill, stop or hang the worker when a request reaches a named moment
//! (`protocol/README.md`, "For tests only"). Without the feature `fault-injection` nothing of it is compiled in.

#[cfg(feature = "fault-injection")]
mod injected {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::job::Job;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) enum Act {
        Kill,
        Stop,
        Hang,
        /// As C code that loops: no cancel is seen.
        Wedge,
    }

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

        /// Called at each named moment; blocks only where a test asked for a hang.
        pub(crate) fn reach(&self, at: &str, job: &Job) {
            if let Some(plan) = &self.0
                && plan.at == at
                && plan.reached.fetch_add(1, Ordering::SeqCst) + 1 == plan.after
            {
                match plan.act {
                    Act::Kill => signal(rustix::process::Signal::KILL),
                    Act::Stop => {
                        signal(rustix::process::Signal::STOP);
                        // The signal may reach another thread first; by the end of this, it has stopped all of them.
                        std::thread::sleep(std::time::Duration::from_millis(20));
                    }
                    Act::Hang => {
                        job.fault_reached(at);
                        while !job.is_cancelled() {
                            std::thread::sleep(std::time::Duration::from_millis(2));
                        }
                    }
                    Act::Wedge => {
                        job.fault_reached(at);
                        loop {
                            std::thread::park();
                        }
                    }
                }
            }
        }
    }

    fn signal(signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
}

#[cfg(not(feature = "fault-injection"))]
mod injected {
    use crate::job::Job;

    /// Never set.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Fault {}

    impl Fault {
        pub(crate) fn is_set(&self) -> bool {
            false
        }

        pub(crate) fn reach(&self, _at: &str, _job: &Job) {}
    }
}

pub(crate) use injected::*;
