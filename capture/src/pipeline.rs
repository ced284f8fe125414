//! The threads of a capture, the channels between them, and its clock.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use recording::{
    ContentKind, Exchange, Kind, Ledger, Manifest, Status, StoreError, Timestamp, Writer,
};

use crate::options::{Options, Source};
use crate::privileges::PrivilegeError;
use crate::source::{FULL_SNAPLEN, FileError, Live, LiveError, PacketFile, READ_TIMEOUT_MS};
use crate::splitter::{Batch, Lane, Splitter};
use crate::worker::{Bounds, Worker};

/// Batches that may wait for a worker: with its own size, memory.
const LANE_BATCHES: usize = 64;
/// Rows that a worker sends at once, and how many such may wait for the writer.
const ROW_BATCH: usize = 256;
const ROW_BATCHES: usize = 32;
/// How often threads tell their accounts, and the sink is ticked.
const TICK: Duration = Duration::from_millis(200);
/// By when the kernel has handed over a block of its ring that is not full: it takes two time-outs,
/// and a busy machine more.
const HANDED_OVER: Duration = Duration::from_millis(10 * READ_TIMEOUT_MS as u64);
/// How long the kernel's ring is read after the end, at most.
const DRAIN: Duration = Duration::from_secs(10);

/// Reasons in the account of requests.
const NOT_WRITTEN: &str = "not written";
const OVER_LIMIT: &str = "over --max-disk";

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// Nothing more was kept after it.
    #[error("failed to write the recording: {0}")]
    Write(#[from] StoreError),
    #[error("nothing to capture: no {0} given")]
    Nothing(&'static str),
    #[error("a thread of the capture panicked")]
    Panicked,
}

/// Takes the rows.
pub trait Sink: Send {
    fn push(&mut self, row: Exchange) -> Result<(), StoreError>;

    /// Comes several times a second.
    fn tick(&mut self, now: Instant, progress: &Progress) -> Result<(), StoreError>;
}

impl Sink for Writer {
    fn push(&mut self, row: Exchange) -> Result<(), StoreError> {
        if let Some(info) = &row.info {
            let protocols = &mut self.manifest_mut().protocols;
            if !protocols.iter().any(|known| **known == *info.protocol) {
                protocols.push(info.protocol.to_string());
            }
        }
        Writer::push(self, row)
    }

    fn tick(&mut self, now: Instant, progress: &Progress) -> Result<(), StoreError> {
        describe(self.manifest_mut(), progress);
        Writer::tick(self, now)
    }
}

fn describe(manifest: &mut Manifest, progress: &Progress) {
    manifest.ledger = progress.ledger.clone();
    manifest.servers = progress.servers.iter().copied().collect();
}

/// How far a capture is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// While packets are under way between threads it need not balance.
    pub ledger: Ledger,
    pub rows: u64,
    /// Rows that were counted and not recorded, since the recording has reached its limit.
    pub over_limit: u64,
    /// Connections that are open.
    pub flows: u64,
    /// Bytes that wait in reassembly and decoders.
    pub held: u64,
    /// Time of the last packet.
    pub at: Timestamp,
    /// Endpoints captured from.
    pub servers: BTreeSet<SocketAddr>,
    /// What a person should be told, with the remedy.
    pub warnings: Vec<String>,
}

/// What threads send to the writer.
enum Message {
    Rows(Vec<Exchange>),
    /// The state of a thread since the beginning, which replaces the one before.
    Part(usize, Box<Progress>),
}

/// What all threads need.
struct Control<'a> {
    stop: &'a AtomicBool,
    /// The writer failed.
    halt: AtomicBool,
    started: Instant,
    duration: Option<Duration>,
}

impl Control<'_> {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.halt.load(Ordering::Relaxed)
            || self.duration.is_some_and(|it| self.started.elapsed() >= it)
    }
}

/// Tells a thread's accounts now and then.
struct Reporter {
    part: usize,
    writer: Sender<Message>,
    told: Instant,
}

impl Reporter {
    fn due(&mut self) -> bool {
        let due = self.told.elapsed() >= TICK;
        if due {
            self.told = Instant::now();
        }
        due
    }

