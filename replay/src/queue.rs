//! A session's rows, on their way from the pacer to the worker that serves it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::budget::Budget;
use crate::worker::Job;

/// It counts as a session under way, in the reader's eyes, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Queue {
    rows: UnboundedReceiver<Box<Job>>,
    budget: Arc<Budget>,
    waits: bool,
}

impl Queue {
    pub(crate) fn new(budget: &Arc<Budget>) -> (UnboundedSender<Box<Job>>, Queue) {
        let (sender, rows) = unbounded_channel();
        budget.session_begins();
        let queue = Queue {
            rows,
            budget: Arc::clone(budget),
            waits: false,
        };
        (sender, queue)
    }

    /// `None` when no more rows come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Box<Job>>> {
        let next = self.rows.poll_recv(cx);
        self.note(next.is_pending());
        next
    }

    pub(crate) async fn next(&mut self) -> Option<Box<Job>> {
        poll_fn(|cx| self.poll_next(cx)).await
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
