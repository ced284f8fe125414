//! The server's side of a decoder, and whose response is whose.

use recording::{Exchange, Notes, Status, Timestamp};

use super::{
    BEFORE_CAPTURE, Client, HttpDecoder, NOT_HTTP, PAIRING_LOST, Pairing, REQUEST_INCOMPLETE,
    Server, UNASKED, UnderWay,
};
use crate::Side;
use crate::http::body::{Asked, Skip};
use crate::http::head::Fault;
use crate::http::reply::{NO_STATUS_LINE, Progress, Reply};
use crate::http::seek::Seek;

const RESPONSE_LOST: &str = "response lost in a gap";

impl HttpDecoder {
    fn server_step(&mut self, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) -> usize {
        match &mut self.server {
            Server::Seeking(seek) => {
                if let Some((held, since)) = seek.take(Side::Server, bytes, at) {
                    self.server = Server::Between;
                    self.server_bytes(&held, since, out);
                    self.server_bytes(bytes, at, out);
                }
                bytes.len()
            }
            Server::Between => {
                self.expect_response(at, out);
                0
            }
            Server::Reply(reply) => match reply.feed(bytes, at) {
                Ok((used, Progress::Done)) => {
                    self.end_response(out);
                    used
                }
                Ok((used, progress)) => {
                    if let Some(oldest) = self.under_way.front_mut() {
                        oldest.continued |= progress == Progress::Interim(100);
                    }
                    used
                }
                Err(fault) => {
                    self.bad_response(fault, out);
                    bytes.len()
                }
            },
            Server::Stray(reply) => match reply.feed(bytes, at) {
                Ok((used, Progress::Done)) => {
                    self.end_stray(out);
                    used
                }
                Ok((_, _)) if reply.head().is_some() && self.is_lost() => {
                    self.end_stray(out);
                    self.server = Server::Seeking(Seek::default());
                    bytes.len()
                }
                Ok((used, _)) => used,
                Err(fault) => {
                    self.bad_response(fault, out);
                    bytes.len()
                }
            },
        }
    }

    pub(super) fn server_bytes(&mut self, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) {
        let mut rest = bytes;
        while !rest.is_empty() && self.opaque.is_none() && self.rejected.is_none() {
            let used = self.server_step(rest, at, out);
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self.pairing, Pairing::Lost(_))
    }

    /// A response begins: whose is it?
    fn expect_response(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.under_way.is_empty()
            && !self.is_lost()
            && let Client::Head {
                buffer, at: began, ..
            } = &mut self.client
        {
            let (head, began) = (std::mem::take(buffer), *began);
            self.bad_request(head.bytes(), REQUEST_INCOMPLETE, began, at, out);
            if let Some(cut) = self.under_way.back_mut() {
                cut.exchange.notes.add(Notes::REQUEST_GAP);
            }
        }
        let (cap, known) = (self.limits.body, self.known.take());
        self.server = match self.under_way.front() {
            Some(oldest) if !oldest.answered && oldest.doomed.is_none() => {
                Server::Reply(Reply::new(oldest.asked, cap, known))
            }
            _ => {
                // A client that waits has one response a request.
                if self.pairing == (Pairing::Found { waits: true }) {
                    self.pipelines = true;
                    self.lose_pairing(PAIRING_LOST);
                }
                Server::Stray(Reply::new(Asked::Other, cap, known))
            }
        };
    }

    /// From here on it is not known whose response a response is. Those of requests under way are not
    /// meant: see [`HttpDecoder::doom`].
    pub(super) fn lose_pairing(&mut self, reason: &'static str) {
        if !self.is_lost() {
            self.pairing = Pairing::Lost(reason);
        }
    }

    /// No response is known to be of a request under way.
    pub(super) fn doom(&mut self, reason: &'static str, out: &mut Vec<Exchange>) {
        for request in &mut self.under_way {
            request.doomed.get_or_insert(reason);
        }
        if let Server::Reply(_) = self.server
            && let Some(reply) = self.take_reply()
        {
            self.server = Server::Stray(reply);
        }
        self.give_settled(out);
        self.release(Client::Seeking(Seek::default()), out);
    }

    fn take_reply(&mut self) -> Option<Reply> {
        match std::mem::replace(&mut self.server, Server::Between) {
            Server::Reply(reply) | Server::Stray(reply) => Some(reply),
            Server::Between | Server::Seeking(_) => None,
        }
    }

    fn end_response(&mut self, out: &mut Vec<Exchange>) {
        let Some(reply) = self.take_reply() else {
            return;
        };
        let status = reply.head().map_or(0, |head| head.status);
        self.answer_oldest(reply);
        if let Some(next) = self.under_way.get_mut(1) {
            next.exchange.request.pipelined = true;
        }
        let Some(oldest) = self.under_way.front() else {
            return;
        };
        let tunnel = oldest.tunnel;
        let opened = match oldest.asked {
            Asked::Connect => (200..300).contains(&status),
            _ => status == 101,
        };
        self.give_settled(out);
        if opened {
            self.leave(tunnel.unwrap_or("upgrade"), out);
        } else if tunnel.is_some() {
            self.release(Client::Between, out);
        }
    }

    fn answer_oldest(&mut self, reply: Reply) {
        let Some(oldest) = self.under_way.front_mut() else {
            return;
        };
        oldest.answered = true;
        let exchange = &mut oldest.exchange;
        if reply.has_gap() {
            exchange.notes.add(Notes::RESPONSE_GAP);
        }
        if let Some(head) = reply.head().map(|head| &head.head)
            && let Some(flaw) = head.flaw
        {
            if head.is_violation() {
                exchange.notes.add(Notes::VIOLATION);
            }
            exchange.reason.get_or_insert_with(|| flaw.into());
        }
        let (status, response, known) = reply.finish();
        self.known = known;
        self.response_bytes += response.body.len();
        exchange.status = status;
        exchange.response = Some(response);
    }