    fn tell(&self, progress: Progress) {
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
    /// A source failed. The recording has all that came before.
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
    if let Some(user) = &options.user {
        user.make_directory(dir)?;
        user.become_it()?;
    }
    let mut manifest = Manifest::new(ContentKind::Recording, now());
    manifest.source = options.source();
    manifest.protocols = options.protocols();
    let mut writer = Writer::create(dir, manifest, options.writer)?;
    // After a crash, those that may have been spoken; otherwise those that were.
    writer.manifest_mut().protocols.clear();
    let (progress, outcome) = run_threads(options, inputs, &mut writer, stop, observer);
    let interrupted = match outcome {
        Err(CaptureError::Write(error)) => return Err(error.into()),
        outcome => outcome.err(),
    };
    describe(writer.manifest_mut(), &progress);
    Ok(Summary {
        manifest: writer.finish()?,
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
        Ok(inputs) => run_threads(options, inputs, sink, stop, observer),
        Err(error) => (Progress::default(), Err(error)),
    }
}

/// What one reader thread reads.
enum Input {
    /// With the source's name, for people.
    Live(String, Live),
    Files(Vec<Source>),
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
    sink: &mut dyn Sink,
    stop: &AtomicBool,
    observer: &(dyn Fn(&Progress) + Sync),
) -> (Progress, Result<(), CaptureError>) {
    let control = Control {
        stop,
        halt: AtomicBool::new(false),
        started: Instant::now(),
        duration: options.duration,
    };
    let control = &control;
    let workers = options.workers.max(1);
    let last_session = Arc::new(AtomicU64::new(0));
    let seed = RandomState::new().hash_one("flows");
    let (writer, messages) = bounded(ROW_BATCHES);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut lanes = Vec::new();
        for part in 0..workers {
            let (full, batches) = bounded(LANE_BATCHES);
            let (returned, empty) = bounded(LANE_BATCHES);
            lanes.push(Lane { full, empty });
            let worker = Worker::new(
                options,
                share(&options.bounds, workers),
                Arc::clone(&last_session),
            );
            let reporter = Reporter {
                part,
                writer: writer.clone(),
                told: control.started,
            };
            threads.push(scope.spawn(move || {
                work(worker, &batches, &returned, reporter);
                Ok(())
            }));
        }
        for (number, input) in inputs.into_iter().enumerate() {
            let live = matches!(input, Input::Live(..));
            let splitter = Splitter::new(
                options.ports.clone(),
                options.sample,
                seed,
                lanes.clone(),
                live,
            );
            let reporter = Reporter {
                part: workers + number,
                writer: writer.clone(),
                told: control.started,
            };
            threads.push(scope.spawn(move || match input {
                Input::Live(name, live) => {
                    let warnings = Vec::from_iter(cut_warning(&name, options.live.snaplen));
                    listen(live, splitter, reporter, control, warnings)
                }
                Input::Files(files) => read(&files, splitter, reporter, control),
            }));
        }
        drop(lanes);
        drop(writer);
        let (progress, mut outcome) = write(&messages, sink, observer, control);
        for thread in threads {
            let ended = thread.join().unwrap_or(Err(CaptureError::Panicked));
            outcome = outcome.and(ended);
        }
        (progress, outcome)
    })
}

/// A worker's part of what all may hold.
fn share(bounds: &Bounds, workers: usize) -> Bounds {
    Bounds {
        open_flows: bounds.open_flows / workers,
        silent_flows: bounds.silent_flows / workers,
        closed_flows: bounds.closed_flows / workers,
        held: bounds.held / workers,
        ..bounds.clone()
    }
}

