//! A session that stands: its requests to the target, and its answers to outcomes.

mod cancel;
mod connection;
mod ending;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use protocol::{BROKEN_OFF, Driver, DriverError, DriverEvent};
use recording::{Exchange, Kind, Notes, Response, Status, Timestamp, Transaction};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use self::cancel::Cancel;
use crate::lesson;
use crate::pool::Loan;
use crate::queue::Queue;
use crate::reason;
use crate::schedule::Due;
use crate::stream::Stream;
use crate::worker::{Flight, Job, NO_DEADLINE, Outcome, Watch, Worker};

/// No further request is taken while more than this waits for the target to read it.
const MAX_UNSENT: usize = 256 << 10;
/// For the run's notes.
const INSISTED: &str = "bodies sent without waiting for 100 Continue any longer";
pub(super) const SENT_AGAIN: &str =
    "requests sent again, for the target had closed a connection that served before";
const ROLLED_BACK: &str = "transactions rolled back, for what had failed in them was not sent";
/// How long the target may take to ask for what is held back for it, say a body after `Expect:
/// 100-continue`: a client need not wait for ever (RFC 9110, section 10.1.1).
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// A connection that served less than that ago is not looked at before it is used: a busy one costs nothing.
const LONG_IDLE: Duration = Duration::from_millis(10);
/// How long it may take to answer what the recorded client broke off when it was answered: a target that does not may
/// wait for the rest for ever.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// A request may take this many times its recorded time, where that is longer than the time-out.
const PATIENCE: u32 = 10;

/// ```text
///  queue -> (until the answer before is there) -> out, under way (in order) -> outcomes
/// ```
pub(crate) struct Session<'a> {
    opening: Exchange,
    worker: &'a Rc<Worker>,
    queue: &'a mut Queue,
    watch: &'a Watch,
    driver: Box<dyn Driver>,
    /// `None` where the next request needs another one.
    stream: Option<Stream>,
    /// Where connections are shared.
    loan: Option<Loan<'a>>,
    /// A request was sent over the connection since it was lent.
    used: bool,
    /// A request was answered over the connection, by whomever it was sent.
    served: bool,
    /// Something came over it in this very turn.
    just_read: bool,
    /// Index among the requests under way of the first whose bytes are not all with the kernel.
    unsent: usize,
    out: Vec<u8>,
    written: usize,
    /// The target takes no more.
    deaf: bool,
    /// Bytes that were in `out` before and are gone.
    appended_before: u64,
    answered_at: Timestamp,
    /// When the last request could be sent: the next one can't before.
    ready_at: Timestamp,
    /// When the connection stood, or became free.
    connected_at: Timestamp,
    /// The transaction failed here and not when recorded: pass over the rest of it.
    skipping: bool,
    /// The transaction failed when recorded, by a request that can't be sent: it must not be committed here.
    /// What was answered in it after that is passed over.
    failed: bool,
    /// When the target first failed it, of what it was not answered since.
    failing_since: Option<Timestamp>,
    cancel: Option<Cancel>,
    events: Vec<DriverEvent>,
}

/// Why a conversation is over.
enum End {
    /// As recorded, by the row that comes next, or where the recording ends.
    Closed,
    Lost(&'static str),
    /// It goes on over another connection.
    Parted,
}

/// What is to be done with a row.
enum Fate {
    Send,
    Cancel,
    Skip(&'static str),
    End,
}

impl<'a> Session<'a> {
    /// Without a `stream` the first request gets one.
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        queue: &'a mut Queue,
        watch: &'a Watch,
        opening: Exchange,
        driver: Box<dyn Driver>,
        stream: Option<Stream>,
        opened_at: Timestamp,
    ) -> Session<'a> {
        Session {
            opening,
            worker,
            queue,
            watch,
            driver,
            stream,
            loan: None,
            used: false,
            served: false,
            just_read: false,
            unsent: 0,
            out: Vec::new(),
            written: 0,
            deaf: false,
            appended_before: 0,
            answered_at: opened_at,
            ready_at: opened_at,
            connected_at: opened_at,
            skipping: false,
            failed: false,
            failing_since: None,
            cancel: None,
            events: Vec::new(),
        }
    }

