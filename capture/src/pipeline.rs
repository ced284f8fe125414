//! The threads of a capture, and the channels between them.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use recording::{
    Batch, ContentKind, Ledger, Manifest, StoreError, Timestamp, Writer, WriterOptions,
};

use crate::budget::Budget;
use crate::clock;
use crate::options::{Options, Source};
use crate::privileges::PrivilegeError;
use crate::probe::{ProbeError, Probing};
use crate::source::{FileError, Live, LiveError, PacketFile};
use crate::splitter::{Lane, Segments, Splitter};
use crate::worker::Worker;
use crate::writer::Tally;
use crate::{reader, writer};

/// Messages that may wait for the writer: a worker's rows may be as many as a flush takes.
pub(crate) const MESSAGES: usize = 2;
/// Emptied batches that wait for a reader.
const RETURNED: usize = 4;
/// Batches of segments that are read ahead of a worker from a file, which can wait: they are still in a
/// processor's own cache when they are worked on. A live source fills what memory there is for them.
const READ_AHEAD: usize = 4;
/// How often threads tell their accounts, workers hand over their rows, and the sink is ticked.
pub(crate) const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Nothing more was kept after it.
    #[error("failed to write the recording: {0}")]
    Write(#[from] StoreError),
    #[error("nothing to capture: no {0} given")]
    Nothing(&'static str),
    #[error("a thread of the capture panicked")]
    Panicked,
    /// Nothing more was kept after it.
    #[error("the thread that writes the recording panicked")]
    WriterPanicked,
}

/// Takes the rows.
pub trait Sink: Send {
    fn write(&mut self, rows: Batch) -> Result<(), StoreError>;

    /// Comes several times a second.
    fn tick(&mut self, now: Instant, progress: &Progress) -> Result<(), StoreError>;
}

impl Sink for Writer {
    fn write(&mut self, rows: Batch) -> Result<(), StoreError> {
        Writer::write(self, rows)
    }

    fn tick(&mut self, now: Instant, progress: &Progress) -> Result<(), StoreError> {
        describe(self.manifest_mut(), progress);
        Writer::tick(self, now)
    }
}

fn describe(manifest: &mut Manifest, progress: &Progress) {
    // Before anything is known they are those that may be spoken.
    if progress.rows > 0 {
        manifest.protocols = progress.protocols.iter().map(|it| it.to_string()).collect();
    }
    manifest.ledger = progress.ledger.clone();
    manifest.ledger_at = (progress.at != Timestamp::default()).then_some(progress.at);
    manifest.servers = progress.servers.iter().copied().collect();
}

/// How far a capture is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// While threads are at work, some of each account is "under way".
    pub ledger: Ledger,
    pub rows: u64,
    /// Rows that were counted and not recorded, since the recording has reached its limit.
    pub over_limit: u64,
    /// Requests that are recorded without their end, since they are over the cap of one.
    pub cut: u64,
    /// Connections that are open.
    pub flows: u64,
    /// Bytes that wait in reassembly and decoders.
    pub held: u64,
    /// Time of the last packet.
    pub at: Timestamp,
    /// Spoken in the sessions that are recorded.
    pub protocols: BTreeSet<Arc<str>>,
    /// Endpoints captured from.
    pub servers: BTreeSet<SocketAddr>,
    /// At the end: full segments that are still to be sealed, where there are several.
    pub unsealed: usize,
    /// What a person should be told, with the remedy, beside the ledger's losses.
    pub warnings: Vec<String>,
}

/// What threads send to the writer.
pub(crate) enum Message {
    Rows(Box<Batch>, Tally),
    /// The state of a thread since the beginning, which replaces the one before.
    Part(usize, Box<Progress>),
}

/// What all threads need.
pub(crate) struct Control<'a> {
    stop: &'a AtomicBool,
    /// The writer failed.
    pub(crate) halt: AtomicBool,
    started: Instant,
    duration: Option<Duration>,
}

impl Control<'_> {
    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.halt.load(Ordering::Relaxed)
            || self
                .duration
                .is_some_and(|it| clock::elapsed(self.started) >= it)
    }
}

/// Tells a thread's accounts now and then.
pub(crate) struct Reporter {
    part: usize,
    pub(crate) writer: Sender<Message>,
    told: Instant,
}

impl Reporter {
    pub(crate) fn due(&mut self) -> bool {
        let due = clock::elapsed(self.told) >= TICK;
        if due {
            self.told = clock::instant();
        }
        due
    }

    pub(crate) fn tell(&self, progress: Progress) {
        // It fails only where the writer panicked, which is told at the end.
        let _ = self
            .writer
            .send(Message::Part(self.part, Box::new(progress)));
    }
}

/// What a capture came to.
#[derive(Debug)]
pub struct Summary {
    pub manifest: Manifest,
    pub progress: Progress,
    /// A source failed, or a file is damaged. The recording has all that could be read.
    pub interrupted: Option<CaptureError>,
}

