//! The client's side of a decoder.

use std::sync::Arc;
use std::time::Duration;

use recording::{Exchange, Notes, Timestamp};

use super::{
    Client, HttpDecoder, Last, PAIRING_LOST, Pairing, REQUEST_INCOMPLETE, Server, UnderWay,
};
use crate::http::body::{Asked, Body, Skip};
use crate::http::head::{Fault, HeadBuffer, MAX_HEAD, RequestHead};
use crate::http::secrets;
use crate::http::seek::{self, Seek};
use crate::http::template;
use crate::{Probe, Side};

/// More requests without an answer are no conversation.
const MAX_UNDER_WAY: usize = 1024;

/// Of a body, before any of it came.
const MAX_RESERVED: usize = 128 << 10;

/// After a silence that long, a client that pipelines has no answer to wait for.
const QUIET: Duration = Duration::from_secs(5);

const REQUEST_LOST: &str = "request lost in a gap";

impl HttpDecoder {
    /// Takes some of the client's bytes and says how many.
    fn client_step(&mut self, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) -> usize {
        if let Client::Body(body) = self.client
            && self.is_refused()
        {
            let bytes = Vec::new();
            self.client = Client::Refused { body, bytes, at };
        }
        match &mut self.client {
            Client::Dead(_) => bytes.len(),
            Client::Refused { bytes: held, .. } => {
                held.extend_from_slice(bytes);
                let found = seek::certain(held);
                if found != Probe::More {
                    self.settle_refused(found, out);
                }
                bytes.len()
            }
            Client::Held {
                bytes: held,
                at: since,
            } => {
                if held.is_empty() {
                    *since = at;
                }
                held.extend_from_slice(bytes);
                if held.len() > MAX_HEAD {
                    self.leave("tunnel", out);
                }
                bytes.len()
            }
            Client::Seeking(seek) => {
                if let Some((held, since)) = seek.take(Side::Client, bytes, at) {
                    self.client = Client::Between;
                    self.client_bytes(&held, since, out);
                    self.client_bytes(bytes, at, out);
                }
                bytes.len()
            }
            Client::Between => {
                // Section 2.2: empty lines before a request are passed over.
                let empty = bytes
                    .iter()
                    .take_while(|byte| b"\r\n".contains(byte))
                    .count();
                if empty < bytes.len() {
                    self.expect_request(at, out);
                }
                empty
            }
            Client::Head {
                buffer,
                at: began,
                hasty,
            } => {
                let (began, hasty) = (*began, *hasty);
                match buffer.fill(bytes) {
                    Ok((used, false)) => used,
                    Ok((used, true)) => {
                        let head = std::mem::take(buffer);
                        self.begin_request(head.bytes(), began, at, out);
                        // Where it was none, nothing was asked.
                        self.hasty |= hasty && !matches!(self.client, Client::Seeking(_));
                        self.unless_lost(used, bytes)
                    }
                    Err(fault) => {
                        let head = std::mem::take(buffer);
                        self.bad_request(head.bytes(), fault, began, at, out);
                        bytes.len()
                    }
                }
            }
            Client::Body(body) => {
                let step = body.step(bytes);
                let used = step.as_ref().map_or(bytes.len(), |step| step.used);
                self.keep_request(bytes.get(..used).unwrap_or(bytes), at);
                if let Some(newest) = self.under_way.back_mut() {
                    newest.expects = false;
                }
                match step {
                    Ok(step) if step.done => self.end_request(out),
                    Ok(_) => {}
                    Err(fault) => self.lose_client(fault, out),
                }
                self.unless_lost(used, bytes)
            }
        }
    }

    /// Bytes that were `used`: all, where it is not known what the others are.
    fn unless_lost(&self, used: usize, bytes: &[u8]) -> usize {
        match self.client {
            Client::Seeking(_) => bytes.len(),
            _ => used,
        }
    }

