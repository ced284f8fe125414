//! Reads the recording, a lead ahead of the sessions.

use std::error::Error;
use std::sync::atomic::Ordering;

use ahash::HashMap;
use crossbeam_channel::Sender;
use protocol::Mender;
use recording::{Exchange, Kind, Timestamp};

use crate::priority;
use crate::schedule::{Pace, Planned, Schedule};
use crate::worker::{Job, Jobs, Shared};

/// Rows that are handed over at once, of all sessions.
const BATCH_ROWS: usize = 256;
/// Rows of one session. They share memory that is free only when the last of them is sent.
const JOBS_ROWS: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct ReaderReport {
    pub(crate) requests: u64,
    pub(crate) sessions: u64,
    pub(crate) statements: u64,
    pub(crate) failed: Option<String>,
}

pub(crate) fn run<E: Error>(
    rows: impl Iterator<Item = Result<Exchange, E>>,
    shared: &Shared,
    pace: Pace,
    batches: Sender<Vec<Jobs>>,
) -> ReaderReport {
    priority::patient();
    let mut report = ReaderReport::default();
    let mut schedule = Schedule::new(pace);
    let mut mender = Mender::default();
    let mut next = Next::new(batches);
    for row in rows {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let mut row = match row {
            Ok(row) => row,
            Err(error) => {
                report.failed = Some(error.to_string());
                break;
            }
        };
        mender.mend(&mut row);
        match row.kind {
            Kind::Request | Kind::Cancel => report.requests += 1,
            Kind::Open => report.sessions += 1,
            Kind::Prepare => report.statements += 1,
            Kind::Close => {}
        }
        let response = row.response.as_ref();
        let kept = response.map_or(0, |response| response.body.len());
        let cost = size_of::<Job>() + row.request.bytes.len() + kept;
        if shared.budget.full() {
            next.hand_over();
            shared.budget.wait(&shared.stop);
        }
        shared.budget.read(cost);
        next.add(schedule.plan(&shared.target, row), cost);
    }
    next.hand_over();
    report
}

/// The rows to be handed over next.
struct Next {
    batches: Sender<Vec<Jobs>>,
    jobs: Vec<Jobs>,
    rows: usize,
    /// Where in `jobs` a queue's rows are, where more of it may come to them.
    places: HashMap<u64, usize>,
    /// Rows that a queue is likely to have.
    likely: usize,
}

impl Next {
    fn new(batches: Sender<Vec<Jobs>>) -> Next {
        Next {
            batches,
            jobs: Vec::new(),
            rows: 0,
            places: HashMap::default(),
            likely: 1,
        }
    }

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
        if self.rows >= BATCH_ROWS {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if let Some(likely) = self.rows.checked_div(self.jobs.len()) {
            self.likely = likely.clamp(1, JOBS_ROWS);
        }
        // Who takes them is gone only after a panic, which its join tells.
        let _ = self.batches.send(std::mem::take(&mut self.jobs));
        self.places.clear();
        self.rows = 0;
    }
}