    /// The oldest request under way gets no more of its response.
    fn cut_response(
        &mut self,
        reply: Reply,
        note: Notes,
        reason: &'static str,
        out: &mut Vec<Exchange>,
    ) {
        self.answer_oldest(reply);
        if let Some(oldest) = self.under_way.front_mut() {
            oldest.exchange.status = Status::Unanswered;
            oldest.exchange.reason.get_or_insert_with(|| reason.into());
            oldest.exchange.notes.add(note);
        }
        self.give_settled(out);
    }

    /// The oldest request under way gets no response.
    pub(super) fn leave_oldest(&mut self, reason: &'static str, out: &mut Vec<Exchange>) {
        if let Some(oldest) = self.under_way.front_mut() {
            oldest.exchange.reason.get_or_insert_with(|| reason.into());
            oldest.exchange.status = Status::Unanswered;
        }
        self.give_oldest(out);
    }

    pub(super) fn lose_response(&mut self, reason: &'static str, out: &mut Vec<Exchange>) {
        if let Some(oldest) = self.under_way.front_mut() {
            oldest.exchange.notes.add(Notes::RESPONSE_GAP);
        }
        self.leave_oldest(reason, out);
    }

    pub(super) fn end_stray(&mut self, out: &mut Vec<Exchange>) {
        let Some(reply) = self.take_reply() else {
            return;
        };
        let (status, response, known) = reply.finish();
        self.known = known;
        let mut exchange = UnderWay::new(Asked::Other, response.first_byte_at).exchange;
        exchange.status = status;
        let reason = match self.pairing {
            Pairing::Lost(reason) => reason,
            Pairing::Sure | Pairing::Found { .. } => UNASKED,
        };
        if self.is_lost() && reason != BEFORE_CAPTURE {
            exchange.notes.add(Notes::REQUEST_GAP);
        }
        exchange.reason = Some(reason.into());
        exchange.response = Some(response);
        self.give(exchange, out);
    }

    fn bad_response(&mut self, fault: Fault, out: &mut Vec<Exchange>) {
        let sure = self.pairing == Pairing::Sure;
        if sure && self.seq == 0 && fault == NO_STATUS_LINE {
            self.rejected = Some(NOT_HTTP);
            return;
        }
        if let Server::Reply(_) = self.server
            && let Some(reply) = self.take_reply()
            && (sure || fault != NO_STATUS_LINE)
        {
            if reply.has_begun() {
                self.cut_response(reply, Notes::VIOLATION, fault, out);
            } else {
                self.leave_oldest(fault, out);
            }
        }
        if sure {
            return self.leave(fault, out);
        }
        self.lose_responses(PAIRING_LOST, out);
    }

    /// Gives up: nothing that follows is read.
    pub(super) fn leave(&mut self, name: &'static str, out: &mut Vec<Exchange>) {
        while let Some(oldest) = self.under_way.front() {
            match oldest.answered {
                true => self.give_oldest(out),
                false => self.leave_oldest(name, out),
            }
        }
        self.opaque = Some(name);
    }

    pub(super) fn server_gap(&mut self, len: u64, out: &mut Vec<Exchange>) {
        let skip = match &mut self.server {
            Server::Reply(reply) | Server::Stray(reply) => reply.skip(len),
            Server::Between | Server::Seeking(_) => Skip::Lost,
        };
        let mut hit = PAIRING_LOST;
        match (&self.server, skip) {
            (_, Skip::Within) => return,
            (Server::Reply(_), Skip::Beyond(_)) => self.end_response(out),
            (Server::Stray(_), _) => self.end_stray(out),
            (Server::Reply(_), Skip::Lost) => {
                if let Some(reply) = self.take_reply() {
                    self.cut_response(reply, Notes::RESPONSE_GAP, RESPONSE_LOST, out);
                }
            }
            (Server::Between | Server::Seeking(_), _) => hit = RESPONSE_LOST,
        }
        if skip != Skip::Beyond(0) {
            self.lose_responses(hit, out);
        }
    }

    /// Whole responses may be lost. `hit` is what became of the oldest request's.
    fn lose_responses(&mut self, hit: &'static str, out: &mut Vec<Exchange>) {
        self.lose_pairing(PAIRING_LOST);
        if let Some(oldest) = self.under_way.front_mut() {
            oldest.doomed.get_or_insert(hit);
        }
        self.server = Server::Seeking(Seek::default());
        self.doom(PAIRING_LOST, out);
    }

    /// The server is done: a response that only this ends is whole.
    pub(super) fn end_server(&mut self, out: &mut Vec<Exchange>) {
        if let Server::Reply(reply) = &mut self.server
            && reply.close()
        {
            self.end_response(out);
        }
    }

    pub(super) fn close_server(&mut self, reason: &'static str, out: &mut Vec<Exchange>) {
        if reason == "fin" {
            self.end_server(out);
        }
        match &self.server {
            Server::Reply(_) => {
                let Some(reply) = self.take_reply() else {
                    return;
                };
                self.answer_oldest(reply);
                self.leave_oldest(reason, out);
            }
            Server::Stray(reply) if reply.has_begun() => self.end_stray(out),
            _ => {}
        }
    }
}