    /// Gives the reason for which rows that still come are skipped.
    pub(crate) async fn run(mut self) -> &'static str {
        let end = loop {
            match poll_fn(|cx| self.poll(cx)).await {
                End::Parted => match self.connect().await {
                    Ok(()) => {}
                    Err(reason) if self.survives(reason) => self.do_without(reason).await,
                    Err(reason) => break End::Lost(reason),
                },
                End::Lost(reason) if self.survives(reason) => {}
                end => break end,
            }
        };
        self.end(end).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.just_read = false;
        loop {
            if let Poll::Ready(reason) = self.watch.poll_stopped(cx) {
                return Poll::Ready(End::Lost(reason));
            }
            // The watch hears of it at the next tick, and what was awaited may come before.
            if self.worker.shared.stop.load(Ordering::Relaxed) {
                return Poll::Ready(End::Lost(reason::INTERRUPTED));
            }
            if let Some(end) = self.take(cx) {
                return Poll::Ready(end);
            }
            self.insist_if_due();
            self.give_back_if_idle();
            if self.stream.is_none() {
                return Poll::Pending;
            }
            let full = self.is_full();
            match self.write(cx) {
                // It may have answered before it went; reading tells how it went.
                Poll::Ready(Err(_)) => {
                    self.deaf = true;
                    self.forget_out();
                }
                // Rows were left that may be taken now.
                Poll::Ready(Ok(())) if full => continue,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            let next = self.queue.peek().map(|job| &job.row);
            if self.may_take() && next.is_some_and(|next| self.waited_for_sending(next)) {
                continue;
            }
            match ready!(self.read(cx)) {
                Ok(0) if self.stream.is_some() => {
                    let why = "session lost: the target closed the connection";
                    self.worker.complain(why.to_owned());
                    return Poll::Ready(End::Lost(reason::SESSION_LOST));
                }
                Ok(_) => self.just_read = true,
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Takes rows for as long as one may be sent.
    fn take(&mut self, cx: &mut Context<'_>) -> Option<End> {
        while !self.is_cancelling(cx) && self.may_take() {
            match self.queue.poll_ready(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    return (self.queue.under_way() == 0).then_some(End::Closed);
                }
                Poll::Pending => return None,
            }
            let fate = self.fate(self.queue.peek()?, cx)?;
            match fate {
                Fate::End => return Some(End::Closed),
                Fate::Send if !self.has_connection() => return Some(End::Parted),
                Fate::Send if self.has_news() => {
                    cx.waker().wake_by_ref();
                    return None;
                }
                Fate::Send => self.send()?,
                Fate::Cancel => {
                    let job = self.queue.take()?;
                    self.cancel(job);
                }
                Fate::Skip(reason) => {
                    let job = self.queue.take()?;
                    self.failed |= transaction(&job.row) == Transaction::Failed;
                    self.driver.pass_over(&job.row);
                    self.worker.skip(job, reason);
                }
            }
        }
        None
    }

    /// Is there something to be read first? A target may have closed a connection that was idle.
    fn has_news(&self) -> bool {
        let idle_since = match self.used {
            true => self.answered_at,
            false => self.connected_at,
        };
        !self.just_read
            && self.queue.under_way() == 0
            && self.worker.now().since(idle_since) > LONG_IDLE.as_nanos() as u64
            && self.stream.as_ref().is_some_and(Stream::has_news)
    }

    fn may_take(&self) -> bool {
        !self.deaf && !self.is_full() && self.cancel.is_none()
    }

    fn is_full(&self) -> bool {
        self.out.len() - self.written > MAX_UNSENT
    }

    /// `None` where the row must wait.
    fn fate(&self, job: &Job, cx: &Context<'_>) -> Option<Fate> {
        let row = &job.row;
        let waits = self.queue.under_way() > 0;
        if row.kind == Kind::Request && waits && !row.request.pipelined {
            return None;
        }
        if let Some(reason) = job.plan.unsendable {
            return Some(Fate::Skip(reason));
        }
        Some(match row.kind {
            Kind::Open => Fate::Skip(reason::UNSUPPORTED),
            Kind::Cancel if waits && !self.is_begun() => return None,
            Kind::Cancel => Fate::Cancel,
            Kind::Close if waits && !self.left_unanswered(row) => return None,
            Kind::Close => Fate::End,
            Kind::Request if self.skipping && transaction(row) != Transaction::Idle => {
                Fate::Skip(reason::TRANSACTION_FAILED)
            }
            Kind::Request if self.failed && transaction(row) == Transaction::Failed => {
                Fate::Skip(reason::TRANSACTION_FAILED)
            }
            Kind::Prepare if self.skipping => Fate::Skip(reason::TRANSACTION_FAILED),
            Kind::Request | Kind::Prepare if self.must_learn(job, cx) => return None,
            Kind::Request | Kind::Prepare => Fate::Send,
        })
    }

    fn insist_if_due(&mut self) {
        let due_at = self.watch.wake_at.get();
        if due_at != NO_DEADLINE && self.driver.holds() && self.worker.now() > due_at {
            self.watch.wake_at.set(NO_DEADLINE);
            self.driver.insist(&mut self.out);
            self.worker.add_count(INSISTED, 1);
        }
    }

    /// Is there something that the request needs and that may still be learnt?
    fn must_learn(&self, job: &Job, cx: &Context<'_>) -> bool {
        let needs = &job.plan.needs;
        if needs.iter().all(|need| need.lesson.poll(cx).is_ready()) {
            return false;
        }
        let now = self.worker.now();
        if self.watch.wake_at.get() == NO_DEADLINE {
            let patience = self.worker.shared.request_timeout;
            self.watch.wake_at.set(now + patience);
            self.worker.add_count(lesson::WAITED, 1);
        }
        now <= self.watch.wake_at.get()
    }

    /// Is all sent, and did the recorded client leave without waiting for what is under way?
    fn left_unanswered(&self, close: &Exchange) -> bool {
        let under_way = self.queue.under_way();
        under_way > 0
            && self.unsent == under_way
            && close.reason.as_deref() != Some("capture ended")
            && self.queue.rows_under_way().all(|row| {
                row.status == Status::Unanswered && !row.notes.contains(Notes::RESPONSE_GAP)
            })
    }

    /// Is something of the last request sent?
    fn is_begun(&self) -> bool {
        let last = self.queue.newest();
        last.is_some_and(|job| job.flight.is_begun())
    }

    /// Did the row that comes next wait for that alone?
    fn waited_for_sending(&self, next: &Exchange) -> bool {
        match next.kind {
            Kind::Cancel => self.is_begun(),
            Kind::Close => self.left_unanswered(next),
            _ => false,
        }
    }

    /// `None` where no row is there.
    fn send(&mut self) -> Option<()> {
        self.skipping = false;
        self.watch.wake_at.set(NO_DEADLINE);
        self.used = true;
        let length = self.out.len();
        let job = self.queue.start()?;
        let after = transaction(&job.row);
        let rolls_back = self.failed && after == Transaction::Idle;
        self.failed &= after == Transaction::Unknown;
        let sent = match rolls_back {
            true => {
                self.worker.add_count(ROLLED_BACK, 1);
                self.driver.roll_back(&job.row, &mut self.out)
            }
            false => self.driver.send(&job.row, &mut self.out),
        };
        if let Err(error) = sent {
            self.failed |= after == Transaction::Failed;
            self.out.truncate(length);
            let reason = match error {
                DriverError::Unsupported(reason) => reason,
                _ => {
                    self.worker.complain(format!("not sent: {error}"));
                    reason::UNSUPPORTED
                }
            };
            let job = self.queue.take_newest()?;
            self.driver.pass_over(&job.row);
            self.worker.skip(job, reason);
            return Some(());
        }
        let mut ready_at = job.intended_at.max(self.ready_at);
        if !job.row.request.pipelined {
            ready_at = ready_at.max(self.answered_at);
        }
        for need in &job.plan.needs {
            let over_at = need.lesson.over_at();
            ready_at = ready_at.max(over_at.unwrap_or_else(|| self.worker.now()));
            if let Some(why) = need.unmet(&self.worker.shared.target.login.learnt) {
                self.worker.add_count(why, 1);
            }
        }
        if self.loan.is_some() {
            self.worker
                .waited_for_connection(self.connected_at.since(ready_at));
        }
        ready_at = ready_at.max(self.connected_at);
        if matches!(job.plan.due, Due::Asap { .. }) {
            job.intended_at = ready_at;
        }
        if self.driver.holds() {
            let asked_by = self.worker.now() + ASKED_WITHIN;
            self.watch.wake_at.set(asked_by);
        }
        job.flight = Flight {
            ready_at,
            start: self.appended_before + length as u64,
            end: self.appended_before + self.out.len() as u64,
            ..Flight::default()
        };
        self.ready_at = ready_at;
        Some(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.out.is_empty() {
            if self.unsent < self.queue.under_way() && !self.deaf {
                self.mark_sent(self.worker.now());
            }
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let Some(stream) = &mut self.stream else {
                return Poll::Pending;
            };
            let at = self.worker.now();
            let Poll::Ready(written) = Pin::new(stream).poll_write(cx, rest) else {
                self.expect_answer();
                return Poll::Pending;
            };
            let written = written?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.mark_sent(at);
        }
        self.forget_out();
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Pending,
        }
    }

    fn forget_out(&mut self) {
        self.appended_before += self.out.len() as u64;
        self.out.clear();
        // A large request is not what the next ones will be.
        self.out.shrink_to(MAX_UNSENT);
        self.written = 0;
    }

    /// Notes which requests the kernel took in a write that began at `at`.
    fn mark_sent(&mut self, at: Timestamp) {
        let reached = self.appended_before + self.written as u64;
        for job in self.queue.under_way_after(self.unsent) {
            let flight = &mut job.flight;
            if !flight.is_begun() && (flight.start < reached || flight.start == flight.end) {
                flight.sent_at = at;
                self.worker.sent();
            }
            if flight.end > reached {
                break;
            }
            flight.last_byte_at = at;
            self.unsent += 1;
        }
        self.expect_answer();
    }

    /// `Ok(0)`: the target closed the connection.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, End>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        let mut buffer = self.worker.read_buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        if let Err(error) = ready!(Pin::new(stream).poll_read(cx, &mut buffer)) {
            return Poll::Ready(self.broken(&error).map_or(Ok(0), Err));
        }
        let at = self.worker.now();
        let mut events = std::mem::take(&mut self.events);
        let received = buffer.filled();
        let result = match received.len() {
            0 => self.driver.end(true, at, &mut events),
            _ => self
                .driver
                .receive(received, at, &mut self.out, &mut events),
        };
        let result = self.heed(&mut events, at).and(result);
        self.events = events;
        Poll::Ready(match result {
            Ok(()) => Ok(received.len()),
            Err(error) => {
                self.worker.complain(format!("session lost: {error}"));
                Err(End::Lost(reason::SESSION_LOST))
            }
        })
    }

