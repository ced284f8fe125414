//! One recorded session, from its first row to its last.

use std::future::poll_fn;
use std::rc::Rc;

use protocol::Driver;
use recording::{Exchange, Kind, Response, Status, Timestamp};

use crate::connect::{self, Failure};
use crate::queue::Queue;
use crate::reason;
use crate::schedule::{Due, only_cancels};
use crate::session::Session;
use crate::stream::Stream;
use crate::worker::{Job, Outcome, Watch, Worker};

/// The stream is there where the session has one of its own.
type Opened = (Option<Stream>, Box<dyn Driver>, Response);

/// Takes the session's rows until no more come: each leaves as exactly one outcome.
pub(crate) async fn serve(worker: Rc<Worker>, mut queue: Queue) {
    let watch = worker.watch();
    let Some(opening) = queue.next().await else {
        return;
    };
    let session = opening.plan.queue;
    let mut opening = Box::new(opening);
    let lost = match stand_in_line(&worker, &mut opening, &watch).await {
        Err(reason) => {
            worker.skip(*opening, reason);
            reason
        }
        Ok(()) => {
            queue.begin();
            worker.shared.turns.begins(session, worker.now());
            begin(&worker, &mut queue, &watch, opening).await
        }
    };
    worker.shared.turns.ends(session);
    while let Some(job) = queue.next().await {
        let reason = match job.plan.unsendable {
            Some(reason) if lost != reason::OTHER_PROTOCOL => reason,
            _ => lost,
        };
        worker.skip(job, reason);
    }
}

/// Waits until the session may begin, where it has no time to begin at.
async fn stand_in_line(
    worker: &Worker,
    opening: &mut Job,
    watch: &Watch,
) -> Result<(), &'static str> {
    let Due::Asap { after } = opening.plan.due else {
        return Ok(());
    };
    let session = opening.plan.queue;
    watch.in_line.set(true);
    let came = tokio::select! {
        biased;
        reason = watch.stopped() => Err(reason),
        () = poll_fn(|cx| worker.shared.turns.poll(after, session, cx)) => Ok(()),
    };
    watch.in_line.set(false);
    opening.intended_at = worker.now();
    came
}

/// Gives the reason for which rows that still come are skipped.
async fn begin(
    worker: &Rc<Worker>,
    queue: &mut Queue,
    watch: &Rc<Watch>,
    mut job: Box<Job>,
) -> &'static str {
    let row = &job.row;
    if row.kind != Kind::Open {
        worker.skip(*job, reason::NOT_OPEN);
        return reason::NOT_OPEN;
    }
    let other = row
        .info
        .as_ref()
        .is_some_and(|info| *info.protocol != *worker.shared.target.protocol.name());
    let unsendable = job.plan.unsendable;
    if let Some(reason) = unsendable.or(other.then_some(reason::OTHER_PROTOCOL)) {
        worker.skip(*job, reason);
        return reason;
    }
    if only_cancels(row) {
        pass(worker, *job);
        return stand_by(worker, queue).await;
    }
    let sent_at = worker.now();
    let login = tokio::select! {
        biased;
        reason = watch.stopped() => {
            worker.skip(*job, reason);
            return reason;
        }
        login = tokio::time::timeout(worker.shared.connect_timeout, log_in(worker, row)) => login,
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
        Ok(Ok((stream, driver, response))) => {
            let opened_at = response.last_byte_at;
            let outcome = at(Status::Ok, None, Some(response));
            let opening = job.row.clone();
            worker.opened();
            worker.finish(&mut job, outcome);
            drop(job);
            let session = Session::new(worker, queue, watch, opening, driver, stream, opened_at);
            session.run().await
        }
        Ok(Err(failure)) => {
            let outcome = at(failure.status, Some(failure.reason), failure.response);
            worker.complain(failure.complaint);
            begin_without(worker, queue, watch, job, outcome).await
        }
        Err(_elapsed) => {
            let outcome = at(Status::Unanswered, Some(reason::TIMED_OUT), None);
            worker.complain("login timed out".to_owned());
            begin_without(worker, queue, watch, job, outcome).await
        }
    }
}

/// There is no connection. Where its requests may get one later, they tell what became of the session.
async fn begin_without(
    worker: &Rc<Worker>,
    queue: &mut Queue,
    watch: &Rc<Watch>,
    mut job: Box<Job>,
    failed: Outcome,
) -> &'static str {
    let reason = failed.reason.unwrap_or(reason::SESSION_LOST);
    let opening = job.row.clone();
    let driver = driver(worker, &opening);
    let now = worker.now();
    let mut session = Session::new(worker, queue, watch, opening, driver, None, now);
    if !session.survives(reason) {
        worker.finish(&mut job, failed);
        return reason::after(reason);
    }
    let outcome = Outcome {
        status: Status::Ok,
        reason: None,
        response: Some(nothing(now)),
        ..failed
    };
    worker.opened();
    worker.finish(&mut job, outcome);
    drop(job);
    session.run().await
}

/// The answer to an opening that asked for nothing.
fn nothing(at: Timestamp) -> Response {
    Response {
        first_byte_at: at,
        last_byte_at: at,
        ..Response::default()
    }
}

/// A driver that has no connection.
fn driver(worker: &Worker, opening: &Exchange) -> Box<dyn Driver> {
    let shared = &worker.shared;
    let login = shared
        .target
        .login_for(opening.info.as_deref(), shared.tls.is_some());
    shared.target.protocol.driver(login, shared.limits)
}

async fn log_in(worker: &Worker, opening: &Exchange) -> Result<Opened, Failure> {
    if worker.pool.is_none() {
        let connection = connect::connect(worker, opening).await?;
        return Ok((
            Some(connection.stream),
            connection.driver,
            connection.response,
        ));
    }
    let driver = driver(worker, opening);
    Ok((None, driver, nothing(worker.now())))
}

/// The rows of a connection that only cancels, but for the cancel: nothing is to be sent for them.
async fn stand_by(worker: &Worker, queue: &mut Queue) -> &'static str {
    while let Some(job) = queue.next().await {
        match job.plan.unsendable {
            Some(reason) => worker.skip(job, reason),
            None => pass(worker, job),
        }
    }
    reason::SESSION_LOST
}

fn pass(worker: &Worker, mut job: Job) {
    let at = job.intended_at;
    let outcome = Outcome {
        status: Status::Ok,
        ready_at: at,
        sent_at: at,
        last_byte_at: at,
        ..Outcome::default()
    };
    worker.finish(&mut job, outcome);
}
