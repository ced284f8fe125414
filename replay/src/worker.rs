//! A thread with the sessions that fell to it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam_channel::Sender;
use recording::{
    Account, Batch, Exchange, Kind, Pacing, Response, Status, Timestamp, WriterOptions,
};
use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::budget::Budget;
use crate::clock::{self, Clock};
use crate::measure::Measures;
use crate::pool::Pool;
use crate::priority;
use crate::progress::{Counts, Progress};
use crate::queue::Queue;
use crate::reason;
use crate::schedule::Plan;
use crate::serve;
use crate::target::Target;
use crate::turns::{self, Turns};

/// How often a worker looks at deadlines and passes on its outcomes.
const TICK: Duration = Duration::from_millis(100);
const TICKS_A_WINDOW: u32 = 10;
/// Bytes that a worker may be behind with what it tells the budget, which all threads share.
const SETTLED_BYTES: usize = 64 << 10;
const READ_BUFFER: usize = 64 << 10;
const MAX_COMPLAINTS: usize = 16;

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// The target refused TLS that was only preferred.
    pub(crate) without_tls: AtomicBool,
    pub(crate) addresses: Vec<std::net::SocketAddr>,
    pub(crate) limits: protocol::Limits,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) budget: Arc<Budget>,
    pub(crate) writing: WriterOptions,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) workers: usize,
    /// How many all sessions share, where not each has its own.
    pub(crate) connections: Option<NonZeroUsize>,
    /// When the last row was; the end of time until then.
    pub(crate) handed_out_at: AtomicI64,
    pub(crate) turns: Turns,
    /// How long a worker's sessions may then do nothing, and wait for nothing that has a time-out of
    /// its own.
    pub(crate) drain_timeout: Duration,
}

impl Shared {
    /// The worker's part of the connections.
    fn connections_of(&self, worker: usize) -> Option<usize> {
        let all = self.connections?.get();
        let workers = self.workers.max(1);
        Some(all / workers + usize::from(worker < all % workers))
    }
}

/// A row on its way through the run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) row: Exchange,
    pub(crate) plan: Plan,
    pub(crate) intended_at: Timestamp,
    /// Of the budget's bytes.
    pub(crate) cost: usize,
    pub(crate) flight: Flight,
}

/// What is known of a request under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(crate) ready_at: Timestamp,
    /// 0 until then.
    pub(crate) sent_at: Timestamp,
    pub(crate) last_byte_at: Timestamp,
    /// Its place among the session's bytes.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Flight {
    pub(crate) fn is_begun(&self) -> bool {
        self.sent_at.0 != 0
    }
}

/// Of one queue, in order and due together. Those that were recorded at other times are due apart,
/// unless nobody waits for time.
pub(crate) type Jobs = Vec<Job>;

/// What became of a row.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) reason: Option<&'static str>,
    pub(crate) response: Option<Response>,
    pub(crate) ready_at: Timestamp,
    pub(crate) sent_at: Timestamp,
    pub(crate) last_byte_at: Timestamp,
}

impl Outcome {
    pub(crate) fn skipped(reason: &'static str) -> Outcome {
        Outcome {
            status: Status::Skipped,
            reason: Some(reason),
            ..Outcome::default()
        }
    }
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    index: usize,
    /// Where sessions share connections.
    pub(crate) pool: Option<Pool>,
    writer: Sender<Batch>,
    book: RefCell<Book>,
    pub(crate) read_buffer: RefCell<Vec<u8>>,
    watches: RefCell<Vec<Rc<Watch>>>,
    tasks: Cell<usize>,
    task_ended: Notify,
    /// A row became an outcome since the last tick.
    moved: Cell<bool>,
    /// At the last tick of which something moved, or waited for the target.
    alive_at: Cell<Timestamp>,
}

#[derive(Debug)]
struct Book {
    outcomes: Batch,
    /// What the budget is not told yet: rows that became outcomes, the bytes that these took, and those
    /// that the jobs had.
    done: usize,
    charged: usize,
    released: usize,
    counts: Counts,
    report: WorkerReport,
}

