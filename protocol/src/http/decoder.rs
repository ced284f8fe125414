//! Both directions' bytes to rows.
//!
//! ```text
//! client   Between -> Head -> Body -> Between          server   Between -> Reply -> Between
//!                       |       '---> Held (CONNECT,                |         |
//!                       |                  Upgrade: until answered) |         '-> opaque (101, tunnel)
//!                       '-> Dead (framing lost)                     '-> opaque (framing lost)
//!          any --gap--> Seeking --> Head                any --gap--> Seeking --> Reply, Stray
//!
//! pairing  Sure --gap that may hold whole messages--> Lost --quiet point--> Found
//!                                                      ^                      |
//!                                                      '--such a gap, or what-'
//!                                                         can't be
//! ```
//!
//! Responses pair with requests in their order. Where a gap may have swallowed whole messages, order
//! tells nothing: requests that were asked before lost ones are still answered first, but of what
//! comes after, nothing is paired until a request begins when nothing else can be under way. That is
//! when something of the server came before it, since a client that does not pipeline waits for its
//! answer; or, of a client that was seen to pipeline, when both sides were silent for long.
//!
//! Found rests on that, so what contradicts it (a request before the answer, an answer too many, bytes
//! that are no message) loses it again. Framing lost while pairing is Sure is no gap's fault, and ends
//! the reading.

mod answering;
mod asking;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use recording::{Exchange, Kind, Notes, Request, Status, Timestamp};

use super::body::{Asked, Body};
use super::head::{Fault, HeadBuffer};
use super::reply::{Known, Reply};
use super::seek::{self, Seek};
use crate::{BROKEN_OFF, Decoder, Limits, Opening, Probe, Side};

const NOT_HTTP: &str = "not HTTP";
/// Nothing is lost: the server said farewell to a client that said nothing (408), or answered twice.
pub const UNASKED: &str = "response without request";
const REQUEST_INCOMPLETE: &str = "request incomplete";
const BODY_UNASKED: &str = "body not asked for";
const BEFORE_CAPTURE: &str = "request before capture";
const PAIRING_LOST: &str = "pairing lost in a gap";

/// With these the connection itself ended.
const ENDED: [&str; 2] = ["fin", "rst"];

#[derive(Debug)]
pub struct HttpDecoder {
    opening: Opening,
    limits: Limits,
    /// 0 until the opening was given, which is when something was HTTP for certain.
    seq: u32,
    rejected: Option<&'static str>,
    opaque: Option<&'static str>,
    client: Client,
    server: Server,
    /// The head of the response before.
    known: Option<Box<Known>>,
    under_way: VecDeque<UnderWay>,
    /// Of the requests under way.
    request_bytes: usize,
    /// Of the responses to those that are not whole yet.
    response_bytes: usize,
    pairing: Pairing,
    /// The client was seen to ask before it was answered.
    pipelines: bool,
    /// What came last of an answer, a request and a gap in what the client says.
    last: Last,
    /// The client asked twice, and nothing was heard in between. It pipelines, unless an answer turns out to
    /// be lost.
    hasty: bool,
    /// When the last bytes came, or were missed.
    last_at: Timestamp,
}

/// Is it known whose response a response is?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pairing {
    /// It always was.
    Sure,
    /// It is again. `waits`: as long as the client does not pipeline.
    Found { waits: bool },
    /// It is of the requests that are under way and not doomed. Why it is not of others.
    Lost(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Or a gap in what the server says.
    Answer,
    Request,
    Gap,
}

#[derive(Debug)]
enum Client {
    Between,
    Head {
        buffer: HeadBuffer,
        at: Timestamp,
        /// The client asks twice with it, if it is a request.
        hasty: bool,
    },
    /// Of the newest request under way.
    Body(Body),
    /// Of the newest request, that was answered instead of being told to continue: another request may
    /// begin instead of its body.
    Refused {
        body: Body,
        bytes: Vec<u8>,
        /// When they began to come.
        at: Timestamp,
    },
    Held {
        bytes: Vec<u8>,
        /// When they began to come.
        at: Timestamp,
    },
    Seeking(Seek),
    Dead(Fault),
}

#[derive(Debug)]
enum Server {
    Between,
    Reply(Reply),
    /// Nobody asked, or nobody knows who. Then its method is unknown too, and with it its end.
    Stray(Reply),
    Seeking(Seek),
}

