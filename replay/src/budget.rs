//! The bytes that rows hold between the recording and the run.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Only the reader waits for it. What a response adds is charged without waiting, so that the
/// limit may be passed by the bodies of the requests under way.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: AtomicUsize,
    /// What the limit is at first: see [`Budget::grow`].
    step: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    lead: Option<Lead>,
    /// Rows that became outcomes.
    done: AtomicU64,
    /// How often the reader had to wait.
    waits: AtomicU64,
    waiting: AtomicBool,
    lock: Mutex<()>,
    freed: Condvar,
}

/// How far the reader is ahead of the sessions, in rows. While each of them has something to do, more
/// would only leave the processor's cache before it is needed.
#[derive(Debug, Default)]
struct Lead {
    rows: AtomicUsize,
    sessions: AtomicUsize,
    /// Sessions that wait for a row.
    idle: AtomicUsize,
}

/// Rows for each session that is under way.
const LEAD_ROWS: usize = 64;
/// How often the reader looks around while it waits.
const LOOK: Duration = Duration::from_millis(100);
/// Looks between which nothing was done: sessions may wait for one whose rows are not read yet.
const STANDSTILL: u32 = 10;
/// How many times what it is at first the limit becomes at the most.
const MOST_STEPS: usize = 8;

impl Lead {
    /// Is the reader further ahead than a `part` of what it may be?
    fn is_over(&self, part: usize) -> bool {
        let sessions = self.sessions.load(Ordering::SeqCst).max(1);
        self.idle.load(Ordering::SeqCst) == 0
            && self.rows.load(Ordering::SeqCst) >= LEAD_ROWS / part * sessions
    }
}

impl Budget {
    /// `led`: the reader is not to be far ahead of sessions that have something to do.
    pub(crate) fn new(limit: usize, led: bool) -> Budget {
        Budget {
            limit: AtomicUsize::new(limit),
            step: limit,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            lead: led.then(Lead::default),
            done: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            lock: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    /// Is the reader to [`wait`](Budget::wait)?
    pub(crate) fn full(&self) -> bool {
        self.is_over(1)
    }

    /// Is more than a `part` of what the reader may have in use?
    fn is_over(&self, part: usize) -> bool {
        self.used.load(Ordering::SeqCst) >= self.limit.load(Ordering::Relaxed) / part
            || self.lead.as_ref().is_some_and(|lead| lead.is_over(part))
    }

    /// So many rows were read.
    pub(crate) fn read(&self, rows: usize, bytes: usize) {
        if let Some(lead) = &self.lead {
            lead.rows.fetch_add(rows, Ordering::SeqCst);
        }
        self.charge(bytes);
    }

    pub(crate) fn charge(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    /// Rows became outcomes.
    pub(crate) fn done(&self, rows: usize) {
        self.done.fetch_add(rows as u64, Ordering::Relaxed);
        if let Some(lead) = &self.lead {
            lead.rows.fetch_sub(rows, Ordering::SeqCst);
        }
        self.wake();
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn session_begins(&self) {
        if let Some(lead) = &self.lead {
            lead.sessions.fetch_add(1, Ordering::SeqCst);
            self.wake();
        }
    }

    pub(crate) fn session_ends(&self) {
        if let Some(lead) = &self.lead {
            lead.sessions.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A session begins to wait for a row.
    pub(crate) fn session_waits(&self) {
        if let Some(lead) = &self.lead {
            lead.idle.fetch_add(1, Ordering::SeqCst);
            self.wake();
        }
    }

    pub(crate) fn session_goes_on(&self) {
        if let Some(lead) = &self.lead {
            lead.idle.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn wake(&self) {
        // Only one takes the lock: it may be held by who is slow to get the processor.
        if self.waiting.load(Ordering::SeqCst)
            && !self.is_over(2)
            && self.waiting.swap(false, Ordering::SeqCst)
        {
            let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.freed.notify_one();
        }
    }

    /// A session whose rows fill it may wait for another's, say behind a lock: that one's must be read.
    fn grow(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let stuck = self.used.load(Ordering::SeqCst) >= limit && limit < self.step * MOST_STEPS;
        if stuck {
            self.limit.store(limit + self.step, Ordering::Relaxed);
        }
        stuck
    }

    /// By how many bytes it had to grow.
    pub(crate) fn grown(&self) -> usize {
        self.limit.load(Ordering::Relaxed) - self.step
    }

    /// Waits until half of it is free, so that what runs is woken seldom, or until `stop`; or grows where
    /// nothing moves.
    pub(crate) fn wait(&self, stop: &AtomicBool) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let (mut done, mut still) = (self.done.load(Ordering::Relaxed), 0);
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.waiting.store(true, Ordering::SeqCst);
            if !self.is_over(2) || stop.load(Ordering::Relaxed) {
                break;
            }
            held = match self.freed.wait_timeout(held, LOOK) {
                Ok((held, waited)) => {
                    still += u32::from(waited.timed_out());
                    held
                }
                Err(poisoned) => poisoned.into_inner().0,
            };
            let now = self.done.load(Ordering::Relaxed);
            if now != done {
                (done, still) = (now, 0);
            } else if still >= STANDSTILL && self.grow() {
                break;
            }
        }
        self.waiting.store(false, Ordering::SeqCst);
    }

    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_goes_on_when_half_is_free() {
        let budget = Budget::new(100, false);
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
    fn the_reader_is_not_far_ahead_of_sessions_that_have_rows() {
        let budget = Budget::new(1 << 20, true);
        let stop = AtomicBool::new(false);
        let read = |rows| budget.read(rows, 1);
        read(LEAD_ROWS);
        assert!(budget.full());
        budget.session_begins();
        budget.session_begins();
        assert!(!budget.full());
        read(LEAD_ROWS);
        assert!(budget.full());
        budget.session_waits();
        assert!(!budget.full());
        budget.session_goes_on();
        let goes_on: [&dyn Fn(); 3] = [
            &|| budget.done(LEAD_ROWS + 1),
            &|| budget.session_waits(),
            &|| (0..4).for_each(|_| budget.session_begins()),
        ];
        for (at, change) in goes_on.iter().enumerate() {
            assert!(budget.full(), "{at}");
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| budget.wait(&stop));
                change();
                assert!(waiter.join().is_ok());
            });
            match at {
                0 => read(LEAD_ROWS + 1),
                1 => budget.session_goes_on(),
                _ => {}
            }
        }
        assert_eq!(budget.waits(), 3);
    }

    #[test]
    fn it_grows_where_nothing_moves_but_not_for_ever() {
        let budget = Budget::new(100, false);
        let stop = AtomicBool::new(false);
        for step in 1..MOST_STEPS {
            budget.charge(100);
            assert!(budget.full());
            if step == 1 {
                budget.wait(&stop);
            } else {
                assert!(budget.grow());
            }
            assert!(!budget.full());
            assert_eq!(budget.grown(), 100 * step);
        }
        budget.charge(100);
        assert!(budget.full() && !budget.grow());
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let budget = Budget::new(1, false);
        budget.charge(2);
        budget.wait(&AtomicBool::new(true));
        assert!(budget.full());
    }
}