    pub(super) fn client_bytes(&mut self, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) {
        let mut rest = bytes;
        while !rest.is_empty() && self.opaque.is_none() {
            let used = self.client_step(rest, at, out);
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn expect_request(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.under_way.len() > MAX_UNDER_WAY {
            return self.leave("too many requests under way", out);
        }
        let early = !self.under_way.is_empty();
        let answering = matches!(self.server, Server::Reply(_));
        self.pipelines |= early && (answering || self.pairing == Pairing::Sure);
        let hasty = match self.pairing {
            Pairing::Found { waits: true } if early => {
                self.lose_pairing(PAIRING_LOST);
                self.doom(PAIRING_LOST, out);
                true
            }
            Pairing::Lost(_) if !early => {
                self.find_pairing(at, out);
                self.last == Last::Request
            }
            _ => false,
        };
        self.last = Last::Request;
        self.client = Client::Head {
            buffer: HeadBuffer::default(),
            at,
            hasty,
        };
    }

    /// A request begins where no other is known to be under way: can one be that is not known?
    fn find_pairing(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        let quiet = at - self.last_at >= QUIET;
        let waited = self.last == Last::Answer && !self.pipelines && !self.hasty;
        if quiet || waited {
            // What was taken for the beginning of a response was none.
            self.end_stray(out);
            self.server = Server::Between;
            self.pairing = Pairing::Found { waits: !quiet };
        }
    }

    fn begin_request(
        &mut self,
        bytes: &[u8],
        began: Timestamp,
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) {
        let read = RequestHead::parse(bytes).and_then(|mut head| {
            let body = Body::of_request(&mut head);
            Ok((body?, head))
        });
        let (body, head) = match read {
            Ok(read) => read,
            Err(fault) => return self.bad_request(bytes, fault, began, at, out),
        };
        let info = &mut self.opening.info;
        let text = |name: &str| head.head.text_value(name).map(Arc::from);
        if info.database.is_none() {
            info.database = text("host");
        }
        if info.application.is_none() {
            info.application = text("user-agent");
        }
        let asked = Asked::of(head.method());
        let mut under_way = UnderWay::new(asked, began);
        under_way.tunnel = tunnel(asked, &head);
        under_way.expects = head.head.has_token("expect", "100-continue");
        let exchange = &mut under_way.exchange;
        exchange.request.statement = Some(template::statement(head.method(), head.target()));
        exchange.request.command = head.method().into();
        if let Some(flaw) = head.head.flaw {
            exchange.reason = Some(flaw.into());
        }
        if head.head.is_violation() {
            exchange.notes.add(Notes::VIOLATION);
        }
        self.push_request(under_way, bytes, at);
        if let (Body::Length(len), Some(newest)) = (&body, self.under_way.back_mut()) {
            let len = usize::try_from(*len).map_or(MAX_RESERVED, |len| len.min(MAX_RESERVED));
            newest.exchange.request.bytes.reserve_exact(len);
        }
        if body.is_done() {
            self.end_request(out);
        } else {
            self.client = Client::Body(body);
        }
    }

    /// A request that can't be read to its end. It may be answered, but no other one can follow.
    pub(super) fn bad_request(
        &mut self,
        bytes: &[u8],
        fault: Fault,
        began: Timestamp,
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) {
        let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        let word = std::str::from_utf8(word).unwrap_or_default();
        let mut under_way = UnderWay::new(Asked::of(word), began);
        if let Ok(head) = RequestHead::parse(bytes) {
            under_way.exchange.request.command = head.method().into();
            under_way.exchange.request.statement =
                Some(template::statement(head.method(), head.target()));
        }
        self.push_request(under_way, bytes, at);
        self.lose_client(fault, out);
    }

    pub(super) fn push_request(&mut self, mut under_way: UnderWay, head: &[u8], at: Timestamp) {
        if let Pairing::Lost(_) = self.pairing {
            under_way.doomed = Some(PAIRING_LOST);
        }
        self.under_way.push_back(under_way);
        let mut head = head.to_vec();
        if secrets::blank(&mut head)
            && let Some(newest) = self.under_way.back_mut()
        {
            newest.exchange.notes.add(Notes::SECRET_BLANKED);
        }
        self.keep_request(&head, at);
    }

    fn keep_request(&mut self, bytes: &[u8], at: Timestamp) {
        let room = self.limits.request.saturating_sub(self.request_bytes);
        let Some(newest) = self.under_way.back_mut() else {
            return;
        };
        let exchange = &mut newest.exchange;
        exchange.request.wire_len += bytes.len() as u64;
        exchange.request.last_byte_at = at;
        if exchange.notes.contains(Notes::REQUEST_GAP) {
            return;
        }
        let kept = bytes.get(..room).unwrap_or(bytes);
        exchange.request.bytes.extend_from_slice(kept);
        self.request_bytes += kept.len();
        if kept.len() < bytes.len() {
            exchange.notes.add(Notes::REQUEST_CUT);
        }
    }

    fn end_request(&mut self, out: &mut Vec<Exchange>) {
        let waits = self.under_way.back().is_some_and(|newest| {
            newest.tunnel.is_some() && newest.doomed.is_none() && !newest.answered
        });
        self.client = if waits {
            Client::Held {
                bytes: Vec::new(),
                at: Timestamp::default(),
            }
        } else {
            Client::Between
        };
        self.request_is_whole(out);
    }

    /// Was the newest request answered instead of being told to continue? What comes now may be another
    /// one. (RFC 9110, section 10.1.1: after a 417 the client asks again, without sending the body.)
    fn is_refused(&self) -> bool {
        let newest = self.under_way.back();
        newest.is_some_and(|newest| newest.expects && newest.answered)
    }

    /// What came after the refusal is another request, or is no other.
    pub(super) fn settle_refused(&mut self, found: Probe, out: &mut Vec<Exchange>) {
        let Client::Refused { body, bytes, at } = &mut self.client else {
            return;
        };
        let (body, bytes, at) = (*body, std::mem::take(bytes), *at);
        if let Some(newest) = self.under_way.back_mut() {
            if found == Probe::Yes {
                newest.break_off(true);
            }
            newest.expects = false;
        }
        self.client = match found {
            Probe::Yes => Client::Between,
            _ => Client::Body(body),
        };
        if found == Probe::Yes {
            self.request_is_whole(out);
        }
        self.client_bytes(&bytes, at, out);
    }

    /// Reads what was held back for as long as the connection could have become a tunnel.
    pub(super) fn release(&mut self, next: Client, out: &mut Vec<Exchange>) {
        let Client::Held { bytes, at } = &mut self.client else {
            return;
        };
        let (held, at) = (std::mem::take(bytes), *at);
        self.client = next;
        let before = self.under_way.len();
        self.client_bytes(&held, at, out);
        if let Some(first) = self.under_way.get_mut(before) {
            first.exchange.request.pipelined = true;
        }
    }

    fn request_is_whole(&mut self, out: &mut Vec<Exchange>) {
        if let Some(newest) = self.under_way.back_mut() {
            newest.whole = true;
        }
        self.give_settled(out);
    }

    /// What the client says from here on can't be told apart.
    fn lose_client(&mut self, fault: Fault, out: &mut Vec<Exchange>) {
        if let Some(newest) = self.under_way.back_mut() {
            newest.exchange.reason = Some(fault.into());
            newest.exchange.notes.add(Notes::VIOLATION);
        }
        if self.pairing == Pairing::Sure {
            self.client = Client::Dead(fault);
        } else {
            // Perhaps it was no request at all.
            if let Some(newest) = self.under_way.back_mut() {
                newest.doomed = Some(PAIRING_LOST);
            }
            self.last = Last::Gap;
            self.client = Client::Seeking(Seek::default());
            self.lose_pairing(REQUEST_LOST);
        }
        self.request_is_whole(out);
    }

    pub(super) fn client_gap(&mut self, len: u64, at: Timestamp, out: &mut Vec<Exchange>) {
        if let Client::Held { bytes, .. } = &self.client
            && seek::certain(bytes) == Probe::Yes
        {
            self.release(Client::Between, out);
        }
        self.settle_refused(Probe::No, out);
        let skip = match &mut self.client {
            Client::Dead(_) => return,
            Client::Body(body) => body.skip(len),
            Client::Head {
                buffer, at: began, ..
            } => {
                let (head, began) = (std::mem::take(buffer), *began);
                self.push_cut(head.bytes(), began, at);
                Skip::Lost
            }
            Client::Between | Client::Refused { .. } | Client::Held { .. } | Client::Seeking(_) => {
                return self.lose_requests(out);
            }
        };
        if let Some(newest) = self.under_way.back_mut() {
            newest.exchange.notes.add(Notes::REQUEST_GAP);
            newest.exchange.request.wire_len += match skip {
                Skip::Within => {
                    newest.exchange.request.last_byte_at = at;
                    len
                }
                // When its last byte was sent is not known: not with what is sent now.
                Skip::Beyond(rest) => len - rest,
                Skip::Lost => 0,
            };
        }
        match skip {
            Skip::Within => {}
            Skip::Beyond(0) => self.end_request(out),
            Skip::Beyond(_) | Skip::Lost => {
                self.request_is_whole(out);
                self.lose_requests(out);
            }
        }
    }

    /// The client is done: what is answered from here on is answered because of that, if it is not whole. (A replay
    /// can't say so, for a target would take it for a client that has gone.)
    pub(super) fn end_client(&mut self) {
        let answering = self.under_way.len() == 1 && matches!(self.server, Server::Reply(_));
        if let Some(newest) = self.under_way.back_mut()
            && !newest.whole
            && !newest.answered
            && !answering
        {
            newest.exchange.notes.add(Notes::REQUEST_GAP);
        }
    }

    /// A request of which only the beginning is known.
    pub(super) fn push_cut(&mut self, head: &[u8], began: Timestamp, at: Timestamp) {
        let mut words = head.split(|byte| *byte == b' ');
        let method = std::str::from_utf8(words.next().unwrap_or_default());
        let asked = Asked::of(method.unwrap_or_default());
        let mut cut = UnderWay::new(asked, began);
        cut.exchange.reason = Some(REQUEST_INCOMPLETE.into());
        cut.exchange.notes.add(Notes::REQUEST_GAP);
        if words.next().is_none() {
            // Without its method, nobody knows where its response ends.
            cut.doomed = Some(PAIRING_LOST);
        }
        self.push_request(cut, head, at);
    }

    /// Whole requests may be lost. Those before them are still answered first, unless the response
    /// to the first one that was found after another gap was lost in that one.
    fn lose_requests(&mut self, out: &mut Vec<Exchange>) {
        self.last = Last::Gap;
        self.client = Client::Seeking(Seek::default());
        let unanswered = matches!(self.server, Server::Between);
        if unanswered && self.pairing == (Pairing::Found { waits: true }) {
            self.doom(PAIRING_LOST, out);
        }
        self.lose_pairing(REQUEST_LOST);
    }
}

fn tunnel(asked: Asked, head: &RequestHead) -> Option<&'static str> {
    if asked == Asked::Connect {
        return Some("CONNECT");
    }
    let protocol = head.head.value("upgrade")?;
    Some(match protocol.to_ascii_lowercase().as_slice() {
        b"websocket" => "WebSocket",
        b"h2c" => "HTTP/2",
        _ => "upgrade",
    })
}