#[derive(Debug)]
struct UnderWay {
    exchange: Exchange,
    asked: Asked,
    /// What the connection becomes when the server agrees.
    tunnel: Option<&'static str>,
    /// It asks for a `100 Continue` before its body, of which nothing came yet.
    expects: bool,
    /// The server said so.
    continued: bool,
    /// Nothing of the request follows.
    whole: bool,
    answered: bool,
    /// Why no response can be known to be its own.
    doomed: Option<&'static str>,
}

impl HttpDecoder {
    pub fn new(opening: Opening, limits: Limits) -> HttpDecoder {
        let (mid_stream, last_at) = (opening.mid_stream, opening.at);
        HttpDecoder {
            opening,
            limits,
            seq: 0,
            rejected: None,
            opaque: None,
            client: match mid_stream {
                true => Client::Seeking(Seek::default()),
                false => Client::Between,
            },
            server: match mid_stream {
                true => Server::Seeking(Seek::default()),
                false => Server::Between,
            },
            known: None,
            under_way: VecDeque::new(),
            request_bytes: 0,
            response_bytes: 0,
            pairing: match mid_stream {
                true => Pairing::Lost(BEFORE_CAPTURE),
                false => Pairing::Sure,
            },
            pipelines: false,
            last: Last::Answer,
            hasty: false,
            last_at,
        }
    }

    /// Gives what is complete, or as complete as it gets.
    fn give_settled(&mut self, out: &mut Vec<Exchange>) {
        while let Some(oldest) = self.under_way.front()
            && oldest.whole
        {
            match (oldest.answered, oldest.doomed) {
                (true, _) => self.give_oldest(out),
                (false, Some(reason)) => self.lose_response(reason, out),
                (false, None) => break,
            }
        }
        if let Client::Dead(fault) = self.client
            && self.under_way.is_empty()
        {
            self.leave(fault, out);
        }
    }

    fn give_oldest(&mut self, out: &mut Vec<Exchange>) {
        if let Some(mut oldest) = self.under_way.pop_front() {
            oldest.break_off(false);
            let exchange = oldest.exchange;
            self.request_bytes -= exchange.request.bytes.len();
            if let Some(response) = &exchange.response {
                self.response_bytes -= response.body.len();
            }
            self.give(exchange, out);
        }
    }

    fn give(&mut self, mut exchange: Exchange, out: &mut Vec<Exchange>) {
        if self.seq == 0 {
            out.push(self.open());
        }
        exchange.seq = self.seq;
        self.seq += 1;
        out.push(exchange);
    }

    fn open(&mut self) -> Exchange {
        self.seq = 1;
        let mut open = row(Kind::Open, self.opening.at);
        open.info = Some(Box::new(self.opening.info.clone()));
        if self.opening.mid_stream {
            open.notes.add(Notes::MID_STREAM);
        }
        open
    }
}

