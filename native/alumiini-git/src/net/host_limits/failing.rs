//! Which repositories of a host fail: those whose last request did.

use std::collections::HashMap;

/// Repositories that are remembered. Beyond that, the one that failed longest ago is forgotten, and
/// counts as good until it fails again.
pub(super) const MAX_FAILING: usize = 1024;

#[derive(Default)]
pub(super) struct Failing {
    /// By the number of its last failure. Numbers grow.
    last: HashMap<u64, u64>,
    count: u64,
}

impl Failing {
    pub(super) fn len(&self) -> usize {
        self.last.len()
    }

    pub(super) fn contains(&self, repository: u64) -> bool {
        self.last.contains_key(&repository)
    }

    pub(super) fn insert(&mut self, repository: u64) {
        self.count += 1;
        if self.last.len() >= MAX_FAILING && !self.contains(repository) {
            let oldest = self.last.iter().min_by_key(|(_, count)| **count);
            if let Some(oldest) = oldest.map(|(repository, _)| *repository) {
                self.last.remove(&oldest);
            }
        }
        self.last.insert(repository, self.count);
    }

    /// Returns whether it was one of them.
    pub(super) fn remove(&mut self, repository: u64) -> bool {
        self.last.remove(&repository).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_that_fail_are_remembered() {
        let mut failing = Failing::default();
        for repository in 0..MAX_FAILING as u64 + 10 {
            failing.insert(repository);
            failing.insert(0);
        }
        assert_eq!(failing.len(), MAX_FAILING);
        assert!(failing.contains(0) && !failing.contains(1) && failing.contains(1_000));
        assert!(failing.remove(0) && !failing.remove(0));
    }
}