#[derive(Clone, Debug)]
pub(crate) struct WorkerReport {
    pub(crate) measures: Measures,
    /// By name, but for what was seen.
    pub(crate) accounts: BTreeMap<&'static str, Account>,
    /// Requests answered with an error, and without when recorded.
    pub(crate) new_errors: u64,
    /// What was done to requests on their way, by name, for the run's notes.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What went wrong, in words, and how often.
    pub(crate) complaints: BTreeMap<String, u64>,
    /// Seconds in which the thread was busy for more than 95 %, and seconds of all.
    pub(crate) busy_windows: u32,
    pub(crate) windows: u32,
    pub(crate) cpu: Duration,
}

/// Serves sessions until `inbox` is closed and the last of them is done.
pub(crate) fn run(
    shared: Arc<Shared>,
    index: usize,
    mut inbox: UnboundedReceiver<Queue>,
    writer: Sender<Batch>,
    measures: Measures,
) -> std::io::Result<WorkerReport> {
    priority::prompt();
    let runtime = LocalRuntime::new()?;
    let worker = Rc::new(Worker::new(shared, index, writer, measures));
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut windows = Windows::start(worker.shared.clock);
        let mut open = true;
        while open || worker.tasks.get() > 0 {
            tokio::select! {
                queue = inbox.recv(), if open => match queue {
                    Some(queue) => worker.spawn(serve::serve(Rc::clone(&worker), queue)),
                    None => open = false,
                },
                _ = worker.task_ended.notified() => {}
                _ = ticks.tick() => {
                    worker.tick();
                    windows.tick(&worker);
                }
            }
        }
    });
    worker.flush();
    worker.publish();
    let mut report = worker.book.borrow().report.clone();
    report.cpu = clock::thread_cpu();
    Ok(report)
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize, writer: Sender<Batch>, measures: Measures) -> Worker {
        let outcomes = Batch::new(&shared.writing);
        Worker {
            pool: shared.connections_of(index).map(Pool::new),
            shared,
            index,
            writer,
            book: RefCell::new(Book {
                outcomes,
                done: 0,
                charged: 0,
                released: 0,
                counts: Counts::default(),
                report: WorkerReport {
                    measures,
                    accounts: BTreeMap::new(),
                    new_errors: 0,
                    counts: BTreeMap::new(),
                    complaints: BTreeMap::new(),
                    busy_windows: 0,
                    windows: 0,
                    cpu: Duration::ZERO,
                },
            }),
            read_buffer: RefCell::new(vec![0; READ_BUFFER]),
            watches: RefCell::new(Vec::new()),
            tasks: Cell::new(0),
            task_ended: Notify::new(),
            moved: Cell::new(false),
            alive_at: Cell::new(Timestamp(0)),
        }
    }

    /// The worker stays until the task is done.
    pub(crate) fn spawn(self: &Rc<Worker>, task: impl Future<Output = ()> + 'static) {
        struct Ended(Rc<Worker>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.tasks.set(self.0.tasks.get() - 1);
                self.0.task_ended.notify_one();
            }
        }
        self.tasks.set(self.tasks.get() + 1);
        let ended = Ended(Rc::clone(self));
        tokio::task::spawn_local(async move {
            task.await;
            drop(ended);
        });
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// A watch for one session, that the tick looks at.
    pub(crate) fn watch(&self) -> Rc<Watch> {
        let watch = Rc::new(Watch::default());
        if let Some(reason) = self.over() {
            watch.stop(reason);
        }
        self.watches.borrow_mut().push(Rc::clone(&watch));
        watch
    }

    pub(crate) fn opened(&self) {
        self.book.borrow_mut().counts.sessions += 1;
    }

    pub(crate) fn sent(&self) {
        self.book.borrow_mut().counts.sent += 1;
    }

    /// What was sent will be again.
    pub(crate) fn unsent(&self) {
        self.book.borrow_mut().counts.sent -= 1;
    }

    pub(crate) fn add_count(&self, name: &'static str, count: u64) {
        let sums = &mut self.book.borrow_mut().report.counts;
        *sums.entry(name).or_default() += count;
    }

    pub(crate) fn waited_for_connection(&self, ns: u64) {
        let measures = &mut self.book.borrow_mut().report.measures;
        measures.connection.saturating_record(ns);
    }

    pub(crate) fn complain(&self, complaint: String) {
        let complaints = &mut self.book.borrow_mut().report.complaints;
        if complaints.len() < MAX_COMPLAINTS || complaints.contains_key(&complaint) {
            *complaints.entry(complaint).or_default() += 1;
        }
    }

    pub(crate) fn skip(&self, mut job: Job, reason: &'static str) {
        self.finish(&mut job, Outcome::skipped(reason));
    }

    /// Turns the recorded row into the run's. Once for each.
    pub(crate) fn finish(&self, job: &mut Job, outcome: Outcome) {
        if let Some(lesson) = &job.plan.lesson {
            let came_at = outcome.response.as_ref().map(|came| came.last_byte_at);
            lesson.end(came_at.unwrap_or_else(|| self.now()));
        }
        let row = &mut job.row;
        if row.kind == Kind::Request && row.status == Status::Ok && outcome.status == Status::Error
        {
            self.book.borrow_mut().report.new_errors += 1;
        }
        row.status = outcome.status;
        row.reason = match outcome.reason {
            Some(reason) => Some(Arc::from(reason)),
            None if row.kind == Kind::Close => row.reason.take(),
            None => None,
        };
        row.response = outcome.response;
        row.request.last_byte_at = outcome.last_byte_at;
        row.pacing = Some(Pacing {
            intended_at: job.intended_at,
            ready_at: outcome.ready_at,
            sent_at: outcome.sent_at,
        });
        self.moved.set(true);
        let mut book = self.book.borrow_mut();
        let before = book.outcomes.bytes();
        book.enter(row);
        book.charged += book.outcomes.bytes() - before;
        book.released += job.cost;
        book.done += 1;
        if book.released >= SETTLED_BYTES {
            book.settle(&self.shared.budget);
        }
        let full = book.outcomes.is_full();
        drop(book);
        if full {
            self.flush();
        }
    }

    fn flush(&self) {
        let mut book = self.book.borrow_mut();
        book.settle(&self.shared.budget);
        if book.outcomes.rows() == 0 {
            return;
        }
        let outcomes = book.outcomes.take();
        // The writer outlives the workers; it is gone only after a panic of its own.
        if self.writer.send(outcomes).is_err() {
            self.shared.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Why nothing more is to be done, once that is so.
    pub(crate) fn over(&self) -> Option<&'static str> {
        if self.shared.stop.load(Ordering::Relaxed) {
            Some(reason::INTERRUPTED)
        } else {
            let handed_out_at = Timestamp(self.shared.handed_out_at.load(Ordering::Relaxed));
            let since = handed_out_at.max(self.alive_at.get());
            (self.now().since(since) > self.shared.drain_timeout.as_nanos() as u64)
                .then_some(reason::TIMED_OUT)
        }
    }

    fn tick(&self) {
        let now = self.now();
        let waits = self.watches.borrow().iter().any(|watch| watch.waits());
        if self.moved.replace(false) || waits {
            self.alive_at.set(now);
        }
        let overdue = self.shared.turns.look(now);
        self.add_count(turns::OVERDUE, overdue);
        let over = self.over();
        self.watches.borrow_mut().retain(|watch| {
            if let Some(reason) = over {
                watch.stop(reason);
            } else if now > watch.deadline.get() {
                watch.stop(reason::TIMED_OUT);
            } else if now > watch.wake_at.get() {
                watch.wake();
            }
            Rc::strong_count(watch) > 1
        });
        self.flush();
        let counts = std::mem::take(&mut self.book.borrow_mut().counts);
        self.shared.progress.add(counts);
    }

    fn publish(&self) {
        let mut book = self.book.borrow_mut();
        self.shared.progress.add(std::mem::take(&mut book.counts));
        self.shared
            .progress
            .publish(self.index, &book.report.measures);
    }
}

