//! Hands each row to its session at its time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ahash::HashMap;
use hdrhistogram::Histogram;
use recording::{Kind, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use crate::queue::{Feed, Queue};
use crate::schedule::Due;
use crate::worker::{Jobs, Shared};

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
    batches: impl Iterator<Item = Vec<Jobs>>,
    workers: Vec<UnboundedSender<Queue>>,
    slip: Histogram<u64>,
) -> PacerReport {
    let clock = shared.clock;
    let mut report = PacerReport {
        slip,
        started_at: clock.now(),
    };
    // With the recorded time of the first row.
    let mut feeds: HashMap<u64, (Feed, Timestamp)> = HashMap::default();
    let mut next_worker = 0;
    let mut begun = false;
    for batch in batches {
        let mut at = clock.now();
        for mut jobs in batch {
            let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else {
                continue;
            };
            if !begun {
                begun = true;
                shared.progress.begin(first.row.started_at);
                report.started_at = match first.plan.due {
                    Due::Asap { .. } => at,
                    Due::At(_) => at + LEAD,
                };
            }
            let intended_at = match first.plan.due {
                Due::Asap { .. } => at,
                Due::At(offset) => {
                    let intended_at = report.started_at + offset;
                    while at < intended_at && !shared.stop.load(Ordering::Relaxed) {
                        clock.sleep_until(intended_at.min(at + NAP));
                        at = clock.now();
                    }
                    report.slip.saturating_record(at.since(intended_at));
                    intended_at
                }
            };
            shared.progress.reached(last.row.started_at);
            let session = first.plan.queue;
            let ends = last.row.kind == Kind::Close;
            let (first_at, last_at) = (first.row.started_at, last.row.started_at);
            let takes_turns = matches!(first.plan.due, Due::Asap { .. });
            for job in &mut jobs {
                job.intended_at = intended_at;
            }
            let (feed, opened_at) = feeds.entry(session).or_insert_with(|| {
                if takes_turns {
                    shared.turns.comes(session);
                }
                let (feed, queue) = Queue::new(&shared.budget);
                if let Some(worker) = workers.get(next_worker % workers.len().max(1)) {
                    // A worker that is gone had a panic, which its join tells.
                    let _ = worker.send(queue);
                }
                next_worker += 1;
                (feed, first_at)
            });
            feed.send(jobs);
            if ends {
                let recorded = Duration::from_nanos(last_at.since(*opened_at));
                shared.turns.is_to_end(session, recorded);
                feeds.remove(&session);
            }
        }
    }
    shared.handed_out_at.store(clock.now().0, Ordering::Relaxed);
    report
}
