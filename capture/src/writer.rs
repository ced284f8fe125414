//! The thread that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use recording::{Exchange, Kind, Ledger, Notes, StoreError};

use crate::clock;
use crate::pipeline::{CaptureError, Control, Message, Progress, Sink, TICK};

/// Reasons in the account of requests.
const NOT_WRITTEN: &str = "not written";
const OVER_LIMIT: &str = "over --max-disk";
const TOO_LARGE: &str = "row too large";

/// What rows on their way to the writer will be in the account of requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    kept: u64,
    /// Requests that are recorded without their answer, and answers without their request, by reason.
    lost: BTreeMap<Arc<str>, u64>,
    too_large: u64,
    /// Requests that are recorded without their end.
    cut: u64,
    protocols: BTreeSet<Arc<str>>,
}

impl Tally {
    pub fn is_empty(&self) -> bool {
        *self == Tally::default()
    }

    /// `taken`: the row is among those to be written.
    pub fn count(&mut self, row: &Exchange, taken: bool) {
        if let Some(info) = &row.info
            && !self.protocols.contains(&info.protocol)
        {
            self.protocols.insert(Arc::clone(&info.protocol));
        }
        if taken && row.kind == Kind::Request && row.notes.contains(Notes::REQUEST_CUT) {
            self.cut += 1;
        }
        match (row.kind, row.lost()) {
            (Kind::Open | Kind::Close | Kind::Prepare, _) => {}
            _ if !taken => self.too_large += 1,
            (_, Some(reason)) => *self.lost.entry(Arc::clone(reason)).or_default() += 1,
            (_, None) => self.kept += 1,
        }
    }
}

/// The writer's own state.
#[derive(Default)]
struct Written {
    parts: Vec<Progress>,
    rows: u64,
    over_limit: u64,
    cut: u64,
    protocols: BTreeSet<Arc<str>>,
    /// Of requests: what became of them.
    ledger: Ledger,
}

impl Written {
    fn enter(&mut self, tally: Tally, lost: Option<&str>) {
        self.protocols.extend(tally.protocols);
        let requests = self.ledger.account_mut("requests");
        requests.lose(TOO_LARGE, tally.too_large);
        match lost {
            None => {
                self.cut += tally.cut;
                requests.kept += tally.kept;
                for (reason, count) in tally.lost {
                    requests.lose(&reason, count);
                }
            }
            Some(reason) => {
                let lost: u64 = tally.lost.values().sum();
                requests.lose(reason, tally.kept + lost);
            }
        }
    }

    fn progress(&self) -> Progress {
        let mut sum = Progress {
            ledger: self.ledger.clone(),
            rows: self.rows,
            over_limit: self.over_limit,
            cut: self.cut,
            protocols: self.protocols.clone(),
            ..Progress::default()
        };
        for part in &self.parts {
            sum.ledger.absorb(part.ledger.clone());
            sum.flows += part.flows;
            sum.held += part.held;
            sum.at = sum.at.max(part.at);
            sum.servers.extend(&part.servers);
            sum.warnings.extend(part.warnings.iter().cloned());
        }
        sum
    }
}

/// A panic of the sink or the observer ends the capture as an error does: the readers stop, and no
/// thread waits for room in `messages`, which are gone by then.
pub fn write(
    messages: Receiver<Message>,
    sink: &mut dyn Sink,
    observer: &(dyn Fn(&Progress) + Sync),
    control: &Control<'_>,
) -> (Progress, Result<(), CaptureError>) {
    let write = AssertUnwindSafe(|| write_all(messages, sink, observer, control));
    catch_unwind(write).unwrap_or_else(|_| {
        control.halt.store(true, Ordering::Relaxed);
        (Progress::default(), Err(CaptureError::WriterPanicked))
    })
}

fn write_all(
    messages: Receiver<Message>,
    sink: &mut dyn Sink,
    observer: &(dyn Fn(&Progress) + Sync),
    control: &Control<'_>,
) -> (Progress, Result<(), CaptureError>) {
    let mut written = Written::default();
    let mut outcome = Ok(());
    let mut ticked = clock::instant();
    loop {
        match messages.recv_timeout(TICK) {
            Ok(Message::Rows(rows, tally)) => {
                let count = rows.rows() as u64;
                let lost = match &outcome {
                    Err(_) => Some(NOT_WRITTEN),
                    // What is recorded has no holes.
                    Ok(()) if written.over_limit > 0 => Some(OVER_LIMIT),
                    Ok(()) => match sink.write(*rows) {
                        Ok(()) => None,
                        Err(StoreError::OverLimit { .. }) => Some(OVER_LIMIT),
                        Err(error) => {
                            control.halt.store(true, Ordering::Relaxed);
                            outcome = Err(error.into());
                            Some(NOT_WRITTEN)
                        }
                    },
                };
                match lost {
                    None => written.rows += count,
                    Some(OVER_LIMIT) => written.over_limit += count,
                    Some(_) => {}
                }
                written.enter(tally, lost);
            }
            Ok(Message::Part(number, part)) => {
                let parts = &mut written.parts;
                parts.resize_with(parts.len().max(number + 1), Progress::default);
                if let Some(place) = parts.get_mut(number) {
                    *place = *part;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if clock::elapsed(ticked) >= TICK {
            ticked = clock::instant();
            let mut progress = written.progress();
            progress.ledger.balance(Ledger::UNDER_WAY);
            if outcome.is_ok()
                && let Err(error) = sink.tick(ticked, &progress)
            {
                control.halt.store(true, Ordering::Relaxed);
                outcome = Err(error.into());
            }
            observer(&progress);
        }
    }
    (written.progress(), outcome)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_over_the_cap_are_counted_and_kept() {
        let mut row = Exchange::new(Kind::Request, Default::default());
        let mut tally = Tally::default();
        tally.count(&row, true);
        row.notes.add(Notes::REQUEST_CUT);
        tally.count(&row, true);
        let mut written = Written::default();
        written.enter(tally, None);
        let progress = written.progress();
        assert_eq!(progress.cut, 1);
        assert_eq!(progress.ledger.account("requests").unwrap().kept, 2);
    }
}
