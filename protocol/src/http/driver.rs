//! Recorded requests to a target, and its responses.

use std::collections::VecDeque;

use recording::{Exchange, Notes, Response, Timestamp};

use super::body::{Asked, Body};
use super::cookies::{self, Cookie};
use super::decoder::UNASKED;
use super::ending::{Ending, Sent};
use super::head::{EmptyLine, RequestHead};
use super::message::heads;
use super::reply::{Known, Progress, Reply};
use super::{rewrite, secrets, wishes};
use crate::{Again, BROKEN_OFF, Driver, DriverError, DriverEvent, Limits, Login};

#[derive(Debug)]
pub struct HttpDriver {
    login: Login,
    limits: Limits,
    under_way: VecDeque<UnderWay>,
    /// To the oldest request under way.
    reply: Option<Reply>,
    /// Of the request before.
    ending: Ending,
    /// The head of the response before.
    known: Option<Box<Known>>,
    /// What may be sent only after a body that is held back.
    backlog: Vec<u8>,
    tunnel: bool,
    /// The answer before was to a request without the body that it announced: the target may yet wait for that.
    owes: bool,
    received: u64,
    cookies_mapped: u64,
    unasked_bytes: u64,
}

#[derive(Debug)]
struct UnderWay {
    asked: Asked,
    keeps_alive: bool,
    /// What the recorded server set in answer.
    recorded: Vec<Cookie>,
    /// The body, until the server says `100 Continue`.
    held: Vec<u8>,
    /// The recorded server did not ask for the body, and so there is none.
    bodiless: bool,
    /// It changes nothing, however often it is read.
    is_safe: bool,
}

const NO_CREDENTIALS: &str = "credentials not recorded";
const NOT_WHOLE: &str = "request not captured whole";
const NO_BODY: &str = "body not sent when recorded";
/// The comparison knows it too.
const ASKED_FOR: &str = "target asked for a body that was not sent when recorded";

impl HttpDriver {
    pub fn new(login: Login, limits: Limits) -> HttpDriver {
        HttpDriver {
            login,
            limits,
            under_way: VecDeque::new(),
            reply: None,
            ending: Ending::default(),
            known: None,
            backlog: Vec::new(),
            tunnel: false,
            owes: false,
            received: 0,
            cookies_mapped: 0,
            unasked_bytes: 0,
        }
    }

    /// The server said that it will read the oldest request's body, or does without the question.
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(oldest) = self.under_way.front_mut() {
            out.append(&mut oldest.held);
        }
        if self.under_way.iter().all(|request| request.held.is_empty()) {
            out.append(&mut self.backlog);
        }
    }

    /// From the head of the response on its way in.
    fn learn(&mut self, at: Timestamp, events: &mut Vec<DriverEvent>) {
        let head = self.reply.as_ref().and_then(Reply::head);
        if let (Some(head), Some(oldest)) = (head, self.under_way.front_mut())
            && !oldest.recorded.is_empty()
        {
            let recorded = std::mem::take(&mut oldest.recorded);
            cookies::learn(
                &recorded,
                &cookies::set_by(head, at),
                &mut self.login.learnt,
            );
            events.push(DriverEvent::Learnt);
        }
    }

    fn answered(&mut self, at: Timestamp, out: &mut Vec<u8>, events: &mut Vec<DriverEvent>) {
        self.learn(at, events);
        let Some(reply) = self.reply.take() else {
            return;
        };
        let oldest = self.under_way.front();
        let goes_on = reply.keeps_alive() && oldest.is_none_or(|oldest| oldest.keeps_alive);
        self.owes = oldest.is_some_and(|oldest| oldest.bodiless);
        let switched = reply.head().is_some_and(|head| head.status == 101);
        let (_, response, known) = reply.finish();
        self.known = known;
        events.push(DriverEvent::Answered(response));
        if switched {
            self.tunnel = true;
        } else if goes_on {
            self.release(out);
            self.under_way.pop_front();
        } else {
            self.reset();
            // No more than this one was read (RFC 9112, section 9.6).
            events.push(DriverEvent::Reconnect {
                again: Again::Always,
            });
        }
    }

    fn reset(&mut self) {
        self.under_way.clear();
        self.backlog.clear();
        self.reply = None;
        self.tunnel = false;
        self.owes = false;
    }
}

/// Writes the head of a recorded request as the target is to get it; gives how many cookies are others
/// in it.
fn write_head(
    bytes: &[u8],
    blanked: bool,
    login: &Login,
    ending: &mut Ending,
    out: &mut Vec<u8>,
) -> Result<(Sent, u64), DriverError> {
    let unsupported = |what| Err(DriverError::Unsupported(what));
    let end = EmptyLine::default().find(bytes);
    let Some(raw) = end.and_then(|end| bytes.get(..end)) else {
        return unsupported(NOT_WHOLE);
    };
    let Ok(mut head) = RequestHead::parse(raw) else {
        return unsupported("malformed request");
    };
    let Ok(body) = Body::of_request(&mut head) else {
        return unsupported("ambiguous framing");
    };
    let asked = Asked::of(head.method());
    if asked == Asked::Connect {
        return unsupported("CONNECT");
    }
    let start = out.len();
    let mapped = rewrite::head(raw, &head, blanked, login, out);
    let written = out.get(start..).unwrap_or_default();
    if blanked && secrets::lacks(written) {
        out.truncate(start);
        return unsupported(NO_CREDENTIALS);
    }
    let changes = wishes::changes_fields(&login.options);
    let changed = changes.then(|| RequestHead::parse(written).ok()).flatten();
    let fields = &changed.as_ref().unwrap_or(&head).head;
    let sent = Sent {
        asked,
        keeps_alive: fields.keeps_alive(),
        expects: fields.has_token("expect", "100-continue"),
        announces: !body.is_done(),
        len: raw.len(),
    };
    if !blanked {
        ending.remember(&head, written, &sent, &login.options);
    }
    Ok((sent, mapped))
}