impl Decoder for HttpDecoder {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) {
        if self.opaque.is_some() || self.rejected.is_some() {
            return;
        }
        match from {
            Side::Client => {
                let begins = self.seq == 0 && self.under_way.is_empty();
                if begins && is_tls(bytes, self.opening.mid_stream) {
                    self.rejected = Some("encrypted");
                } else if begins && bytes.starts_with(b"PRI * HTTP/2") {
                    self.rejected = Some("HTTP/2");
                } else {
                    self.client_bytes(bytes, at, out);
                }
            }
            Side::Server => {
                self.last = Last::Answer;
                self.server_bytes(bytes, at, out);
            }
        }
        self.last_at = self.last_at.max(at);
    }

    fn gap(&mut self, from: Side, len: u64, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.opaque.is_some() || self.rejected.is_some() {
            return;
        }
        match from {
            Side::Client => self.client_gap(len, at, out),
            Side::Server => {
                self.last = Last::Answer;
                self.hasty = false;
                self.server_gap(len, out);
            }
        }
        self.last_at = self.last_at.max(at);
    }

    fn end(&mut self, from: Side, _at: Timestamp, out: &mut Vec<Exchange>) {
        if self.opaque.is_some() || self.rejected.is_some() {
            return;
        }
        match from {
            Side::Client => self.end_client(),
            Side::Server => self.end_server(out),
        }
    }

    fn close(&mut self, reason: &'static str, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.rejected.is_some() {
            return;
        }
        self.close_server(reason, out);
        self.settle_refused(Probe::No, out);
        if let Client::Held { bytes, .. } = &self.client
            && seek::certain(bytes) == Probe::Yes
        {
            self.release(Client::Between, out);
        }
        if let Client::Head {
            buffer, at: began, ..
        } = &mut self.client
        {
            let (head, began) = (std::mem::take(buffer), *began);
            self.push_cut(head.bytes(), began, at);
        }
        let never_http = self.under_way.iter().all(|request| {
            let known = request.exchange.request.statement.is_some();
            !known && !request.answered
        });
        if self.seq == 0 && !self.under_way.is_empty() && never_http {
            self.rejected = Some(NOT_HTTP);
            return;
        }
        while let Some(oldest) = self.under_way.front_mut() {
            oldest.break_off(ENDED.contains(&reason));
            match (oldest.answered, oldest.doomed) {
                (true, _) => self.give_oldest(out),
                (false, Some(reason)) => self.lose_response(reason, out),
                (false, None) => self.leave_oldest(reason, out),
            }
        }
        if self.seq == 0 {
            out.push(self.open());
        }
        let mut close = row(Kind::Close, at);
        close.reason = Some(reason.into());
        self.give(close, out);
    }

    fn rejected(&self) -> Option<&'static str> {
        self.rejected
    }

    fn held(&self) -> usize {
        let client = match &self.client {
            Client::Head { buffer, .. } => buffer.bytes().len(),
            Client::Held { bytes, .. } | Client::Refused { bytes, .. } => bytes.len(),
            Client::Seeking(seek) => seek.held(),
            Client::Between | Client::Body(_) | Client::Dead(_) => 0,
        };
        let server = match &self.server {
            Server::Reply(reply) | Server::Stray(reply) => reply.held(),
            Server::Seeking(seek) => seek.held(),
            Server::Between => 0,
        };
        let known = self.known.as_ref().map_or(0, |known| known.held());
        let under_way = self.under_way.capacity() * size_of::<UnderWay>();
        let bodies = self.request_bytes + self.response_bytes;
        size_of::<HttpDecoder>() + client + server + known + under_way + bodies
    }

    fn opaque(&self) -> Option<&'static str> {
        self.opaque
    }
}

impl UnderWay {
    fn new(asked: Asked, began: Timestamp) -> UnderWay {
        let mut exchange = row(Kind::Request, began);
        exchange.status = Status::Unanswered;
        exchange.request.statements = 1;
        UnderWay {
            exchange,
            asked,
            tunnel: None,
            expects: false,
            continued: false,
            whole: false,
            answered: false,
            doomed: None,
        }
    }

    /// Nothing more of it comes, if it is not whole. `said_all`: nor was anything sent that capture did not see.
    /// Who asked whether to send the body, and was answered instead, need not send it (RFC 9110, section 10.1.1);
    /// nor the rest of it who is answered before its end (RFC 9112, section 9.5). Such an answer says itself that
    /// nothing else was known to the server: what that had received is in its acknowledgement, and would be a gap.
    fn break_off(&mut self, said_all: bool) {
        if self.whole {
            return;
        }
        self.whole = true;
        let exchange = &mut self.exchange;
        let answered = exchange.status != Status::Unanswered;
        if !said_all || !answered || exchange.notes.contains(Notes::REQUEST_GAP) {
            exchange.notes.add(Notes::REQUEST_GAP);
            let reason = || REQUEST_INCOMPLETE.into();
            exchange.reason.get_or_insert_with(reason);
        } else if self.expects && !self.continued {
            exchange.reason.get_or_insert_with(|| BODY_UNASKED.into());
        } else {
            // More than a flaw of its form: a replay must know.
            exchange.reason = Some(BROKEN_OFF.into());
        }
    }
}

/// Is it a TLS record: of a handshake, or, of a connection that was open before, of any type?
fn is_tls(bytes: &[u8], mid_stream: bool) -> bool {
    const HANDSHAKE: u8 = 22;
    match bytes {
        [HANDSHAKE, 3, ..] => true,
        [20..=23, 3, 0..=4, high, ..] => mid_stream && *high <= 0x41,
        _ => false,
    }
}

fn row(kind: Kind, at: Timestamp) -> Exchange {
    Exchange {
        request: Request {
            last_byte_at: at,
            ..Request::default()
        },
        ..Exchange::new(kind, at)
    }
}