/// Captures into a new recording at `dir`, until the sources end or `stop` is set.
pub fn run(
    options: &Options,
    dir: &Path,
    stop: &AtomicBool,
    observer: &(dyn Fn(&Progress) + Sync),
) -> Result<Summary, CaptureError> {
    let inputs = open(options)?;
    // Whoever connects from now on is seen.
    let probe = options.probe.clone().map(Probing::start).transpose()?;
    if let Some(user) = &options.user {
        user.make_directory(dir)?;
        user.become_it()?;
    }
    let mut manifest = Manifest::new(ContentKind::Recording, clock::wall());
    manifest.source = options.source();
    manifest.protocols = options.protocols();
    let live = inputs.iter().any(Input::is_live);
    let writer_options = WriterOptions {
        leisurely: live,
        beside_server: live,
        ..options.writer
    };
    let mut writer = Writer::create(dir, manifest, writer_options)?;
    let (progress, outcome) = run_threads(options, inputs, probe, &mut writer, stop, observer);
    let interrupted = match outcome {
        Err(error @ (CaptureError::Write(_) | CaptureError::WriterPanicked)) => return Err(error),
        outcome => outcome.err(),
    };
    describe(writer.manifest_mut(), &progress);
    while writer.unsealed() > 1 {
        observer(&Progress {
            unsealed: writer.unsealed(),
            ..progress.clone()
        });
        writer.seal_oldest()?;
    }
    let manifest = match interrupted {
        None => writer.finish(),
        Some(_) => writer.finish_incomplete(),
    };
    Ok(Summary {
        manifest: manifest?,
        progress,
        interrupted,
    })
}

/// Captures into a sink. After an error the rest is still accounted for.
pub fn run_into(
    options: &Options,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
    observer: &(dyn Fn(&Progress) + Sync),
) -> (Progress, Result<(), CaptureError>) {
    match open(options) {
        Ok(inputs) => run_threads(options, inputs, None, sink, stop, observer),
        Err(error) => (Progress::default(), Err(error)),
    }
}

/// What one reader thread reads.
enum Input {
    /// With the source's name, for people.
    Live(String, Live),
    Files(Vec<Source>),
}

impl Input {
    fn is_live(&self) -> bool {
        matches!(self, Input::Live(..))
    }
}

fn open(options: &Options) -> Result<Vec<Input>, CaptureError> {
    if options.ports.is_empty() {
        return Err(CaptureError::Nothing("port"));
    }
    let mut inputs = Vec::new();
    let mut files = Vec::new();
    for source in &options.sources {
        match source {
            Source::Interface(name) => {
                let live = Live::open(name, &options.ports, &options.live)?;
                inputs.push(Input::Live(source.to_string(), live));
            }
            source => {
                // What is no packet file is found before anything is written.
                if let Source::File(path) = source {
                    PacketFile::open(path)?;
                }
                files.push(source.clone());
            }
        }
    }
    if !files.is_empty() {
        inputs.push(Input::Files(files));
    }
    if inputs.is_empty() {
        return Err(CaptureError::Nothing("source"));
    }
    Ok(inputs)
}

fn run_threads(
    options: &Options,
    inputs: Vec<Input>,
    probe: Option<Probing>,
    sink: &mut dyn Sink,
    stop: &AtomicBool,
    observer: &(dyn Fn(&Progress) + Sync),
) -> (Progress, Result<(), CaptureError>) {
    let control = Control {
        stop,
        halt: AtomicBool::new(false),
        started: clock::instant(),
        duration: options.duration,
    };
    let control = &control;
    let workers = options.workers.max(1);
    let budget = Budget::of(options.memory, workers);
    let live = inputs.iter().any(Input::is_live);
    let waiting = match live {
        true => budget.waiting_segments(),
        false => budget.waiting_segments().min(READ_AHEAD),
    };
    let last_session = Arc::new(AtomicU64::new(0));
    let seed = RandomState::new().hash_one("flows");
    let (writer, messages) = bounded(MESSAGES);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut lanes = Vec::new();
        for part in 0..workers {
            let (full, batches) = bounded(waiting);
            let (returned, empty) = bounded(RETURNED);
            lanes.push(Lane { full, empty });
            let worker = Worker::new(
                options,
                budget.connections / workers,
                Arc::clone(&last_session),
                probe.as_ref().map(|probe| Arc::clone(probe.board())),
            );
            let reporter = Reporter {
                part,
                writer: writer.clone(),
                told: control.started,
            };
            let rows = Batch::new(&options.writer);
            threads.push(scope.spawn(move || {
                call_thread(c"capture-worker");
                work(worker, rows, &batches, &returned, reporter);
                Ok(())
            }));
        }
        for (number, input) in inputs.into_iter().enumerate() {
            let splitter =
                Splitter::new(options.ports.clone(), options.sample, seed, lanes.clone());
            let reporter = Reporter {
                part: workers + number,
                writer: writer.clone(),
                told: control.started,
            };
            threads.push(scope.spawn(move || {
                call_thread(c"capture-reader");
                match input {
                    Input::Live(name, live) => {
                        reader::listen(live, &name, options, splitter, reporter, control)
                    }
                    Input::Files(files) => reader::read(&files, splitter, reporter, control),
                }
            }));
        }
        drop(lanes);
        drop(writer);
        let (at_work, over) = bounded(0);
        let probe = probe.map(|probe| {
            scope.spawn(move || {
                call_thread(c"capture-probe");
                probe.run(&over)
            })
        });
        let (mut progress, mut outcome) = writer::write(messages, sink, observer, control);
        drop(at_work);
        if let Some(probe) = probe {
            match probe.join() {
                Ok(warnings) => progress.warnings.extend(warnings),
                Err(_) => outcome = outcome.and(Err(CaptureError::Panicked)),
            }
        }
        for thread in threads {
            let ended = thread.join().unwrap_or(Err(CaptureError::Panicked));
            outcome = outcome.and(ended);
        }
        (progress, outcome)
    })
}

