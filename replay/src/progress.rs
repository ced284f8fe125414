//! How far a run is, for whoever watches it.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use recording::Timestamp;

use crate::measure::Measures;

/// Shared between a run and whoever watches it. Workers publish ten times a second; nothing here is
/// touched for a single request.
#[derive(Debug, Default)]
pub struct Progress {
    sessions: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    errors: AtomicU64,
    unanswered: AtomicU64,
    skipped: AtomicU64,
    in_flight: AtomicI64,
    position: AtomicI64,
    first: AtomicI64,
    unsealed: AtomicUsize,
    measures: Mutex<Vec<Option<Measures>>>,
}

/// What a worker counted since it published last; requests only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sessions: u64,
    /// Less those that will be sent again, which may have been published before.
    pub(crate) sent: i64,
    pub(crate) answered: u64,
    /// Of those answered.
    pub(crate) errors: u64,
    pub(crate) unanswered: u64,
    pub(crate) skipped: u64,
}

/// A look at a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sessions that logged in.
    pub sessions: u64,
    pub sent: u64,
    pub answered: u64,
    /// Of those answered, with an error.
    pub errors: u64,
    /// Sent, and given up.
    pub unanswered: u64,
    pub skipped: u64,
    pub in_flight: u64,
    /// Time in the recording of its first row and of the newest that was handed out.
    pub first: Timestamp,
    pub position: Timestamp,
    /// Segments of the run that wait to be sealed, when all else is done.
    pub unsealed: usize,
    /// Of the whole run until now; a second old at most.
    pub lateness_p99_ns: u64,
    pub service_p50_ns: u64,
    pub service_p99_ns: u64,
}

impl Progress {
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            sessions: self.sessions.load(Relaxed),
            sent: self.sent.load(Relaxed),
            answered: self.answered.load(Relaxed),
            errors: self.errors.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            in_flight: u64::try_from(self.in_flight.load(Relaxed)).unwrap_or(0),
            first: Timestamp(self.first.load(Relaxed)),
            position: Timestamp(self.position.load(Relaxed)),
            unsealed: self.unsealed.load(Relaxed),
            ..Snapshot::default()
        };
        if let Some(merged) = self.measures() {
            snapshot.lateness_p99_ns = merged.lateness.value_at_quantile(0.99);
            snapshot.service_p50_ns = merged.service.value_at_quantile(0.5);
            snapshot.service_p99_ns = merged.service.value_at_quantile(0.99);
        }
        snapshot
    }

    pub(crate) fn add(&self, counts: Counts) {
        self.sessions.fetch_add(counts.sessions, Relaxed);
        // Wraps around, so that what is negative is taken away.
        self.sent.fetch_add(counts.sent.cast_unsigned(), Relaxed);
        self.answered.fetch_add(counts.answered, Relaxed);
        self.errors.fetch_add(counts.errors, Relaxed);
        self.unanswered.fetch_add(counts.unanswered, Relaxed);
        self.skipped.fetch_add(counts.skipped, Relaxed);
        let ended = counts.answered + counts.unanswered;
        self.in_flight
            .fetch_add(counts.sent - ended as i64, Relaxed);
    }

    pub(crate) fn begin(&self, first: Timestamp) {
        self.first.store(first.0, Relaxed);
        self.position.store(first.0, Relaxed);
    }

    pub(crate) fn reached(&self, position: Timestamp) {
        self.position.store(position.0, Relaxed);
    }

    pub(crate) fn sealing(&self, unsealed: usize) {
        self.unsealed.store(unsealed, Relaxed);
    }

    pub(crate) fn publish(&self, worker: usize, measures: &Measures) {
        let mut all = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= worker {
            all.resize(worker + 1, None);
        }
        if let Some(slot) = all.get_mut(worker) {
            *slot = Some(measures.clone());
        }
    }

    fn measures(&self) -> Option<Measures> {
        let all = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = all.iter().flatten();
        let mut sum = parts.next()?.clone();
        for part in parts {
            sum.merge(part);
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_counts_once_also_when_it_was_published_before() {
        let progress = Progress::default();
        let counts = |sent, answered| Counts {
            sent,
            answered,
            ..Counts::default()
        };
        progress.add(counts(2, 1));
        progress.add(counts(-1, 0));
        progress.add(counts(1, 1));
        let seen = progress.snapshot();
        assert_eq!((seen.sent, seen.answered, seen.in_flight), (2, 2, 0));
    }
}
