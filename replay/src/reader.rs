//! Reads the recording, a lead ahead of the sessions.

use std::error::Error;
use std::sync::atomic::Ordering;

use ahash::HashMap;
use protocol::Mender;
use recording::{Exchange, Kind, Timestamp};

use crate::schedule::{Pace, Planned, Schedule};
use crate::worker::{Job, Jobs, Shared};

/// Rows that are handed over at once, of all sessions.
const BATCH_ROWS: usize = 256;
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

    /// `None` at the end, after an error, and when the run is to stop.
    fn read(&mut self) -> Option<Exchange> {
        if self.shared.stop.load(Ordering::Relaxed) || self.report.failed.is_some() {
            return None;
        }
        let mut row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => {
                self.report.failed = Some(error.to_string());
                return None;
            }
        };
        self.mender.mend(&mut row);
        match row.kind {
            Kind::Request | Kind::Cancel => self.report.requests += 1,
            Kind::Open => self.report.sessions += 1,
            Kind::Prepare => self.report.statements += 1,
            Kind::Close => {}
        }
        Some(row)
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
        while let Some(row) = self.read() {
            let response = row.response.as_ref();
            let kept = response.map_or(0, |response| response.body.len());
            let cost = size_of::<Job>() + row.request.bytes.len() + kept;
            budget.read(cost);
            self.next
                .add(self.schedule.plan(&self.shared.target, row), cost);
            if self.next.rows >= BATCH_ROWS || budget.full() {
                break;
            }
        }
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
    fn add(&mut self, planned: Planned, cost: usize) {
        let (queue, alone) = (planned.queue, planned.offset.is_some());
        let last = planned.row.kind == Kind::Close;
        let job = Job {
            planned,
            intended_at: Timestamp::default(),
            cost,
        };
        let place = self.places.get(&queue).copied();
        match place.and_then(|place| self.jobs.get_mut(place)) {
            Some(jobs) => {
                jobs.push(job);
                if last || jobs.len() >= JOBS_ROWS {
                    self.places.remove(&queue);
                }
            }
            None => {
                let mut jobs = Vec::with_capacity(if alone { 1 } else { self.likely });
                jobs.push(job);
                if !alone && !last {
                    self.places.insert(queue, self.jobs.len());
                }
                self.jobs.push(jobs);
            }
        }
        self.rows += 1;
    }

    fn take(&mut self) -> Vec<Jobs> {
        let average = self.rows.checked_div(self.jobs.len());
        self.likely = average.unwrap_or_default().min(JOBS_ROWS);
        self.places.clear();
        self.rows = 0;
        std::mem::take(&mut self.jobs)
    }
}
