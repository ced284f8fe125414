//! When a session may begin where no row has a time of its own.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ahash::HashMap;
use recording::Timestamp;

/// For the run's notes.
pub(crate) const OVERDUE: &str =
    "sessions that later ones waited for no longer, for they took ten times as long as recorded";
/// A session is waited for so many times as long as it was recorded to take, and for this time at least.
const PATIENCE: u32 = 10;
const LEAST: Duration = Duration::from_secs(5);

/// A session begins when as many have ended as had when it was recorded: no more are open together than
/// were then. Those that it waits for stand before it in time, so that no two wait for each other; but
/// one may wait for it within the target, say for a lock that it is to release: then it takes too long.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    ended: AtomicU64,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// By how many must have ended, and by session.
    waiting: BTreeMap<(u64, u64), Waker>,
    /// Those that have not ended.
    sessions: HashMap<u64, Session>,
}

#[derive(Debug, Default)]
struct Session {
    began_at: Option<Timestamp>,
    /// Once it is known when it ended in the recording.
    patience: Option<Duration>,
}

impl Line {
    fn leave(&mut self, ended: u64) -> BTreeMap<(u64, u64), Waker> {
        let later = self.waiting.split_off(&(ended + 1, 0));
        mem::replace(&mut self.waiting, later)
    }
}

impl Turns {
    /// Before the session's rows are handed over.
    pub(crate) fn comes(&self, session: u64) {
        self.lock().sessions.insert(session, Session::default());
    }

    /// Ready when `after` sessions have ended.
    pub(crate) fn poll(&self, after: u64, session: u64, cx: &Context<'_>) -> Poll<()> {
        if !self.is_due(after) {
            let waker = cx.waker().clone();
            self.lock().waiting.insert((after, session), waker);
        }
        // The last of them may have ended before the waker was there.
        match self.is_due(after) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    pub(crate) fn begins(&self, session: u64, at: Timestamp) {
        if let Some(session) = self.lock().sessions.get_mut(&session) {
            session.began_at = Some(at);
        }
    }

    /// Its last row is handed over, and it was recorded to take so long.
    pub(crate) fn is_to_end(&self, session: u64, recorded: Duration) {
        if let Some(session) = self.lock().sessions.get_mut(&session) {
            session.patience = Some(recorded.saturating_mul(PATIENCE).max(LEAST));
        }
    }

    pub(crate) fn ends(&self, session: u64) {
        let mut line = self.lock();
        if line.sessions.remove(&session).is_some() {
            self.wake(line, 1);
        }
    }

    /// Takes sessions for ended that take too long, where others wait. Gives their number.
    pub(crate) fn look(&self, now: Timestamp) -> u64 {
        let mut line = self.lock();
        if line.waiting.is_empty() {
            return 0;
        }
        let before = line.sessions.len();
        line.sessions.retain(|_, session| {
            let Some((began_at, patience)) = session.began_at.zip(session.patience) else {
                return true;
            };
            u128::from(now.since(began_at)) <= patience.as_nanos()
        });
        let overdue = (before - line.sessions.len()) as u64;
        if overdue > 0 {
            self.wake(line, overdue);
        }
        overdue
    }

    fn wake(&self, mut line: MutexGuard<'_, Line>, ended: u64) {
        let ended = self.ended.fetch_add(ended, Ordering::SeqCst) + ended;
        let now = line.leave(ended);
        drop(line);
        now.into_values().for_each(Waker::wake);
    }

    fn is_due(&self, after: u64) -> bool {
        self.ended.load(Ordering::SeqCst) >= after
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn count(woken: &Arc<Woken>) -> u64 {
        woken.0.load(Ordering::SeqCst)
    }

    fn poll(turns: &Turns, after: u64, session: u64, woken: &Arc<Woken>) -> Poll<()> {
        let waker = Waker::from(Arc::clone(woken));
        turns.poll(after, session, &Context::from_waker(&waker))
    }

    #[test]
    fn who_waits_is_woken_when_enough_have_ended_and_not_before() {
        let turns = Turns::default();
        (0..5).for_each(|session| turns.comes(session));
        let woken: [Arc<Woken>; 3] = Default::default();
        let poll = |session: usize, after| poll(&turns, after, session as u64, &woken[session]);
        let counts = || [0, 1, 2].map(|session| count(&woken[session]));
        assert_eq!(poll(0, 0), Poll::Ready(()));
        assert_eq!([poll(0, 2), poll(1, 1), poll(2, 1)], [Poll::Pending; 3]);
        turns.ends(3);
        assert_eq!(counts(), [0, 1, 1]);
        assert_eq!([poll(0, 2), poll(1, 1)], [Poll::Pending, Poll::Ready(())]);
        turns.ends(3);
        assert_eq!(poll(0, 2), Poll::Pending, "it ended before");
        turns.ends(4);
        assert_eq!(counts(), [1, 1, 1]);
        assert_eq!(poll(0, 2), Poll::Ready(()));
    }

    #[test]
    fn who_takes_too_long_is_waited_for_no_longer_and_counts_once() {
        let turns = Turns::default();
        let woken: Arc<Woken> = Arc::default();
        let second = 1_000_000_000;
        for session in 0..3 {
            turns.comes(session);
            turns.begins(session, Timestamp(0));
        }
        turns.is_to_end(0, Duration::from_millis(1));
        turns.is_to_end(1, Duration::from_secs(1));
        assert_eq!(turns.look(Timestamp(100 * second)), 0, "nobody waits");
        assert_eq!(poll(&turns, 2, 7, &woken), Poll::Pending);
        assert_eq!(turns.look(Timestamp(5 * second)), 0);
        assert_eq!(turns.look(Timestamp(5 * second + 1)), 1);
        turns.ends(0);
        assert_eq!(count(&woken), 0);
        assert_eq!(turns.look(Timestamp(10 * second + 1)), 1);
        assert_eq!(count(&woken), 1);
        assert_eq!(poll(&turns, 2, 7, &woken), Poll::Ready(()));
        assert_eq!(poll(&turns, 3, 7, &woken), Poll::Pending);
        let never = Timestamp(1_000_000 * second);
        assert_eq!(turns.look(never), 0, "it never ended in the recording");
    }
}
