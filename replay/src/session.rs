//! One recorded session, said again on one connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use protocol::{Driver, DriverError, DriverEvent};
use recording::{Exchange, Kind, Notes, Response, Status, Timestamp, Transaction};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use crate::connect::{self, Connection};
use crate::reason;
use crate::schedule::only_cancels;
use crate::stream::Stream;
use crate::worker::{Job, NO_DEADLINE, Outcome, Queue, Watch, Worker};

/// No further request is taken while more than this waits for the target to read it.
const MAX_UNSENT: usize = 256 << 10;
/// A request may take this many times its recorded time, where that is longer than the time-out.
const PATIENCE: u32 = 10;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Takes the session's rows until no more come: each leaves as exactly one outcome.
pub(crate) async fn serve(worker: Rc<Worker>, mut queue: Queue) {
    let watch = worker.watch();
    let Some(opening) = queue.recv().await else {
        return;
    };
    let lost = begin(&worker, &mut queue, &watch, opening).await;
    while let Some(job) = queue.recv().await {
        let reason = match job.planned.unsendable {
            Some(reason) if lost != reason::OTHER_PROTOCOL => reason,
            _ => lost,
        };
        worker.skip(job, reason);
    }
}

/// Gives the reason for which rows that still come are skipped.
async fn begin(
    worker: &Rc<Worker>,
    queue: &mut Queue,
    watch: &Rc<Watch>,
    job: Box<Job>,
) -> &'static str {
    let row = &job.planned.row;
    if row.kind != Kind::Open {
        worker.skip(job, reason::NOT_OPENED);
        return reason::NOT_OPENED;
    }
    let other = row
        .info
        .as_ref()
        .is_some_and(|info| *info.protocol != *worker.shared.target.protocol.name());
    let unsendable = job.planned.unsendable;
    if let Some(reason) = unsendable.or(other.then_some(reason::OTHER_PROTOCOL)) {
        worker.skip(job, reason);
        return reason;
    }
    if only_cancels(row) {
        pass(worker, job);
        return stand_by(worker, queue).await;
    }
    let sent_at = worker.now();
    let login = tokio::select! {
        biased;
        reason = watch.stopped() => {
            worker.skip(job, reason);
            return reason;
        }
        login = tokio::time::timeout(worker.shared.connect_timeout, connect::connect(worker, row)) => login,
    };
    let at = |status, reason, response| Outcome {
        status,
        reason,
        response,
        ready_at: job.intended_at,
        sent_at,
        last_byte_at: sent_at,
    };
    match login {
        Ok(Ok(Connection {
            stream,
            driver,
            response,
        })) => {
            let opened_at = response.last_byte_at;
            let outcome = at(Status::Ok, None, Some(response));
            let opening = job.planned.row.clone();
            worker.opened();
            worker.finish(job, outcome);
            let mut session = Session {
                opening,
                parted: false,
                worker,
                queue,
                watch,
                driver,
                stream,
                flights: VecDeque::new(),
                unsent: 0,
                held: None,
                out: Vec::new(),
                written: 0,
                appended_before: 0,
                answered_at: opened_at,
                skipping: false,
                ending: false,
                events: Vec::new(),
            };
            let end = loop {
                match poll_fn(|cx| session.poll(cx)).await {
                    End::Parted => {
                        if let Err(reason) = session.reconnect().await {
                            break End::Lost(reason);
                        }
                    }
                    end => break end,
                }
            };
            session.end(end).await
        }
        Ok(Err(failure)) => {
            let outcome = at(failure.status, Some(failure.reason), failure.response);
            worker.complain(failure.complaint);
            worker.finish(job, outcome);
            reason::after(failure.reason)
        }
        Err(_elapsed) => {
            let outcome = at(Status::Unanswered, Some(reason::TIMED_OUT), None);
            worker.complain("login timed out".to_owned());
            worker.finish(job, outcome);
            reason::after(reason::TIMED_OUT)
        }
    }
}

/// The rows of a connection that only cancels, but for the cancel: nothing is to be sent for them.
async fn stand_by(worker: &Worker, queue: &mut Queue) -> &'static str {
    while let Some(job) = queue.recv().await {
        match job.planned.unsendable {
            Some(reason) => worker.skip(job, reason),
            None => pass(worker, job),
        }
    }
    reason::SESSION_LOST
}

