//! A session's rows, on their way from the pacer to the worker that serves it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::vec;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::budget::Budget;
use crate::prefetch::prefetch;
use crate::worker::{Job, Jobs};

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Taken before, and to be taken again before all others; the next is the last.
    returned: Vec<Job>,
    rows: vec::IntoIter<Job>,
    later: UnboundedReceiver<Jobs>,
    wait: Arc<Wait>,
    begun: bool,
}

/// The pacer's end.
#[derive(Debug)]
pub(crate) struct Feed {
    rows: UnboundedSender<Jobs>,
    wait: Arc<Wait>,
}

/// Does the session wait for rows?
#[derive(Debug)]
struct Wait {
    budget: Arc<Budget>,
    on: AtomicBool,
}

impl Wait {
    /// Both ends call it: for a moment the budget may hear of the end of a wait before its beginning,
    /// which looks as if one waited.
    fn set(&self, on: bool) {
        match (self.on.swap(on, Ordering::SeqCst), on) {
            (false, true) => self.budget.session_waits(),
            (true, false) => self.budget.session_goes_on(),
            _ => {}
        }
    }
}

impl Feed {
    pub(crate) fn send(&self, jobs: Jobs) {
        // Before they are sent: the worker may be out of rows again by the time that this returns.
        self.wait.set(false);
        // The other end is gone only after a panic of the worker, which its join tells.
        let _ = self.rows.send(jobs);
    }
}

impl Queue {
    pub(crate) fn new(budget: &Arc<Budget>) -> (Feed, Queue) {
        let (rows, later) = unbounded_channel();
        let wait = Arc::new(Wait {
            budget: Arc::clone(budget),
            on: AtomicBool::new(false),
        });
        let feed = Feed {
            rows,
            wait: Arc::clone(&wait),
        };
        let queue = Queue {
            returned: Vec::new(),
            rows: Jobs::new().into_iter(),
            later,
            wait,
            begun: false,
        };
        (feed, queue)
    }

    /// From now on it counts as a session under way, in the reader's eyes, for as long as it is there.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
        self.wait.budget.session_begins();
    }

    /// The row to be taken next, where it is there.
    pub(crate) fn peek(&self) -> Option<&Job> {
        self.returned.last().or(self.rows.as_slice().first())
    }

    /// What was taken last is to be taken again.
    pub(crate) fn give_back(&mut self, job: Job) {
        self.returned.push(job);
    }

    pub(crate) fn take(&mut self) -> Option<Job> {
        if let Some(job) = self.returned.pop() {
            return Some(job);
        }
        // They were read so long ago that they have left the cache.
        if let Some([next, rest @ ..]) = self.rows.as_slice().get(1..) {
            prefetch(next.row.request.bytes.as_slice());
            if let Some(later) = rest.first() {
                prefetch(later);
            }
        }
        self.rows.next()
    }

    /// Ready when there is a row to [`take`](Queue::take), or none will come any more: `false`.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.peek().is_none() {
            // What they took is free, also where the next come late.
            self.rows = Jobs::new().into_iter();
            let later = self.later.poll_recv(cx);
            self.wait.set(later.is_pending());
            match ready!(later) {
                Some(jobs) => self.rows = jobs.into_iter(),
                None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    /// `None` when no more rows come.
    pub(crate) async fn next(&mut self) -> Option<Job> {
        poll_fn(|cx| self.poll_ready(cx)).await;
        self.take()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.wait.set(false);
        if self.begun {
            self.wait.budget.session_ends();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_was_given_rows_waits_no_more() {
        let budget = Arc::new(Budget::new(1 << 20, true));
        let (feed, mut queue) = Queue::new(&budget);
        let mut cx = Context::from_waker(Waker::noop());
        budget.read(1_000, 1);
        assert!(budget.full());
        for _ in 0..2 {
            assert!(queue.poll_ready(&mut cx).is_pending());
            assert!(!budget.full(), "it waits");
            feed.send(Jobs::new());
            assert!(budget.full(), "also before it looks");
        }
        assert!(queue.poll_ready(&mut cx).is_pending());
        drop(queue);
        assert!(budget.full(), "it is over");
        feed.send(Jobs::new());
        drop(feed);
        assert!(budget.full());
    }
}
