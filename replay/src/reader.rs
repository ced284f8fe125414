//! Reads the recording, a lead ahead of the sessions.

use std::error::Error;
use std::mem::take;
use std::sync::atomic::Ordering;

use ahash::HashMap;
use protocol::Mender;
use recording::{Exchange, Kind, Timestamp};

use crate::schedule::{Due, Pace, Plan, Schedule};
use crate::worker::{Flight, Job, Jobs, Shared};

/// Rows that are handed over at once, of all sessions.
const BATCH_ROWS: usize = 1_024;
/// Rows and bytes that the budget, which all threads share, is told of at once.
const TOLD_ROWS: usize = 16;
const TOLD_BYTES: usize = 8 << 10;
/// What a session has beside its rows while it waits to begin: its task, and the way on which they come.
const SESSION_BYTES: usize = 6 << 10;
/// Rows of one session. They share memory that is free only when the last of them is sent.
const JOBS_ROWS: usize = 32;

/// Gives the rows as they are to be handed over. Waits while sessions have enough to do.
pub(crate) struct Reader<'a, R> {
    rows: R,
    shared: &'a Shared,
    schedule: Schedule,
    mender: Mender,
    next: Next,
    report: ReaderReport,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ReaderReport {
    pub(crate) requests: u64,
    pub(crate) sessions: u64,
    pub(crate) statements: u64,
    pub(crate) failed: Option<String>,
}

impl<'a, R, E> Reader<'a, R>
where
    R: Iterator<Item = Result<Exchange, E>>,
    E: Error,
{
    pub(crate) fn new(rows: R, shared: &'a Shared, pace: Pace) -> Reader<'a, R> {
        Reader {
            rows,
            shared,
            schedule: Schedule::new(pace),
            mender: Mender::default(),
            next: Next::default(),
            report: ReaderReport::default(),
        }
    }

    pub(crate) fn into_report(self) -> ReaderReport {
        self.report
    }

    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Request | Kind::Cancel => self.report.requests += 1,
            Kind::Open => self.report.sessions += 1,
            Kind::Prepare => self.report.statements += 1,
            Kind::Close => {}
        }
    }
}

impl<R, E> Iterator for Reader<'_, R>
where
    R: Iterator<Item = Result<Exchange, E>>,
    E: Error,
{
    type Item = Vec<Jobs>;

    fn next(&mut self) -> Option<Vec<Jobs>> {
        let budget = &self.shared.budget;
        if budget.full() {
            budget.wait(&self.shared.stop);
        }
        let (mut untold_rows, mut untold_bytes) = (0, 0);
        while !self.shared.stop.load(Ordering::Relaxed) && self.report.failed.is_none() {
            // It is large: moved only once, to its place.
            let mut next = self.rows.next();
            let row = match &mut next {
                Some(Ok(row)) => row,
                Some(Err(error)) => {
                    self.report.failed = Some(error.to_string());
                    break;
                }
                None => break,
            };
            self.mender.mend(row);
            self.count(row.kind);
            let plan = self.schedule.plan(&self.shared.target, row);
            let response = row.response.as_ref();
            let kept = response.map_or(0, |response| response.body.len());
            let mut cost = size_of::<Job>() + row.request.bytes.len() + kept;
            if row.kind == Kind::Open {
                cost += SESSION_BYTES;
            }
            if let Some(Ok(row)) = next {
                self.next.add(row, plan, cost);
            }
            untold_rows += 1;
            untold_bytes += cost;
            if untold_rows >= TOLD_ROWS || untold_bytes >= TOLD_BYTES {
                budget.read(take(&mut untold_rows), take(&mut untold_bytes));
                if self.next.rows >= BATCH_ROWS || budget.full() {
                    break;
                }
            }
        }
        budget.read(untold_rows, untold_bytes);
        (self.next.rows > 0).then(|| self.next.take())
    }
}

/// The rows to be handed over next.
#[derive(Default)]
struct Next {
    jobs: Vec<Jobs>,
    rows: usize,
    /// Where in `jobs` a queue's rows are, where more of it may come to them.
    places: HashMap<u64, usize>,
    /// Rows that a queue is likely to have.
    likely: usize,
}

impl Next {
    /// Rows that have no time of their own are handed over with others of their queue.
    #[inline]
    fn add(&mut self, row: Exchange, plan: Plan, cost: usize) {
        let (queue, alone) = (plan.queue, matches!(plan.due, Due::At(_)));
        let last = row.kind == Kind::Close;
        let new = self.jobs.len();
        let jobs = match self.places.get(&queue) {
            Some(place) => &mut self.jobs[*place],
            None => {
                let room = if alone { 1 } else { self.likely };
                self.jobs.push_mut(Vec::with_capacity(room))
            }
        };
        if last || jobs.len() + 1 >= JOBS_ROWS {
            self.places.remove(&queue);
        } else if jobs.is_empty() && !alone {
            self.places.insert(queue, new);
        }
        // Straight to its place, for it is large.
        jobs.push(Job {
            row,
            plan,
            intended_at: Timestamp::default(),
            cost,
            flight: Flight::default(),
        });
        self.rows += 1;
    }

    fn take(&mut self) -> Vec<Jobs> {
        let average = self.rows.checked_div(self.jobs.len());
        let likely = average.unwrap_or_default().next_power_of_two();
        self.likely = likely.min(JOBS_ROWS);
        self.places.clear();
        self.rows = 0;
        take(&mut self.jobs)
    }
}