fn work(
    mut worker: Worker,
    batches: &Receiver<Batch>,
    returned: &Sender<Batch>,
    mut reporter: Reporter,
) {
    let progress = |worker: &Worker| Progress {
        ledger: worker.ledger(),
        flows: worker.flows() as u64,
        held: worker.held() as u64,
        servers: worker.servers().clone(),
        ..Progress::default()
    };
    for mut batch in batches {
        batch.work(&mut worker);
        // Where the reader has enough of them it is freed.
        let _ = returned.try_send(batch);
        let due = reporter.due();
        if due || worker.rows().len() >= ROW_BATCH || batches.is_empty() {
            send_rows(&mut worker, &reporter);
        }
        if due {
            reporter.tell(progress(&worker));
        }
    }
    worker.finish();
    send_rows(&mut worker, &reporter);
    reporter.tell(progress(&worker));
}

fn send_rows(worker: &mut Worker, reporter: &Reporter) {
    if !worker.rows().is_empty() {
        let rows = std::mem::replace(worker.rows(), Vec::with_capacity(ROW_BATCH));
        let _ = reporter.writer.send(Message::Rows(rows));
    }
}

fn listen(
    mut live: Live,
    mut splitter: Splitter,
    mut reporter: Reporter,
    control: &Control<'_>,
    warnings: Vec<String>,
) -> Result<(), CaptureError> {
    let mut outcome = Ok(());
    let mut ending: Option<(Instant, Timestamp)> = None;
    for count in 0_u64.. {
        let quiet = match live.next_packet() {
            Ok(Some(packet)) => {
                // What was sent after the end is not part of the capture.
                if ending.is_some_and(|(_, end)| packet.at > end) {
                    break;
                }
                splitter.packet(packet);
                false
            }
            Ok(None) => {
                splitter.flush();
                true
            }
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        };
        if !quiet && count % 256 != 0 {
            continue;
        }
        if reporter.due() {
            let drops = live.drops(false);
            reporter.tell(reader_progress(&mut splitter, drops, warnings.clone()));
        }
        match ending {
            None if control.stopping() => ending = Some((Instant::now(), now())),
            Some((since, _)) => {
                let waited = since.elapsed();
                if quiet && (live.is_drained() || waited > HANDED_OVER) || waited > DRAIN {
                    break;
                }
            }
            None => {}
        }
    }
    splitter.finish();
    let drops = live.drops(true);
    reporter.tell(reader_progress(&mut splitter, drops, warnings));
    outcome
}

fn read(
    files: &[Source],
    mut splitter: Splitter,
    mut reporter: Reporter,
    control: &Control<'_>,
) -> Result<(), CaptureError> {
    let mut warnings = Vec::new();
    let mut drops = (0, 0);
    let mut outcome = Ok(());
    for source in files {
        let file = match source {
            Source::File(path) => PacketFile::open(path),
            _ => PacketFile::new(source.to_string(), Box::new(io::stdin())),
        };
        let ended = file.and_then(|mut file| {
            let before = drops;
            let ended = read_file(&mut file, &mut splitter, control, |splitter, file| {
                if reporter.due() {
                    let (kernel, interface) = file.drops();
                    let drops = (before.0 + kernel, before.1 + interface);
                    reporter.tell(reader_progress(splitter, drops, warnings.clone()));
                }
            });
            let (kernel, interface) = file.drops();
            drops = (before.0 + kernel, before.1 + interface);
            warnings.extend(file.left_out().map(str::to_owned));
            let snaplen = file.snaplen().unwrap_or(FULL_SNAPLEN);
            warnings.extend(cut_warning(&source.to_string(), snaplen));
            ended
        });
        if let Err(error) = ended {
            outcome = Err(error.into());
            break;
        }
    }
    splitter.finish();
    reporter.tell(reader_progress(&mut splitter, drops, warnings));
    outcome
}

fn read_file(
    file: &mut PacketFile,
    splitter: &mut Splitter,
    control: &Control<'_>,
    mut report: impl FnMut(&mut Splitter, &PacketFile),
) -> Result<(), FileError> {
    for count in 0_u64.. {
        if file.is_drained() {
            // The next read may wait for long.
            splitter.flush();
        }
        match file.next_packet()? {
            Some(packet) => splitter.packet(packet),
            None => break,
        }
        if count % 4096 == 0 {
            report(splitter, file);
            if control.stopping() {
                break;
            }
        }
    }
    Ok(())
}