/// So that `top -H` tells which part of a capture is busy. The main thread writes.
fn call_thread(name: &CStr) {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_name(name) {
        tracing::debug!(%error, "a thread has no name of its own");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

fn work(
    mut worker: Worker,
    mut rows: Batch,
    segments: &Receiver<Segments>,
    returned: &Sender<Segments>,
    mut reporter: Reporter,
) {
    let mut tally = Tally::default();
    loop {
        match segments.recv_timeout(TICK) {
            Ok(mut some) => {
                worker.consult();
                some.work(&mut worker, |row| tally.count(row, rows.push(row).is_ok()));
                worker.confide();
                // Where the reader has enough of them it is freed.
                let _ = returned.try_send(some);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let due = reporter.due();
        if due || rows.is_full() {
            hand_over(&mut rows, &mut tally, &reporter);
        }
        if due {
            reporter.tell(worker_progress(&worker));
        }
    }
    worker.finish();
    for row in worker.rows().drain(..) {
        tally.count(&row, rows.push(&row).is_ok());
    }
    hand_over(&mut rows, &mut tally, &reporter);
    reporter.tell(worker_progress(&worker));
}

fn hand_over(rows: &mut Batch, tally: &mut Tally, reporter: &Reporter) {
    if rows.rows() > 0 || !tally.is_empty() {
        let message = Message::Rows(Box::new(rows.take()), std::mem::take(tally));
        let _ = reporter.writer.send(message);
    }
}

fn worker_progress(worker: &Worker) -> Progress {
    Progress {
        ledger: worker.ledger(),
        flows: worker.flows() as u64,
        held: worker.held() as u64,
        servers: worker.servers().clone(),
        ..Progress::default()
    }
}

#[cfg(test)]
mod tests {
    use recording::{Exchange, Kind};

    use super::*;

    #[test]
    fn a_loss_is_told_where_no_row_came_beside_it() {
        let (writer, messages) = bounded(MESSAGES);
        let reporter = Reporter {
            part: 0,
            writer,
            told: clock::instant(),
        };
        let mut rows = Batch::new(&WriterOptions::default());
        let mut tally = Tally::default();
        hand_over(&mut rows, &mut tally, &reporter);
        assert!(messages.is_empty());
        let too_large = Exchange {
            session: 1,
            seq: 1,
            ..Exchange::new(Kind::Request, Timestamp::default())
        };
        tally.count(&too_large, false);
        hand_over(&mut rows, &mut tally, &reporter);
        assert!(tally.is_empty());
        let Ok(Message::Rows(rows, tally)) = messages.try_recv() else {
            panic!("it is not told");
        };
        assert_eq!(rows.rows(), 0);
        assert!(!tally.is_empty());
    }

    struct Taker(fn());

    impl Sink for Taker {
        fn write(&mut self, _: Batch) -> Result<(), StoreError> {
            (self.0)();
            Ok(())
        }

        fn tick(&mut self, _: Instant, _: &Progress) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_of_who_writes_ends_the_capture() {
        let fails = || panic!("as is meant");
        let observes_nothing: fn(&Progress) = |_| {};
        for (mut taker, observer) in [
            (Taker(fails), observes_nothing),
            (Taker(|| {}), |_| panic!("as is meant")),
        ] {
            let (writer, messages) = bounded(MESSAGES);
            let stop = AtomicBool::new(false);
            let control = Control {
                stop: &stop,
                halt: AtomicBool::new(false),
                started: clock::instant(),
                duration: None,
            };
            let rows = Batch::new(&WriterOptions::default());
            let rows = Message::Rows(Box::new(rows), Tally::default());
            assert!(writer.send(rows).is_ok());
            // The sender lives on, as those of readers and workers do.
            let (_, outcome) = writer::write(messages, &mut taker, &observer, &control);
            assert!(matches!(outcome, Err(CaptureError::WriterPanicked)));
            assert!(control.stopping());
            assert!(writer.send(Message::Part(0, Box::default())).is_err());
        }
    }
}