    fn heed(&mut self, events: &mut Vec<DriverEvent>, at: Timestamp) -> Result<(), DriverError> {
        for event in events.drain(..) {
            match event {
                DriverEvent::Answered(response) if self.queue.under_way() > 0 => {
                    self.answered(response);
                }
                DriverEvent::Unanswered(reason) => self.unanswered(reason, at),
                DriverEvent::Learnt => {
                    let asked = self.queue.oldest();
                    if let Some(lesson) = asked.and_then(|job| job.plan.lesson.as_ref()) {
                        lesson.end(at);
                    }
                }
                DriverEvent::Reconnect { again } => self.part(again),
                _ => {
                    let what = "an answer to nothing".to_owned();
                    return Err(DriverError::Violation { what, offset: 0 });
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, response: Response) {
        let Some(job) = self.queue.oldest() else {
            return;
        };
        self.failing_since = None;
        self.served = true;
        self.unsent = self.unsent.saturating_sub(1);
        self.answered_at = response.last_byte_at;
        self.skipping |= transaction(&job.row) == Transaction::Open
            && response.transaction == Transaction::Failed;
        let outcome = Outcome {
            status: match response.error_code {
                Some(_) => Status::Error,
                None => Status::Ok,
            },
            reason: None,
            response: Some(response),
            ready_at: job.flight.ready_at,
            sent_at: job.flight.sent_at,
            // The answer may come before all was sent.
            last_byte_at: job.flight.last_byte_at.max(job.flight.sent_at),
        };
        self.worker.finish(job, outcome);
        self.queue.end_oldest();
        if self.queue.under_way() == 0 {
            self.watch.wake_at.set(NO_DEADLINE);
        }
        self.expect_answer();
    }

    /// The target has seen to the oldest request under way at `at`, and gives no answer to it.
    fn unanswered(&mut self, reason: &'static str, at: Timestamp) {
        self.failing_since = None;
        self.answered_at = at;
        self.lose_oldest(reason, None);
    }

    /// Sets the time by which the oldest request under way must be answered. A target that answered early may not
    /// read the rest of what it answered, and nothing can be sent behind that: the same time holds.
    fn expect_answer(&mut self) {
        let deadline = match self.queue.oldest() {
            Some(job) => {
                let recorded = job.row.service_ns().unwrap_or(0);
                let patience = Duration::from_nanos(recorded).saturating_mul(PATIENCE);
                let mut timeout = self.worker.shared.request_timeout;
                if job.row.reason.as_deref() == Some(BROKEN_OFF) {
                    timeout = timeout.min(ANSWERED_WITHIN);
                }
                let since = job.flight.sent_at.max(job.flight.ready_at);
                since + patience.max(timeout)
            }
            None if self.written < self.out.len() => {
                self.answered_at + self.worker.shared.request_timeout
            }
            None => NO_DEADLINE,
        };
        self.watch.deadline.set(deadline);
    }
}

fn transaction(recorded: &Exchange) -> Transaction {
    let response = recorded.response.as_ref();
    response.map_or(Transaction::Unknown, |response| response.transaction)
}
