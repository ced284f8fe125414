//! A session's rows, on their way from the pacer to the worker that serves it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use recording::Exchange;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::budget::Budget;
use crate::prefetch::prefetch;
use crate::worker::{Flight, Job, Jobs};

/// The worker's end. A row is large: it stays where it is until it is done.
#[derive(Debug)]
pub(crate) struct Queue {
    /// In their order, those under way before those that wait.
    rows: VecDeque<Job>,
    /// Behind them.
    others: VecDeque<Job>,
    under_way: usize,
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
            rows: VecDeque::new(),
            others: VecDeque::new(),
            under_way: 0,
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

    /// The next row, where it is there.
    pub(crate) fn peek(&self) -> Option<&Job> {
        self.rows.get(self.under_way).or(self.others.front())
    }

    /// The next row leaves the queue.
    pub(crate) fn take(&mut self) -> Option<Job> {
        self.come_forward();
        self.rows.remove(self.under_way)
    }

    /// The next row is under way from now on.
    pub(crate) fn start(&mut self) -> Option<&mut Job> {
        self.come_forward();
        // They were read so long ago that they have left the cache.
        if let Some(next) = self.rows.get(self.under_way + 1) {
            prefetch(next.row.request.bytes.as_slice());
        }
        if let Some(later) = self.rows.get(self.under_way + 2) {
            prefetch(later);
        }
        let started = self.rows.get_mut(self.under_way)?;
        self.under_way += 1;
        Some(started)
    }

    /// The next row is among the first ones.
    fn come_forward(&mut self) {
        if self.rows.is_empty() {
            mem::swap(&mut self.rows, &mut self.others);
        } else if self.rows.len() == self.under_way {
            self.rows.extend(self.others.pop_front());
        }
    }

    /// How many are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    /// The rows of those under way, in their order.
    pub(crate) fn rows_under_way(&self) -> impl Iterator<Item = &Exchange> {
        let under_way = self.rows.range(..self.under_way);
        under_way.map(|job| &job.row)
    }

    /// Those under way but for the oldest of so many.
    pub(crate) fn under_way_after(&mut self, oldest: usize) -> impl Iterator<Item = &mut Job> {
        self.rows
            .range_mut(oldest.min(self.under_way)..self.under_way)
    }

    pub(crate) fn oldest(&mut self) -> Option<&mut Job> {
        match self.under_way {
            0 => None,
            _ => self.rows.front_mut(),
        }
    }

    pub(crate) fn newest(&self) -> Option<&Job> {
        self.rows.get(self.under_way.checked_sub(1)?)
    }

    /// The oldest of those under way is done.
    pub(crate) fn end_oldest(&mut self) {
        if let Some(others) = self.under_way.checked_sub(1) {
            self.under_way = others;
            // Dropped in its place.
            self.rows.drain(..1);
        }
    }

    /// The newest of those under way leaves the queue.
    pub(crate) fn take_newest(&mut self) -> Option<Job> {
        self.under_way = self.under_way.checked_sub(1)?;
        self.rows.remove(self.under_way)
    }

    /// Those under way are to be started again.
    pub(crate) fn put_back(&mut self) {
        for job in self.rows.range_mut(..self.under_way) {
            job.flight = Flight::default();
        }
        self.under_way = 0;
    }

    /// Ready when there is a row to [`take`](Queue::take), or none will come any more: `false`.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.peek().is_none() {
            // What they took is free, also where the next come late.
            self.others = VecDeque::new();
            if self.rows.is_empty() {
                self.rows = VecDeque::new();
            }
            let later = self.later.poll_recv(cx);
            self.wait.set(later.is_pending());
            match ready!(later) {
                Some(jobs) => self.others = jobs.into(),
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

    use proptest::prelude::*;
    use recording::{Kind, Timestamp};

    use super::*;
    use crate::schedule::{Due, Plan};

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

    fn job(seq: u32) -> Job {
        let mut row = Exchange::new(Kind::Request, Timestamp(0));
        row.seq = seq;
        Job {
            row,
            plan: Plan {
                due: Due::Asap { after: 0 },
                queue: 0,
                unsendable: None,
                needs: Vec::new(),
                lesson: None,
            },
            intended_at: Timestamp(0),
            cost: 0,
            flight: Flight::default(),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Feed(u32),
        Take,
        Start,
        EndOldest,
        TakeNewest,
        PutBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u32).prop_map(Step::Feed),
            Just(Step::Take),
            Just(Step::Start),
            Just(Step::Start),
            Just(Step::EndOldest),
            Just(Step::TakeNewest),
            Just(Step::PutBack),
        ]
    }

    proptest! {
        #[test]
        fn rows_stay_in_order_whatever_is_under_way(steps in prop::collection::vec(step(), 0..60)) {
            let (feed, mut queue) = Queue::new(&Arc::new(Budget::new(1 << 20, false)));
            let mut cx = Context::from_waker(Waker::noop());
            let seq = |job: Option<&Job>| job.map(|job| job.row.seq);
            let (mut waiting, mut under_way) = (VecDeque::new(), VecDeque::new());
            let mut fed = 0;
            for step in steps {
                match step {
                    Step::Feed(count) => {
                        feed.send((fed..fed + count).map(job).collect());
                        waiting.extend(fed..fed + count);
                        fed += count;
                    }
                    Step::Take => {
                        let taken = queue.poll_ready(&mut cx).is_ready().then(|| queue.take()).flatten();
                        prop_assert_eq!(seq(taken.as_ref()), waiting.pop_front());
                    }
                    Step::Start => {
                        let ready = queue.poll_ready(&mut cx).is_ready();
                        let started = ready.then(|| queue.start()).flatten();
                        prop_assert_eq!(started.map(|job| job.row.seq), waiting.front().copied());
                        under_way.extend(waiting.pop_front());
                    }
                    Step::EndOldest => {
                        queue.end_oldest();
                        under_way.pop_front();
                    }
                    Step::TakeNewest => {
                        let taken = queue.take_newest();
                        prop_assert_eq!(seq(taken.as_ref()), under_way.pop_back());
                    }
                    Step::PutBack => {
                        queue.put_back();
                        under_way.into_iter().rev().for_each(|seq| waiting.push_front(seq));
                        under_way = VecDeque::new();
                    }
                }
                let ready = queue.poll_ready(&mut cx).is_ready();
                prop_assert_eq!(ready, !waiting.is_empty());
                prop_assert_eq!(seq(queue.peek()), waiting.front().copied());
                prop_assert_eq!(seq(queue.oldest().as_deref()), under_way.front().copied());
                prop_assert_eq!(seq(queue.newest()), under_way.back().copied());
                let seqs: Vec<u32> = queue.under_way_after(0).map(|job| job.row.seq).collect();
                prop_assert_eq!(seqs, Vec::from(under_way.clone()));
                let seqs: Vec<u32> = queue.rows_under_way().map(|row| row.seq).collect();
                prop_assert_eq!(seqs, Vec::from(under_way.clone()));
                prop_assert_eq!(queue.under_way(), under_way.len());
            }
        }
    }
}