impl Book {
    /// Tells the budget what became of its bytes.
    fn settle(&mut self, budget: &Budget) {
        let charged = std::mem::take(&mut self.charged);
        let released = std::mem::take(&mut self.released);
        budget.charge(charged.saturating_sub(released));
        budget.release(released.saturating_sub(charged));
        budget.done(std::mem::take(&mut self.done));
    }

    /// Cancels count as requests; a session that could not log in is lost.
    fn enter(&mut self, row: &Exchange) {
        self.count(row);
        let taken = self.outcomes.push(row).is_ok();
        let name = match row.kind {
            Kind::Request | Kind::Cancel => "requests",
            Kind::Open => "sessions",
            Kind::Prepare => "statements",
            Kind::Close => return,
        };
        let account = self.report.accounts.entry(name).or_default();
        match (row.status, &row.reason) {
            _ if !taken => account.lose(reason::TOO_LARGE, 1),
            (Status::Ok | Status::Error, None) => account.kept += 1,
            (_, reason) => account.lose(reason.as_deref().unwrap_or(row.status.name()), 1),
        }
    }

    fn count(&mut self, row: &Exchange) {
        if row.kind != Kind::Request {
            return;
        }
        match row.status {
            Status::Skipped => {
                self.counts.skipped += 1;
                return;
            }
            Status::Unanswered => self.counts.unanswered += 1,
            Status::Error => {
                self.counts.answered += 1;
                self.counts.errors += 1;
            }
            Status::Ok => self.counts.answered += 1,
        }
        self.report.measures.record(row);
    }
}

