//! Hands each row to its session at its time.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Receiver;
use hdrhistogram::Histogram;
use recording::{Kind, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use crate::priority;
use crate::queue::Queue;
use crate::worker::{Job, Jobs, Shared};

/// Between the first row's being read and its time, so that the reader has a lead.
const LEAD: Duration = Duration::from_millis(50);
/// The longest that a stop is not noticed.
const NAP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct PacerReport {
    /// From a row's intended time to when it was handed over, in ns.
    pub(crate) slip: Histogram<u64>,
    pub(crate) started_at: Timestamp,
}

pub(crate) fn run(
    shared: &Shared,
    batches: &Receiver<Jobs>,
    workers: Vec<UnboundedSender<Queue>>,
    drain: Duration,
    slip: Histogram<u64>,
) -> PacerReport {
    priority::punctual();
    let clock = shared.clock;
    let mut report = PacerReport {
        slip,
        started_at: clock.now(),
    };
    let mut queues: HashMap<u64, UnboundedSender<Box<Job>>> = HashMap::new();
    let mut next_worker = 0;
    let mut begun = false;
    for batch in batches {
        if !begun && let Some(first) = batch.first() {
            begun = true;
            shared.progress.begin(first.planned.row.started_at);
            report.started_at = clock.now() + LEAD;
        }
        let mut at = clock.now();
        for mut job in batch {
            match job.planned.offset {
                None => job.intended_at = at,
                Some(offset) => {
                    job.intended_at = report.started_at + offset;
                    while at < job.intended_at && !shared.stop.load(Ordering::Relaxed) {
                        clock.sleep_until(job.intended_at.min(at + NAP));
                        at = clock.now();
                    }
                    report.slip.saturating_record(at.since(job.intended_at));
                }
            }
            let row = &job.planned.row;
            shared.progress.reached(row.started_at);
            let (session, last) = (job.planned.queue, row.kind == Kind::Close);
            let queue = queues.entry(session).or_insert_with(|| {
                let (sender, queue) = Queue::new(&shared.budget);
                if let Some(worker) = workers.get(next_worker % workers.len().max(1)) {
                    // A worker that is gone had a panic, which its join tells.
                    let _ = worker.send(queue);
                }
                next_worker += 1;
                sender
            });
            let _ = queue.send(job);
            if last {
                queues.remove(&session);
            }
        }
    }
    let drained_at = clock.now() + drain;
    shared.drained_at.store(drained_at.0, Ordering::Relaxed);
    report
}
