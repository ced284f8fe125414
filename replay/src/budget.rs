//! The bytes that rows hold between the recording and the run.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Only the reader waits for it. What a response adds is charged without waiting, so that the
/// limit may be passed by the bodies of the requests under way.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    /// How often the reader had to wait.
    waits: AtomicU64,
    waiting: AtomicBool,
    lock: Mutex<()>,
    freed: Condvar,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Budget {
        Budget {
            limit,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            lock: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    pub(crate) fn charge(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        // Only one takes the lock: it may be held by who is slow to get the processor.
        if before - bytes <= self.enough() && self.waiting.swap(false, Ordering::SeqCst) {
            let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.freed.notify_one();
        }
    }

    /// Waits until half of it is free, so that what runs is woken seldom, or until `stop`.
    pub(crate) fn wait(&self, stop: &AtomicBool) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.waiting.store(true, Ordering::SeqCst);
            let enough = self.used.load(Ordering::SeqCst) <= self.enough();
            if enough || stop.load(Ordering::Relaxed) {
                break;
            }
            held = match self.freed.wait_timeout(held, Duration::from_millis(100)) {
                Ok((held, _)) => held,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        self.waiting.store(false, Ordering::SeqCst);
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    fn enough(&self) -> usize {
        self.limit / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_goes_on_when_half_is_free() {
        let budget = Budget::new(100);
        let stop = AtomicBool::new(false);
        budget.charge(60);
        assert!(!budget.full());
        budget.charge(60);
        assert!(budget.full());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.wait(&stop));
            budget.release(60);
            budget.release(60);
            assert!(waiter.join().is_ok());
        });
        assert_eq!((budget.waits(), budget.peak()), (1, 120));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let budget = Budget::new(1);
        budget.charge(2);
        budget.wait(&AtomicBool::new(true));
        assert!(budget.full());
    }
}