/// How a session's task is told to end, when it must have got an answer, and when it wants to look
/// again.
#[derive(Debug)]
pub(crate) struct Watch {
    stopped: Cell<Option<&'static str>>,
    pub(crate) deadline: Cell<Timestamp>,
    pub(crate) wake_at: Cell<Timestamp>,
    /// It waits for others to end.
    pub(crate) in_line: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

pub(crate) const NO_DEADLINE: Timestamp = Timestamp(i64::MAX);

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            stopped: Cell::new(None),
            deadline: Cell::new(NO_DEADLINE),
            wake_at: Cell::new(NO_DEADLINE),
            in_line: Cell::new(false),
            waker: RefCell::new(None),
        }
    }
}

impl Watch {
    fn stop(&self, reason: &'static str) {
        if self.stopped.get().is_none() {
            self.stopped.set(Some(reason));
            self.wake();
        }
    }

    /// The session goes on though it was told to end.
    pub(crate) fn forgive(&self) {
        self.stopped.set(None);
        self.deadline.set(NO_DEADLINE);
        self.wake_at.set(NO_DEADLINE);
    }

    /// Does it wait for something until a time of its own, or for others that do?
    fn waits(&self) -> bool {
        self.deadline.get() != NO_DEADLINE
            || self.wake_at.get() != NO_DEADLINE
            || self.in_line.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(crate) fn poll_stopped(&self, cx: &Context<'_>) -> Poll<&'static str> {
        if let Some(reason) = self.stopped.get() {
            return Poll::Ready(reason);
        }
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    pub(crate) async fn stopped(&self) -> &'static str {
        poll_fn(|cx| self.poll_stopped(cx)).await
    }
}

/// Finds the seconds in which the thread had no time to spare.
struct Windows {
    ticks: u32,
    began: Timestamp,
    cpu: Duration,
}

impl Windows {
    fn start(clock: Clock) -> Windows {
        Windows {
            ticks: 0,
            began: clock.now(),
            cpu: clock::thread_cpu(),
        }
    }

    fn tick(&mut self, worker: &Worker) {
        self.ticks += 1;
        if self.ticks < TICKS_A_WINDOW {
            return;
        }
        worker.publish();
        let next = Windows::start(worker.shared.clock);
        let busy = next.cpu.saturating_sub(self.cpu).as_secs_f64();
        let elapsed = (next.began - self.began).as_secs_f64();
        let mut book = worker.book.borrow_mut();
        book.report.windows += 1;
        if busy > 0.95 * elapsed {
            book.report.busy_windows += 1;
        }
        drop(book);
        *self = next;
    }
}