fn cut_warning(source: &str, snaplen: u32) -> Option<String> {
    (snaplen < FULL_SNAPLEN).then(|| {
        format!(
            "{source} was captured with a snap length of {snaplen}: longer packets are cut and leave gaps; capture whole packets"
        )
    })
}

fn reader_progress(
    splitter: &mut Splitter,
    drops: (u64, u64),
    mut warnings: Vec<String>,
) -> Progress {
    let ledger = splitter.ledger(drops);
    let lost = |name: &str| {
        let packets = ledger.account("packets");
        packets
            .and_then(|it| it.lost.get(name))
            .copied()
            .unwrap_or(0)
    };
    let dropped = lost("kernel drop");
    if dropped > 0 {
        warnings.push(format!(
            "the kernel dropped {dropped} packets: give it a bigger buffer"
        ));
    }
    let shed = lost("pipeline full");
    if shed > 0 {
        warnings.push(format!(
            "{shed} packets came faster than they could be decoded: use more workers, or capture to a file and read that"
        ));
    }
    if let Some(packets) = ledger.account("packets") {
        for (reason, count) in &packets.lost {
            if reason.starts_with("unsupported") && *count > 0 {
                warnings.push(format!("{count} packets can't be read: {reason}"));
            }
        }
    }
    Progress {
        at: splitter.last_at(),
        ledger,
        warnings,
        ..Progress::default()
    }
}

/// The writer's own state.
struct Written {
    parts: Vec<Progress>,
    rows: u64,
    over_limit: u64,
    /// Of requests: what became of them.
    ledger: Ledger,
}

/// What a row will be in the account of requests.
enum Fate {
    NoRequest,
    Answered,
    Unanswered(Option<Arc<str>>),
}

impl Fate {
    fn of(row: &Exchange) -> Fate {
        match (row.kind, row.status) {
            (Kind::Open | Kind::Close, _) => Fate::NoRequest,
            (Kind::Request, Status::Unanswered) => Fate::Unanswered(row.reason.clone()),
            _ => Fate::Answered,
        }
    }
}

impl Written {
    fn row(&mut self, fate: Fate, lost: Option<&str>) {
        self.rows += u64::from(lost.is_none());
        self.over_limit += u64::from(lost == Some(OVER_LIMIT));
        let requests = self.ledger.account_mut("requests");
        match (fate, lost) {
            (Fate::NoRequest, _) => {}
            (_, Some(reason)) => requests.lose(reason, 1),
            (Fate::Answered, None) => requests.kept += 1,
            (Fate::Unanswered(reason), None) => {
                requests.lose(reason.as_deref().unwrap_or("unanswered"), 1);
            }
        }
    }

    fn progress(&self) -> Progress {
        let mut sum = Progress {
            ledger: self.ledger.clone(),
            rows: self.rows,
            over_limit: self.over_limit,
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

fn write(
    messages: &Receiver<Message>,
    sink: &mut dyn Sink,
    observer: &(dyn Fn(&Progress) + Sync),
    control: &Control<'_>,
) -> (Progress, Result<(), CaptureError>) {
    let mut written = Written {
        parts: Vec::new(),
        rows: 0,
        over_limit: 0,
        ledger: Ledger::default(),
    };
    let mut outcome = Ok(());
    let mut ticked = Instant::now();
    loop {
        match messages.recv_timeout(TICK) {
            Ok(Message::Rows(rows)) => {
                for row in rows {
                    let fate = Fate::of(&row);
                    let lost = match &outcome {
                        Err(_) => Some(NOT_WRITTEN),
                        // What is recorded has no holes.
                        Ok(()) if written.over_limit > 0 => Some(OVER_LIMIT),
                        Ok(()) => match sink.push(row) {
                            Ok(()) => None,
                            Err(StoreError::OverLimit { .. }) => Some(OVER_LIMIT),
                            Err(error) => {
                                control.halt.store(true, Ordering::Relaxed);
                                outcome = Err(error.into());
                                Some(NOT_WRITTEN)
                            }
                        },
                    };
                    written.row(fate, lost);
                }
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
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            let progress = written.progress();
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

/// The wall clock, as packets have it.
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0) + since
}
