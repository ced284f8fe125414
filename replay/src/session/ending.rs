//! How a session ends: as recorded, or because it was lost.

use std::time::Duration;

use protocol::{Again, DriverEvent};
use recording::{Response, Status};
use tokio::io::AsyncWriteExt as _;

use super::{End, Session};
use crate::reason;
use crate::worker::Outcome;

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Before the next attempt, where the target takes no connections.
const PAUSE: Duration = Duration::from_millis(100);

impl Session<'_> {
    /// `None` where the session goes on over another connection.
    pub(super) fn broken(&mut self, error: &std::io::Error) -> Option<End> {
        let mut events = Vec::new();
        let at = self.worker.now();
        let ended = self.driver.end(false, at, &mut events);
        if ended.and(self.heed(&mut events, at)).is_ok() && self.stream.is_none() {
            return None;
        }
        self.worker.complain(format!("session lost: {error}"));
        Some(End::Lost(reason::SESSION_LOST))
    }

    /// Does it go on, without the connection and what was under way on it? Where its driver can, until the
    /// target has failed it for as long as connecting may take.
    pub(crate) fn survives(&mut self, reason: &'static str) -> bool {
        let passes = [
            reason::CONNECT_FAILED,
            reason::SESSION_LOST,
            reason::TIMED_OUT,
        ];
        if !passes.contains(&reason) || self.worker.over().is_some() {
            return false;
        }
        let now = self.worker.now();
        let failing_since = *self.failing_since.get_or_insert(now);
        let patience = self.worker.shared.connect_timeout;
        if now.since(failing_since) > patience.as_nanos() as u64 {
            return false;
        }
        let mut events = Vec::new();
        let ended = self.driver.end(false, now, &mut events);
        let goes_on = |event| matches!(event, &DriverEvent::Reconnect { .. });
        if ended.is_err() || !events.iter().any(goes_on) {
            return false;
        }
        self.lose_flights(reason);
        self.part(Again::Never);
        self.watch.forgive();
        true
    }

    /// Passes over the next request, for which there was no connection.
    pub(super) async fn do_without(&mut self, reason: &'static str) {
        if let Some(job) = self.queue.take() {
            self.worker.skip(job, reason);
        }
        tokio::select! {
            _ = self.watch.stopped() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }

    pub(super) fn lose_flights(&mut self, reason: &'static str) {
        let mut came = match reason {
            reason::LEFT => self.driver.leave(),
            _ => None,
        };
        while self.queue.under_way() > 0 {
            self.lose_oldest(reason, came.take());
        }
        self.unsent = 0;
    }

    /// `came` is the beginning of its response.
    pub(super) fn lose_oldest(&mut self, reason: &'static str, came: Option<Response>) {
        let Some(job) = self.queue.oldest() else {
            return;
        };
        let outcome = match job.flight.is_begun() {
            true => Outcome {
                status: Status::Unanswered,
                reason: Some(reason),
                response: came,
                ready_at: job.flight.ready_at,
                sent_at: job.flight.sent_at,
                last_byte_at: job.flight.last_byte_at,
            },
            false => Outcome::skipped(reason),
        };
        self.worker.finish(job, outcome);
        self.queue.end_oldest();
        self.unsent = self.unsent.saturating_sub(1);
    }

    /// Gives the reason for which rows that still come are skipped.
    pub(super) async fn end(mut self, end: End) -> &'static str {
        let reason = match end {
            End::Closed => reason::LEFT,
            End::Lost(reason) => reason,
            End::Parted => reason::SESSION_LOST,
        };
        self.give_back_if_idle();
        self.lose_flights(reason);
        for (name, count) in self.driver.counts() {
            self.worker.add_count(name, count);
        }
        if reason != reason::LEFT {
            return reason::after(reason);
        }
        let sent_at = self.worker.now();
        self.out.clear();
        self.driver.goodbye(&mut self.out);
        if let Some(mut stream) = self.stream.take() {
            let logged_in = self.worker.shared.target.protocol.logs_in();
            let farewell = async {
                stream.write_all(&self.out).await?;
                stream.shutdown().await?;
                // The target may have room for the next session only when this one is gone there too.
                if logged_in {
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                }
                std::io::Result::Ok(())
            };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        if let Some(mut job) = self.queue.take() {
            let outcome = Outcome {
                status: Status::Ok,
                ready_at: job.intended_at.max(self.answered_at),
                sent_at,
                last_byte_at: sent_at,
                ..Outcome::default()
            };
            self.worker.finish(&mut job, outcome);
        }
        reason::SESSION_LOST
    }
}
