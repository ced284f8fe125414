//! Both directions' bytes to rows.
//!
//! ```text
//! client   Between -> Head -> Body -> Between          server   Between -> Reply -> Between
//!                       |       '---> Held (CONNECT,                |         |
//!                       |                  Upgrade: until answered) |         '-> opaque (101, tunnel)
//!                       '-> Dead (framing lost)                      '-> opaque (framing lost)
//!          any --gap--> Seeking --> Head                any --gap--> Seeking --> Reply
//! ```
//!
//! Responses pair with requests in their order. Where a gap may have swallowed whole messages, order
//! tells nothing: then a response belongs to the newest request, since a client that does not
//! pipeline sends a request only when the one before is answered. Of a client that does pipeline,
//! nothing is certain any more and the rest of the session is left.

mod answering;
mod asking;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use recording::{Exchange, Kind, Notes, Request, Response, Status, Timestamp};

use super::body::{Asked, Body};
use super::head::{Fault, HeadBuffer};
use super::reply::Reply;
use super::seek::Seek;
use crate::{Decoder, Limits, Opening, Side};

const NOT_HTTP: &str = "not HTTP";
const REQUEST_INCOMPLETE: &str = "request incomplete";

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
    under_way: VecDeque<UnderWay>,
    /// Of the requests under way.
    request_bytes: usize,
    pipelines: bool,
    /// A gap may have swallowed requests, or responses, that nobody knows of.
    requests_lost: bool,
    responses_lost: bool,
}

#[derive(Debug)]
enum Client {
    Between,
    Head {
        buffer: HeadBuffer,
        at: Timestamp,
    },
    /// Of the newest request under way.
    Body(Body),
    Held(Vec<u8>),
    Seeking(Seek),
    Dead(Fault),
}

#[derive(Debug)]
enum Server {
    Between,
    Reply(Reply),
    /// Nobody asked. Its method being unknown, its end is only where no request was lost.
    Stray(Reply),
    Seeking(Seek),
}

#[derive(Debug)]
struct UnderWay {
    exchange: Exchange,
    asked: Asked,
    /// What the connection becomes when the server agrees.
    tunnel: Option<&'static str>,
    /// Nothing of the request follows.
    whole: bool,
    answered: bool,
}

impl HttpDecoder {
    pub fn new(opening: Opening, limits: Limits) -> HttpDecoder {
        let mid_stream = opening.mid_stream;
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
            under_way: VecDeque::new(),
            request_bytes: 0,
            pipelines: false,
            requests_lost: mid_stream,
            responses_lost: mid_stream,
        }
    }

    fn give_oldest(&mut self, out: &mut Vec<Exchange>) {
        if let Some(oldest) = self.under_way.pop_front() {
            self.request_bytes -= oldest.exchange.request.bytes.len();
            self.give(oldest.exchange, out);
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
                // A TLS record of a handshake, and a single one of HTTP/2's clients.
                let begins = self.seq == 0 && self.under_way.is_empty();
                if begins && bytes.starts_with(b"\x16\x03") {
                    self.rejected = Some("encrypted");
                } else if begins && bytes.starts_with(b"PRI * HTTP/2") {
                    self.rejected = Some("HTTP/2");
                } else {
                    self.client_bytes(bytes, at, out);
                }
            }
            Side::Server => self.server_bytes(bytes, at, out),
        }
    }

    fn gap(&mut self, from: Side, len: u64, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.opaque.is_some() || self.rejected.is_some() {
            return;
        }
        match from {
            Side::Client => self.client_gap(len, at, out),
            Side::Server => self.server_gap(len, at, out),
        }
    }

    fn close(&mut self, reason: &'static str, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.rejected.is_some() {
            return;
        }
        self.close_server(reason, out);
        if let Client::Head { buffer, at: began } = &mut self.client {
            let (head, began) = (std::mem::take(buffer), *began);
            let mut cut = UnderWay::new(Asked::Other, began);
            cut.exchange.reason = Some(REQUEST_INCOMPLETE.into());
            cut.exchange.notes.add(Notes::REQUEST_GAP);
            self.push_request(cut, head.bytes(), at, out);
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
            if !oldest.whole && oldest.exchange.reason.is_none() {
                oldest.exchange.reason = Some(REQUEST_INCOMPLETE.into());
                oldest.exchange.notes.add(Notes::REQUEST_GAP);
            }
            match oldest.answered {
                true => self.give_oldest(out),
                false if self.responses_lost => self.lose_response(out),
                false => self.leave_oldest(reason, out),
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
            Client::Held(held) => held.len(),
            Client::Seeking(seek) => seek.held(),
            Client::Between | Client::Body(_) | Client::Dead(_) => 0,
        };
        let server = match &self.server {
            Server::Reply(reply) | Server::Stray(reply) => reply.held(),
            Server::Seeking(seek) => seek.held(),
            Server::Between => 0,
        };
        let under_way = self.under_way.capacity() * size_of::<UnderWay>();
        size_of::<HttpDecoder>() + client + server + under_way + self.request_bytes
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
            whole: false,
            answered: false,
        }
    }
}

fn row(kind: Kind, at: Timestamp) -> Exchange {
    Exchange {
        session: 0,
        seq: 0,
        kind,
        started_at: at,
        request: Request {
            last_byte_at: at,
            ..Request::default()
        },
        status: Status::Ok,
        reason: None,
        response: None::<Response>,
        notes: Notes::default(),
        info: None,
        pacing: None,
    }
}
