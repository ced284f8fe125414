//! The connection of a session: its own, others after it, or one of the shared.

use protocol::Again;

use super::{SENT_AGAIN, Session};
use crate::connect;
use crate::reason;

impl Session<'_> {
    /// For the next request. Where connections are shared, others may have waited for it for longer.
    pub(super) fn has_connection(&mut self) -> bool {
        if self.used {
            self.give_back_if_idle();
        }
        self.stream.is_some()
    }

    /// Does without its connection. Requests that are sent `again` are over the next.
    pub(super) fn part(&mut self, again: Again) {
        self.stream = None;
        self.loan = None;
        let perhaps = again == Again::IfServed && self.served;
        if perhaps {
            let under_way = self.queue.under_way() as u64;
            self.worker.add_count(SENT_AGAIN, under_way);
        }
        if perhaps || again == Again::Always {
            for job in self.queue.under_way_after(0) {
                if job.flight.is_begun() {
                    self.worker.unsent();
                }
            }
            self.queue.put_back();
            self.unsent = 0;
        }
        self.lose_flights(reason::SESSION_LOST);
        self.forget_out();
        self.deaf = false;
        self.expect_answer();
    }

    /// Lets another session have the connection, where they are shared.
    pub(super) fn give_back_if_idle(&mut self) {
        if self.queue.under_way() == 0
            && self.out.is_empty()
            && let Some(loan) = self.loan.take()
            && let Some(stream) = self.stream.take()
            && self.driver.rests()
        {
            loan.give_back(stream, self.answered_at.max(self.ready_at));
        }
    }

    /// A connection for the next request: one of the shared, or another one of its own.
    pub(super) async fn connect(&mut self) -> Result<(), &'static str> {
        self.used = false;
        if let Some(pool) = &self.worker.pool {
            let loan = tokio::select! {
                biased;
                reason = self.watch.stopped() => return Err(reason),
                loan = pool.lend() => loan,
            };
            let idle = loan.idle();
            self.loan = Some(loan);
            if let Some((stream, since)) = idle {
                self.stream = Some(stream);
                self.served = true;
                self.connected_at = since;
                return Ok(());
            }
        }
        let connecting = connect::open(self.worker, &self.opening, self.driver.as_mut());
        let patience = self.worker.shared.connect_timeout;
        let connected = tokio::select! {
            biased;
            reason = self.watch.stopped() => return Err(reason),
            connected = tokio::time::timeout(patience, connecting) => connected,
        };
        match connected {
            Ok(Ok((stream, response))) => {
                self.stream = Some(stream);
                self.served = false;
                self.connected_at = response.last_byte_at;
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
}