fn pass(worker: &Worker, job: Box<Job>) {
    let at = job.intended_at;
    let outcome = Outcome {
        status: Status::Ok,
        ready_at: at,
        sent_at: at,
        last_byte_at: at,
        ..Outcome::default()
    };
    worker.finish(job, outcome);
}

/// ```text
///  queue -> held (until the answer before is there) -> out + flights (in order) -> outcomes
/// ```
struct Session<'a> {
    opening: Exchange,
    /// The connection is used up. The next request needs another one.
    parted: bool,
    worker: &'a Rc<Worker>,
    queue: &'a mut Queue,
    watch: &'a Watch,
    driver: Box<dyn Driver>,
    stream: Stream,
    /// Requests without an answer, the oldest first.
    flights: VecDeque<Flight>,
    /// Index in `flights` of the first whose bytes are not all with the kernel.
    unsent: usize,
    held: Option<Box<Job>>,
    out: Vec<u8>,
    written: usize,
    /// Bytes that were in `out` before and are gone.
    appended_before: u64,
    answered_at: Timestamp,
    /// The transaction failed here and not when recorded: pass over the rest of it.
    skipping: bool,
    /// No more rows come.
    ending: bool,
    events: Vec<DriverEvent>,
}

struct Flight {
    job: Box<Job>,
    ready_at: Timestamp,
    /// 0 until then.
    sent_at: Timestamp,
    last_byte_at: Timestamp,
    /// Its place among the session's bytes.
    start: u64,
    end: u64,
}

