//! Some threads look at many things together, until one of these is not as it should be.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Whether `is_so` is true for each number below `count`. Up to `helpers` blocking threads of the
/// current runtime take part; the calling thread does the rest. Blocks.
pub(crate) fn all_of<F>(count: usize, helpers: usize, is_so: F) -> bool
where
    F: Fn(usize) -> bool + Send + Sync + 'static,
{
    let look = Arc::new(Look {
        count,
        is_so,
        state: Mutex::default(),
        ended: Condvar::new(),
    });
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        for _ in 0..helpers {
            let look = look.clone();
            // One that comes when all is done finds nothing to do.
            drop(runtime.spawn_blocking(move || look.work()));
        }
    }
    look.work();
    look.result()
}

struct Look<F> {
    count: usize,
    is_so: F,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    next: usize,
    at_work: usize,
    failed: bool,
}

/// One thing that somebody is at, until it is dropped.
struct AtWork<'a, F> {
    look: &'a Look<F>,
    is_so: bool,
}

impl<F> Drop for AtWork<'_, F> {
    fn drop(&mut self) {
        let mut state = self.look.lock();
        state.at_work -= 1;
        state.failed |= !self.is_so;
        if state.at_work == 0 {
            self.look.ended.notify_all();
        }
    }
}

impl<F> Look<F> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(usize, AtWork<'_, F>)> {
        let mut state = self.lock();
        if state.failed || state.next == self.count {
            return None;
        }
        state.next += 1;
        state.at_work += 1;
        let at_work = AtWork {
            look: self,
            is_so: false,
        };
        Some((state.next - 1, at_work))
    }

    /// To be asked by who has found that nothing is left to do: waits for the others.
    fn result(&self) -> bool {
        let mut state = self.lock();
        while state.at_work > 0 {
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.failed
    }
}

impl<F: Fn(usize) -> bool> Look<F> {
    fn work(&self) {
        while let Some((place, mut at_work)) = self.next() {
            at_work.is_so = (self.is_so)(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_looked_at_until_one_is_not_so() {
        for helpers in [0, 3] {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _entered = runtime.enter();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let look = |bad: usize| {
                let seen = seen.clone();
                all_of(1000, helpers, move |place| {
                    seen.lock().unwrap().push(place);
                    place != bad
                })
            };
            assert!(look(1000));
            let mut all = std::mem::take(&mut *seen.lock().unwrap());
            all.sort();
            assert_eq!(all, (0..1000).collect::<Vec<_>>());
            assert!(!look(10));
            assert!(seen.lock().unwrap().len() < 1000);
        }
        assert!(all_of(0, 0, |_| false));
    }
}
