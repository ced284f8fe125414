//! The threads of a run: reader -> pacer -> workers -> writer.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use hdrhistogram::Histogram;
use recording::{Batch, Exchange, Ledger, NEW_ERRORS, Timestamp, WriterOptions};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::error::ReplayError;
use crate::lesson;
use crate::measure::{self, Measures};
use crate::options::Options;
use crate::pacer::{self, PacerReport};
use crate::priority;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::reader::{Reader, ReaderReport};
use crate::schedule::Pace;
use crate::tls;
use crate::turns::Turns;
use crate::worker::{self, Shared, WorkerReport};

/// Batches of outcomes between the workers and the writer.
const OUTCOME_BATCHES: usize = 16;
/// Of the budget, what the outcomes may be that one worker keeps until they are written.
const OUTCOMES_PART: usize = 4;
const WRITER_TICK: Duration = Duration::from_millis(250);
/// What is asked of the harness: the 99th percentile of lateness.
const LATENESS_BOUND_NS: u64 = 1_000_000;

/// Where outcomes go.
pub(crate) trait Sink {
    type Error: Error;

    fn write(&mut self, outcomes: Batch) -> Result<(), Self::Error>;

    fn tick(&mut self, now: Instant) -> Result<(), Self::Error>;
}

/// What a run was, when it is over.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) ledger: Ledger,
    pub(crate) histograms: std::collections::BTreeMap<String, String>,
    /// Requests answered with an error, and without when recorded.
    pub(crate) new_errors: u64,
    /// What a reader of the verdict must know.
    pub(crate) notes: Vec<String>,
    /// Why connections and logins failed, in the target's words.
    pub(crate) complaints: Vec<String>,
    /// Not all of the recording was replayed.
    pub(crate) cut_short: bool,
    /// The most that rows held at once.
    pub(crate) peak_bytes: usize,
}

pub(crate) fn replay<R, E, S>(
    rows: R,
    options: &Options,
    sink: &mut S,
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> Result<Report, ReplayError>
where
    R: Iterator<Item = Result<Exchange, E>> + Send,
    E: Error,
    S: Sink,
    ReplayError: From<S::Error>,
{
    let shared = Arc::new(share(options, progress, stop)?);
    let measures = Measures::new()?;
    let slip = measure::histogram()?;
    let count = options.worker_count();
    let (outcome_in, outcomes) = crossbeam_channel::bounded(OUTCOME_BATCHES);
    let mut inboxes = Vec::new();
    let (read, paced, worked, written) = thread::scope(|scope| {
        let mut workers = Vec::new();
        for index in 0..count {
            let (sender, inbox) = mpsc::unbounded_channel();
            inboxes.push(sender);
            let (shared, outcomes) = (Arc::clone(&shared), outcome_in.clone());
            let measures = measures.clone();
            let work = move || worker::run(shared, index, inbox, outcomes, measures);
            let name = format!("replay-{index}");
            workers.push(
                thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, work)?,
            );
        }
        drop(outcome_in);
        let shared = &shared;
        let paced = thread::Builder::new()
            .name("replay-pacer".to_owned())
            .spawn_scoped(scope, move || {
                hand_out(rows, shared, options, inboxes, slip)
            })?;
        let written = write(&outcomes, shared, sink);
        let paced = paced.join().map_err(|_| ReplayError::Panicked("pacer"))?;
        let (read, paced) = paced?;
        let mut worked = Vec::new();
        for worker in workers {
            let report = worker.join().map_err(|_| ReplayError::Panicked("worker"))?;
            worked.push(report?);
        }
        Ok::<_, ReplayError>((read, paced, worked, written))
    })?;
    written?;
    let mut report = summarize(&shared, options, &read, &paced, &worked);
    for (name, account) in worked.into_iter().flat_map(|part| part.accounts) {
        report.ledger.account_mut(name).absorb(account);
    }
    report.ledger.account_mut("requests").seen = read.requests;
    report.ledger.account_mut("sessions").seen = read.sessions;
    if read.statements > 0 {
        report.ledger.account_mut("statements").seen = read.statements;
    }
    Ok(report)
}

/// Reads the rows and hands each to its session at its time. Where nobody waits for time, one thread
/// does both.
fn hand_out<R, E>(
    rows: R,
    shared: &Shared,
    options: &Options,
    workers: Vec<UnboundedSender<Queue>>,
    slip: Histogram<u64>,
) -> Result<(ReaderReport, PacerReport), ReplayError>
where
    R: Iterator<Item = Result<Exchange, E>> + Send,
    E: Error,
{
    let mut reader = Reader::new(rows, shared, options.pace);
    if options.pace == Pace::Asap {
        priority::patient();
        let paced = pacer::run(shared, &mut reader, workers, slip);
        return Ok((reader.into_report(), paced));
    }
    let (batch_in, batches) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        let read = thread::Builder::new()
            .name("replay-reader".to_owned())
            .spawn_scoped(scope, move || {
                priority::patient();
                for batch in &mut reader {
                    // Who takes it is gone only after a panic, which its join tells.
                    let _ = batch_in.send(batch);
                }
                reader.into_report()
            })?;
        priority::punctual();
        let paced = pacer::run(shared, batches.into_iter(), workers, slip);
        let read = read.join().map_err(|_| ReplayError::Panicked("reader"))?;
        Ok((read, paced))
    })
}

