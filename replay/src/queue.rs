//! A session's rows, on their way from the pacer to the worker that serves it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::budget::Budget;
use crate::prefetch::prefetch;
use crate::worker::{Job, Jobs};

/// It counts as a session under way, in the reader's eyes, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Queue {
    rows: vec::IntoIter<Job>,
    later: UnboundedReceiver<Jobs>,
    budget: Arc<Budget>,
    waits: bool,
}

impl Queue {
    pub(crate) fn new(budget: &Arc<Budget>) -> (UnboundedSender<Jobs>, Queue) {
        let (sender, later) = unbounded_channel();
        budget.session_begins();
        let queue = Queue {
            rows: Jobs::new().into_iter(),
            later,
            budget: Arc::clone(budget),
            waits: false,
        };
        (sender, queue)
    }

    /// The row to be taken next, where it is there.
    pub(crate) fn peek(&self) -> Option<&Job> {
        self.rows.as_slice().first()
    }

    pub(crate) fn take(&mut self) -> Option<Job> {
        // They were read so long ago that they have left the cache.
        if let Some([next, rest @ ..]) = self.rows.as_slice().get(1..) {
            prefetch(next.planned.row.request.bytes.as_slice());
            if let Some(later) = rest.first() {
                prefetch(later);
            }
        }
        self.rows.next()
    }

    /// Ready when there is a row to [`take`](Queue::take), or none will come any more: `false`.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.rows.as_slice().is_empty() {
            // What they took is free, also where the next come late.
            self.rows = Jobs::new().into_iter();
            let later = self.later.poll_recv(cx);
            self.note(later.is_pending());
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

    fn note(&mut self, waits: bool) {
        match (self.waits, waits) {
            (false, true) => self.budget.session_waits(),
            (true, false) => self.budget.session_goes_on(),
            _ => {}
        }
        self.waits = waits;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.note(false);
        self.budget.session_ends();
    }
}