/// Why a conversation is over.
enum End {
    /// As recorded, with the row that said so, or where the recording ends.
    Closed(Option<Box<Job>>),
    Lost(&'static str),
    /// It goes on over another connection.
    Parted,
}

enum Taken {
    Done,
    /// Must wait for answers.
    Held(Box<Job>),
    Parted(Box<Job>),
    End(Box<Job>),
}

impl Session<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Poll::Ready(reason) = self.watch.poll_stopped(cx) {
                return Poll::Ready(End::Lost(reason));
            }
            if let Some(end) = self.take(cx) {
                return Poll::Ready(end);
            }
            if self.parted {
                return Poll::Pending;
            }
            if let Poll::Ready(Err(error)) = self.write(cx) {
                match self.broken(&error) {
                    Some(end) => return Poll::Ready(end),
                    None => continue,
                }
            }
            let close = self.held.as_ref().map(|job| &job.planned.row);
            if close.is_some_and(|row| row.kind == Kind::Close && self.left_unanswered(row)) {
                continue;
            }
            match ready!(self.read(cx)) {
                Ok(0) if !self.parted => return Poll::Ready(End::Lost(reason::SESSION_LOST)),
                Ok(_) => {}
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Takes rows for as long as one may be sent.
    fn take(&mut self, cx: &mut Context<'_>) -> Option<End> {
        loop {
            if self.out.len() - self.written > MAX_UNSENT {
                return None;
            }
            let job = match self.held.take() {
                Some(job) => job,
                None if self.ending => {
                    return self.flights.is_empty().then_some(End::Closed(None));
                }
                None => match self.queue.poll_recv(cx) {
                    Poll::Ready(Some(job)) => job,
                    Poll::Ready(None) => {
                        self.ending = true;
                        continue;
                    }
                    Poll::Pending => return None,
                },
            };
            match self.consider(job) {
                Taken::Done => {}
                Taken::Held(job) => {
                    self.held = Some(job);
                    return None;
                }
                Taken::Parted(job) => {
                    self.held = Some(job);
                    return Some(End::Parted);
                }
                Taken::End(job) => return Some(End::Closed(Some(job))),
            }
        }
    }

    fn consider(&mut self, job: Box<Job>) -> Taken {
        if let Some(reason) = job.planned.unsendable {
            self.worker.skip(job, reason);
            return Taken::Done;
        }
        let row = &job.planned.row;
        let waits = !self.flights.is_empty();
        match row.kind {
            Kind::Cancel => self.cancel(job),
            Kind::Request if waits && !row.request.pipelined => return Taken::Held(job),
            Kind::Request if self.skipping && transaction(row) != Transaction::Idle => {
                self.worker.skip(job, reason::TRANSACTION_FAILED);
            }
            Kind::Prepare if self.skipping => self.worker.skip(job, reason::TRANSACTION_FAILED),
            Kind::Request | Kind::Prepare if self.parted => return Taken::Parted(job),
            Kind::Request | Kind::Prepare => self.send(job),
            Kind::Close if waits && !self.left_unanswered(row) => return Taken::Held(job),
            Kind::Close => return Taken::End(job),
            Kind::Open => self.worker.skip(job, reason::UNSUPPORTED),
        }
        Taken::Done
    }

    /// Is all sent, and did the recorded client leave without waiting for what is under way?
    fn left_unanswered(&self, close: &Exchange) -> bool {
        let last = self.flights.back().map(|flight| &flight.job.planned.row);
        self.unsent == self.flights.len()
            && close.reason.as_deref() != Some("capture ended")
            && last.is_some_and(|last| {
                last.status == Status::Unanswered && !last.notes.contains(Notes::RESPONSE_GAP)
            })
    }

    fn send(&mut self, mut job: Box<Job>) {
        self.skipping = false;
        let length = self.out.len();
        if let Err(error) = self.driver.send(&job.planned.row, &mut self.out) {
            self.out.truncate(length);
            let reason = match error {
                DriverError::Unsupported(reason) => reason,
                _ => {
                    self.worker.complain(format!("not sent: {error}"));
                    reason::UNSUPPORTED
                }
            };
            self.worker.skip(job, reason);
            return;
        }
        let ready_at = if job.planned.row.request.pipelined {
            job.intended_at
        } else {
            job.intended_at.max(self.answered_at)
        };
        if job.planned.offset.is_none() {
            job.intended_at = ready_at;
        }
        self.flights.push_back(Flight {
            job,
            ready_at,
            sent_at: Timestamp::default(),
            last_byte_at: Timestamp::default(),
            start: self.appended_before + length as u64,
            end: self.appended_before + self.out.len() as u64,
        });
    }

    fn cancel(&self, job: Box<Job>) {
        match self.driver.cancel() {
            None => self.worker.skip(job, reason::NOTHING_TO_CANCEL),
            Some(bytes) => {
                let ready_at = self.worker.now().max(job.intended_at);
                let task = connect::cancel(Rc::clone(self.worker), job, bytes, ready_at);
                self.worker.spawn(task);
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.out.is_empty() {
            if self.unsent < self.flights.len() {
                self.mark_sent(self.worker.now());
            }
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let before = self.worker.now();
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.mark_sent(before);
        }
        self.appended_before += self.out.len() as u64;
        self.out.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Notes which requests the kernel took in a write that began at `before`.
    fn mark_sent(&mut self, before: Timestamp) {
        let now = self.worker.now();
        let reached = self.appended_before + self.written as u64;
        for flight in self.flights.range_mut(self.unsent..) {
            if flight.sent_at.0 == 0 && (flight.start < reached || flight.start == flight.end) {
                flight.sent_at = before;
                self.worker.sent();
            }
            if flight.end > reached {
                break;
            }
            flight.last_byte_at = now;
            self.unsent += 1;
        }
        self.expect_answer();
    }

    /// `Ok(0)`: the target closed the connection.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, End>> {
        let mut buffer = self.worker.read_buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
            return Poll::Ready(self.broken(&error).map_or(Ok(0), Err));
        }
        let at = self.worker.now();
        let mut events = std::mem::take(&mut self.events);
        let received = buffer.filled();
        let result = match received.len() {
            0 => self.driver.end(at, &mut events),
            _ => self
                .driver
                .receive(received, at, &mut self.out, &mut events),
        };
        let result = self.heed(&mut events).and(result);
        self.events = events;
        Poll::Ready(match result {
            Ok(()) => Ok(received.len()),
            Err(error) => {
                self.worker.complain(format!("session lost: {error}"));
                Err(End::Lost(reason::SESSION_LOST))
            }
        })
    }

    fn heed(&mut self, events: &mut Vec<DriverEvent>) -> Result<(), DriverError> {
        for event in events.drain(..) {
            match event {
                DriverEvent::Answered(response) if !self.flights.is_empty() => {
                    self.answered(response);
                }
                DriverEvent::Reconnect => self.part(),
                _ => {
                    let what = "an answer to nothing".to_owned();
                    return Err(DriverError::Violation { what, offset: 0 });
                }
            }
        }
        Ok(())
    }

    fn part(&mut self) {
        self.parted = true;
        self.lose_flights(reason::SESSION_LOST);
        self.out.clear();
        self.written = 0;
        self.expect_answer();
    }

    async fn reconnect(&mut self) -> Result<(), &'static str> {
        let connecting = connect::open(self.worker, &self.opening, self.driver.as_mut());
        let patience = self.worker.shared.connect_timeout;
        let connected = tokio::select! {
            biased;
            reason = self.watch.stopped() => return Err(reason),
            connected = tokio::time::timeout(patience, connecting) => connected,
        };
        match connected {
            Ok(Ok((stream, _))) => {
                self.stream = stream;
                self.parted = false;
                Ok(())
            }
            Ok(Err(failure)) => {
                self.worker.complain(failure.complaint);
                Err(failure.reason)
            }
            Err(_elapsed) => {
                self.worker.complain("connection timed out".to_owned());
                Err(reason::TIMED_OUT)
            }
        }
    }

    fn answered(&mut self, response: Response) {
        let Some(flight) = self.flights.pop_front() else {
            return;
        };
        self.unsent = self.unsent.saturating_sub(1);
        self.answered_at = response.last_byte_at;
        self.skipping |= transaction(&flight.job.planned.row) == Transaction::Open
            && response.transaction == Transaction::Failed;
        let outcome = Outcome {
            status: match response.error_code {
                Some(_) => Status::Error,
                None => Status::Ok,
            },
            reason: None,
            response: Some(response),
            ready_at: flight.ready_at,
            sent_at: flight.sent_at,
            last_byte_at: flight.last_byte_at,
        };
        self.worker.finish(flight.job, outcome);
        self.expect_answer();
    }

    /// Sets the time by which the oldest request under way must be answered.
    fn expect_answer(&self) {
        let deadline = match self.flights.front() {
            Some(flight) if flight.sent_at.0 != 0 => {
                let recorded = flight.job.planned.row.service_ns().unwrap_or(0);
                let patience = Duration::from_nanos(recorded).saturating_mul(PATIENCE);
                flight.sent_at + patience.max(self.worker.shared.request_timeout)
            }
            _ => NO_DEADLINE,
        };
        self.watch.deadline.set(deadline);
    }

    /// `None` where the session goes on over another connection.
    fn broken(&mut self, error: &std::io::Error) -> Option<End> {
        let mut events = Vec::new();
        let ended = self.driver.end(self.worker.now(), &mut events);
        if ended.and(self.heed(&mut events)).is_ok() && self.parted {
            return None;
        }
        self.worker.complain(format!("session lost: {error}"));
        Some(End::Lost(reason::SESSION_LOST))
    }

    fn lose_flights(&mut self, reason: &'static str) {
        for flight in std::mem::take(&mut self.flights) {
            if flight.sent_at.0 == 0 {
                self.worker.skip(flight.job, reason);
                continue;
            }
            let outcome = Outcome {
                status: Status::Unanswered,
                reason: Some(reason),
                response: None,
                ready_at: flight.ready_at,
                sent_at: flight.sent_at,
                last_byte_at: flight.last_byte_at,
            };
            self.worker.finish(flight.job, outcome);
        }
        self.unsent = 0;
    }

    /// Gives the reason for which rows that still come are skipped.
    async fn end(mut self, end: End) -> &'static str {
        let (reason, close) = match end {
            End::Closed(close) => (reason::LEFT, close),
            End::Lost(reason) => (reason, None),
            End::Parted => (reason::SESSION_LOST, None),
        };
        self.lose_flights(reason);
        self.worker.add_counts(self.driver.counts());
        let after = reason::after(reason);
        if let Some(job) = self.held.take() {
            self.worker.skip(job, after);
        }
        if reason != reason::LEFT {
            return after;
        }
        let sent_at = self.worker.now();
        self.out.clear();
        self.driver.goodbye(&mut self.out);
        let farewell = async {
            self.stream.write_all(&self.out).await?;
            self.stream.shutdown().await
        };
        // Nobody waits for what the target makes of it.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        if let Some(job) = close {
            let outcome = Outcome {
                status: Status::Ok,
                ready_at: job.intended_at.max(self.answered_at),
                sent_at,
                last_byte_at: sent_at,
                ..Outcome::default()
            };
            self.worker.finish(job, outcome);
        }
        reason::SESSION_LOST
    }
}

fn transaction(recorded: &Exchange) -> Transaction {
    let response = recorded.response.as_ref();
    response.map_or(Transaction::Unknown, |response| response.transaction)
}
