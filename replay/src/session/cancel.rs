//! A cancel: sent as long after the request that it is meant for as when recorded, and only while that is under
//! way.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use recording::{Status, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Session;
use crate::connect;
use crate::reason;
use crate::worker::{Job, Outcome, Worker};

/// What a target says to a cancel, which is nothing as a rule.
const MAX_ANSWER: u64 = 4 << 10;

/// On its way. The session takes no row until it is over: it could hit what is sent next.
pub(super) struct Cancel {
    /// Gone when nothing is under way any more that it could be meant for.
    wanted: Option<oneshot::Sender<()>>,
    /// Closed when it is over.
    over: oneshot::Receiver<()>,
}

impl Session<'_> {
    pub(super) fn is_cancelling(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(cancel) = &mut self.cancel else {
            return false;
        };
        if self.queue.under_way() == 0 {
            cancel.wanted = None;
        }
        if Pin::new(&mut cancel.over).poll(cx).is_pending() {
            return true;
        }
        self.cancel = None;
        false
    }

    /// Meant for what was sent last. How long its client waited does not shrink with a faster pace; with a
    /// slower one the row comes later than that.
    pub(super) fn cancel(&mut self, job: Job) {
        let bytes = self.driver.cancel();
        let (Some(newest), Some(bytes)) = (self.queue.newest(), bytes) else {
            self.worker.skip(job, reason::NOTHING_TO_CANCEL);
            return;
        };
        let waited = job.row.started_at.since(newest.row.started_at);
        let due_at = newest.flight.sent_at + Duration::from_nanos(waited);
        let (wanted, unwanted) = oneshot::channel();
        let (ends, over) = oneshot::channel();
        let worker = Rc::clone(self.worker);
        self.worker.spawn(async move {
            send(&worker, job, &bytes, due_at, unwanted).await;
            drop::<oneshot::Sender<()>>(ends);
        });
        let wanted = Some(wanted);
        self.cancel = Some(Cancel { wanted, over });
    }
}

/// Sends `bytes` on a connection of its own and waits until the target closes it: it has done by then what it
/// was asked for.
async fn send(
    worker: &Worker,
    mut job: Job,
    bytes: &[u8],
    due_at: Timestamp,
    unwanted: oneshot::Receiver<()>,
) {
    let ready_at = due_at.max(job.intended_at);
    let connected = tokio::select! {
        biased;
        _ = unwanted => Err(reason::NOTHING_TO_CANCEL),
        connected = connect_at(worker, ready_at) => connected,
    };
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(reason) => return worker.skip(job, reason),
    };
    let sent_at = worker.now();
    let sending = async {
        let sent = stream.write_all(bytes).await;
        sent.map_err(|_| reason::SESSION_LOST)?;
        // A reset is an end too.
        let _ = stream.take(MAX_ANSWER).read_to_end(&mut Vec::new()).await;
        Ok(())
    };
    let ended = timeout(worker.shared.connect_timeout, sending).await;
    let result = ended.unwrap_or(Err(reason::TIMED_OUT));
    let outcome = Outcome {
        status: result.map_or(Status::Unanswered, |()| Status::Ok),
        reason: result.err(),
        response: None,
        ready_at,
        sent_at,
        last_byte_at: sent_at,
    };
    worker.finish(&mut job, outcome);
}

async fn connect_at(worker: &Worker, at: Timestamp) -> Result<TcpStream, &'static str> {
    tokio::time::sleep(Duration::from_nanos(at.since(worker.now()))).await;
    let connected = timeout(worker.shared.connect_timeout, connect::tcp(worker)).await;
    let connected = connected.map_err(|_elapsed| reason::TIMED_OUT)?;
    connected.map_err(|failure| failure.reason)
}