impl Driver for HttpDriver {
    fn open(
        &mut self,
        _opening: &Exchange,
        _out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        self.reset();
        if self.login.database.is_some() {
            return Err(DriverError::Unsupported("a path in the target's URL"));
        }
        events.push(match self.login.tls {
            true => DriverEvent::StartTls,
            false => DriverEvent::Opened(Response::default()),
        });
        Ok(())
    }

    fn tls_ready(
        &mut self,
        _out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        events.push(DriverEvent::Opened(Response::default()));
        Ok(())
    }

    fn send(&mut self, request: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError> {
        let unsupported = |what| Err(DriverError::Unsupported(what));
        let notes = request.notes;
        if notes.contains(Notes::REQUEST_CUT) || notes.contains(Notes::REQUEST_GAP) {
            return unsupported(NOT_WHOLE);
        }
        if request.reason.as_deref() == Some(UNASKED) {
            return unsupported(UNASKED);
        }
        if self.tunnel {
            return unsupported("request after an upgrade");
        }
        if self.under_way.back().is_some_and(|last| last.bodiless) {
            return unsupported("request where a body may be asked for");
        }
        let bytes = &request.request.bytes;
        let kept = request.response.as_ref();
        let recorded = kept.and_then(|response| heads(&response.body));
        let continued = recorded
            .as_ref()
            .is_some_and(|(interims, _, _)| interims.contains(&100));
        let blanked = notes.contains(Notes::SECRET_BLANKED);
        let blocked = self.holds();
        let sink = if blocked { &mut self.backlog } else { out };
        let start = sink.len();
        let as_before = (!blanked).then(|| self.ending.write(bytes, sink));
        let (head, mapped) = match as_before.flatten() {
            Some(head) => (head, 0),
            None => write_head(bytes, blanked, &self.login, &mut self.ending, sink)?,
        };
        self.cookies_mapped += mapped;
        let body = bytes.get(head.len..).unwrap_or_default();
        let broken_off = request.reason.as_deref() == Some(BROKEN_OFF);
        let bodiless = head.announces && body.is_empty() && !broken_off;
        if bodiless && !head.expects {
            // It would be waited for.
            sink.truncate(start);
            return unsupported(NO_BODY);
        }
        let set = recorded.zip(kept);
        let set = set.map(|((_, head, _), kept)| cookies::set_by(&head, kept.first_byte_at));
        let mut held = Vec::new();
        // Who was never asked to continue in the recording had sent it without waiting.
        if continued && !blocked && head.expects {
            held.extend_from_slice(body);
        } else {
            sink.extend_from_slice(body);
        }
        self.under_way.push_back(UnderWay {
            asked: head.asked,
            // The target would take what follows for the rest of it.
            keeps_alive: head.keeps_alive && !broken_off,
            recorded: set.unwrap_or_default(),
            held,
            bodiless,
            is_safe: wishes::is_safe(&request.request.command),
        });
        Ok(())
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(oldest) = self.under_way.front().filter(|_| !self.tunnel) else {
                // A farewell to an idle client (408), or what a tunnel carries.
                self.unasked_bytes += rest.len() as u64;
                return Ok(());
            };
            let cap = self.limits.body;
            let reply = self
                .reply
                .get_or_insert_with(|| Reply::new(oldest.asked, cap, self.known.take()));
            let (used, progress) =
                reply
                    .feed(rest, at)
                    .map_err(|fault| DriverError::Violation {
                        what: fault.to_owned(),
                        offset: self.received,
                    })?;
            let bodiless = oldest.bodiless;
            self.received += used as u64;
            rest = rest.get(used..).unwrap_or_default();
            match progress {
                Progress::More => self.learn(at, events),
                Progress::Interim(100) if bodiless => {
                    self.reset();
                    events.push(DriverEvent::Unanswered(ASKED_FOR));
                    events.push(DriverEvent::Reconnect {
                        again: Again::Always,
                    });
                    return Ok(());
                }
                Progress::Interim(100) => self.release(out),
                Progress::Interim(_) => {}
                Progress::Done => self.answered(at, out, events),
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        in_order: bool,
        at: Timestamp,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        if self.tunnel {
            return Ok(());
        }
        // What only the connection's end delimits is whole when that was no error (RFC 9112, section 8).
        if in_order && self.reply.as_mut().is_some_and(Reply::close) {
            self.answered(at, &mut Vec::new(), events);
        } else {
            let begun = self.reply.as_ref().is_some_and(Reply::has_begun);
            let again = match !begun && self.under_way.iter().all(|request| request.is_safe) {
                true => Again::IfServed,
                false => Again::Never,
            };
            self.reset();
            events.push(DriverEvent::Reconnect { again });
        }
        Ok(())
    }

    fn holds(&self) -> bool {
        self.under_way
            .iter()
            .any(|request| !request.held.is_empty())
    }

    fn insist(&mut self, out: &mut Vec<u8>) {
        self.release(out);
    }

    fn rests(&self) -> bool {
        self.under_way.is_empty() && !self.tunnel && !self.owes
    }

    fn leave(&mut self) -> Option<Response> {
        let reply = self.reply.take().filter(Reply::has_begun)?;
        Some(reply.finish().1)
    }

    fn goodbye(&mut self, _out: &mut Vec<u8>) {}

    fn cancel(&self) -> Option<Vec<u8>> {
        None
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("cookies mapped", self.cookies_mapped),
            ("bytes nobody asked for", self.unasked_bytes),
        ]
    }
}

#[cfg(test)]
mod tests;