fn share(
    options: &Options,
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> Result<Shared, ReplayError> {
    let target = &options.target;
    Ok(Shared {
        clock: Clock::start(),
        target: target.clone(),
        tls: tls::config(target)?,
        without_tls: AtomicBool::new(false),
        addresses: target.addresses()?,
        limits: options.limits,
        connect_timeout: target.connect_timeout.unwrap_or(options.connect_timeout),
        request_timeout: options.request_timeout,
        budget: Arc::new(Budget::new(options.budget, options.pace == Pace::Asap)),
        writing: writing(options),
        progress: Arc::clone(progress),
        stop: Arc::clone(stop),
        workers: options.worker_count(),
        connections: options.connections,
        handed_out_at: AtomicI64::new(i64::MAX),
        turns: Turns::default(),
        drain_timeout: options.drain_timeout,
    })
}

/// How the run is written.
pub(crate) fn writing(options: &Options) -> WriterOptions {
    let default = WriterOptions::default();
    let part = options.budget / OUTCOMES_PART / options.worker_count();
    WriterOptions {
        flush_bytes: default.flush_bytes.min(part),
        leisurely: true,
        ..default
    }
}

fn write<S: Sink>(
    outcomes: &Receiver<Batch>,
    shared: &Shared,
    sink: &mut S,
) -> Result<(), S::Error> {
    let mut result = Ok(());
    loop {
        let batch = match outcomes.recv_timeout(WRITER_TICK) {
            Ok(batch) => Some(batch),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let written = batch.as_ref().map_or(0, Batch::bytes);
        if result.is_ok() {
            result = batch
                .map_or(Ok(()), |batch| sink.write(batch))
                .and_then(|()| sink.tick(shared.clock.instant()));
        }
        if result.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        shared.budget.release(written);
    }
    result
}

fn summarize(
    shared: &Shared,
    options: &Options,
    read: &ReaderReport,
    paced: &PacerReport,
    worked: &[WorkerReport],
) -> Report {
    let mut notes = Vec::new();
    let stopped = shared.stop.load(Ordering::Relaxed);
    if stopped {
        notes.push("interrupted: not all of the recording was replayed".to_owned());
    }
    if let Some(error) = &read.failed {
        notes.push(format!(
            "cut short: the recording could not be read further: {error}"
        ));
    }
    let mut histograms = std::collections::BTreeMap::new();
    let mut parts = worked.iter().map(|report| &report.measures);
    if let Some(first) = parts.next() {
        let mut sum = first.clone();
        parts.for_each(|part| sum.merge(part));
        let p99 = sum.lateness.value_at_quantile(0.99);
        if options.pace != Pace::Asap && p99 > LATENESS_BOUND_NS {
            notes.push(format!(
                "harness saturated: 1 request in 100 was sent {:.1} ms late or later",
                p99 as f64 / 1e6
            ));
        }
        histograms = sum.encode();
    }
    if !paced.slip.is_empty() {
        histograms.insert("slip".to_owned(), measure::encode(&paced.slip));
        let worst = paced.slip.max();
        if shared.budget.waits() > 0 && worst > 100 * LATENESS_BOUND_NS {
            notes.push(format!(
                "schedule slipped by up to {:.1} s: {} MiB of rows waited for the target",
                worst as f64 / 1e9,
                shared.budget.peak() >> 20
            ));
        }
    }
    if shared.budget.grown() > 0 {
        notes.push(format!(
            "sessions waited for others whose rows were not read yet: {} MiB of rows were held, {} more than are meant to be",
            shared.budget.peak() >> 20,
            shared.budget.grown() >> 20
        ));
    }
    for (index, report) in worked.iter().enumerate() {
        if report.busy_windows > 0 {
            notes.push(format!(
                "harness saturated: thread {} of {} had no time to spare in {} of {} s",
                index + 1,
                worked.len(),
                report.busy_windows,
                report.windows
            ));
        }
    }
    let mut counts = std::collections::BTreeMap::new();
    for (&name, count) in worked.iter().flat_map(|report| &report.counts) {
        *counts.entry(name).or_insert(0) += count;
    }
    let learnt = &options.target.login.learnt;
    counts.insert(lesson::FORGOTTEN, learnt.forgotten());
    counts.insert(lesson::AMBIGUOUS, learnt.ambiguous());
    let new_errors = worked.iter().map(|report| report.new_errors).sum();
    counts.insert(NEW_ERRORS, new_errors);
    counts.retain(|_, count| *count > 0);
    notes.extend(
        counts
            .into_iter()
            .map(|(name, count)| format!("{name}: {count}")),
    );
    if options.target.is_unverified() {
        notes.push("TLS with whoever answered: certificates were not verified".to_owned());
    }
    let mut complaints = std::collections::BTreeMap::new();
    for report in worked {
        for (complaint, count) in &report.complaints {
            *complaints.entry(complaint).or_insert(0) += count;
        }
    }
    let complaints = complaints
        .into_iter()
        .map(|(complaint, count)| match count {
            1 => complaint.clone(),
            count => format!("{complaint} ({count} times)"),
        });
    Report {
        started_at: paced.started_at,
        finished_at: shared.clock.now(),
        ledger: Ledger::default(),
        histograms,
        new_errors,
        notes,
        complaints: complaints.collect(),
        cut_short: stopped || read.failed.is_some(),
        peak_bytes: shared.budget.peak(),
    }
}
