//! When a session may begin where no row has a time of its own.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A session begins when as many have ended as had when it was recorded: no more are open together than
/// were then. Those that it waits for stand before it in time, so that no two wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    ended: AtomicU64,
    /// By how many must have ended, and by session.
    waiting: Mutex<BTreeMap<(u64, u64), Waker>>,
}

impl Turns {
    /// Another session has ended.
    pub(crate) fn end(&self) {
        let ended = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        let mut waiting = self.lock();
        let later = waiting.split_off(&(ended + 1, 0));
        let now = mem::replace(&mut *waiting, later);
        drop(waiting);
        now.into_values().for_each(Waker::wake);
    }

    /// Ready when `after` sessions have ended.
    pub(crate) fn poll(&self, after: u64, session: u64, cx: &Context<'_>) -> Poll<()> {
        if !self.is_due(after) {
            self.lock().insert((after, session), cx.waker().clone());
        }
        // The last of them may have ended before the waker was there.
        match self.is_due(after) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn is_due(&self, after: u64) -> bool {
        self.ended.load(Ordering::SeqCst) >= after
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_is_woken_when_enough_have_ended_and_not_before() {
        let turns = Turns::default();
        let woken: [Arc<Woken>; 3] = Default::default();
        let poll = |session: usize, after| {
            let waker = Waker::from(Arc::clone(&woken[session]));
            let cx = Context::from_waker(&waker);
            turns.poll(after, session as u64, &cx)
        };
        let count = |session: usize| woken[session].0.load(Ordering::SeqCst);
        assert_eq!(poll(0, 0), Poll::Ready(()));
        assert_eq!([poll(0, 2), poll(1, 1), poll(2, 1)], [Poll::Pending; 3]);
        turns.end();
        assert_eq!([count(0), count(1), count(2)], [0, 1, 1]);
        assert_eq!([poll(0, 2), poll(1, 1)], [Poll::Pending, Poll::Ready(())]);
        turns.end();
        assert_eq!([count(0), count(1), count(2)], [1, 1, 1]);
        assert_eq!(poll(0, 2), Poll::Ready(()));
    }
}
