//! Recorded requests to a target, and its responses.

use std::collections::VecDeque;

use recording::{Exchange, Notes, Response, Timestamp};

use super::body::{Asked, Body};
use super::cookies::{self, Cookie};
use super::ending::{Ending, Sent};
use super::head::{EmptyLine, RequestHead};
use super::message::heads;
use super::reply::{Known, Progress, Reply};
use super::{rewrite, secrets, wishes};
use crate::{Driver, DriverError, DriverEvent, Limits, Login};

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
}

const NO_CREDENTIALS: &str = "credentials not recorded";
const NOT_WHOLE: &str = "request not captured whole";

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
    fn learn(&mut self, events: &mut Vec<DriverEvent>) {
        let head = self.reply.as_ref().and_then(Reply::head);
        if let (Some(head), Some(oldest)) = (head, self.under_way.front_mut())
            && !oldest.recorded.is_empty()
        {
            let recorded = std::mem::take(&mut oldest.recorded);
            cookies::learn(&recorded, &cookies::set_by(head), &self.login.learnt);
            events.push(DriverEvent::Learnt);
        }
    }

    fn answered(&mut self, out: &mut Vec<u8>, events: &mut Vec<DriverEvent>) {
        self.learn(events);
        let Some(reply) = self.reply.take() else {
            return;
        };
        let mut goes_on = true;
        let mut switched = false;
        if let Some(head) = reply.head() {
            goes_on = head.head.keeps_alive() && !reply.ended_by_close();
            switched = head.status == 101;
            if let Some(oldest) = self.under_way.front() {
                goes_on &= oldest.keeps_alive;
            }
        }
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
            events.push(DriverEvent::Reconnect);
        }
    }

    fn reset(&mut self) {
        self.under_way.clear();
        self.backlog.clear();
        self.reply = None;
        self.tunnel = false;
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
    if Body::of_request(&mut head).is_err() {
        return unsupported("ambiguous framing");
    }
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
        if self.tunnel {
            return unsupported("request after an upgrade");
        }
        let bytes = &request.request.bytes;
        let kept = request.response.as_ref().map(|response| &response.body);
        let recorded = kept.and_then(|body| heads(body));
        let continued = recorded
            .as_ref()
            .is_some_and(|(interims, _, _)| interims.contains(&100));
        let blanked = notes.contains(Notes::SECRET_BLANKED);
        let blocked = self.under_way.iter().any(|other| !other.held.is_empty());
        let sink = if blocked { &mut self.backlog } else { out };
        let known = (!blanked).then(|| self.ending.write(bytes, sink));
        let (head, mapped) = match known.flatten() {
            Some(head) => (head, 0),
            None => write_head(bytes, blanked, &self.login, &mut self.ending, sink)?,
        };
        self.cookies_mapped += mapped;
        let body = bytes.get(head.len..).unwrap_or_default();
        let mut held = Vec::new();
        // Who was never asked to continue in the recording had sent it without waiting.
        if continued && !blocked && head.expects {
            held.extend_from_slice(body);
        } else {
            sink.extend_from_slice(body);
        }
        self.under_way.push_back(UnderWay {
            asked: head.asked,
            keeps_alive: head.keeps_alive,
            recorded: recorded.map_or_else(Vec::new, |(_, head, _)| cookies::set_by(&head)),
            held,
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
            self.received += used as u64;
            rest = rest.get(used..).unwrap_or_default();
            match progress {
                Progress::More => self.learn(events),
                Progress::Interim(100) => self.release(out),
                Progress::Interim(_) => {}
                Progress::Done => self.answered(out, events),
            }
        }
        Ok(())
    }

    fn end(&mut self, _at: Timestamp, events: &mut Vec<DriverEvent>) -> Result<(), DriverError> {
        if self.tunnel {
            return Ok(());
        }
        if self.reply.as_mut().is_some_and(Reply::close) {
            self.answered(&mut Vec::new(), events);
        } else {
            self.reset();
            events.push(DriverEvent::Reconnect);
        }
        Ok(())
    }

    fn rests(&self) -> bool {
        self.under_way.is_empty() && !self.tunnel
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
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use recording::{Kind, Request};

    use super::*;

    fn recorded(request: &str, response: &str) -> Exchange {
        Exchange {
            session: 1,
            seq: 1,
            request: Request {
                bytes: request.as_bytes().to_vec(),
                wire_len: request.len() as u64,
                ..Request::default()
            },
            response: Some(Response {
                body: response.as_bytes().to_vec(),
                ..Response::default()
            }),
            ..Exchange::new(Kind::Request, Timestamp(0))
        }
    }

    fn driver(login: Login) -> HttpDriver {
        let mut driver = HttpDriver::new(login, Limits::default());
        let (mut out, mut events) = (Vec::new(), Vec::new());
        let opening = recorded("", "");
        driver.open(&opening, &mut out, &mut events).unwrap();
        assert_eq!(events, [DriverEvent::Opened(Response::default())]);
        assert!(out.is_empty());
        driver
    }

    fn to_target() -> Login {
        Login {
            authority: Some("new:8080".into()),
            ..Login::default()
        }
    }

    fn sent(driver: &mut HttpDriver, request: &Exchange) -> String {
        let mut out = Vec::new();
        driver.send(request, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What comes back, and what is sent in answer.
    fn received(driver: &mut HttpDriver, text: &str) -> (Vec<String>, String) {
        let (mut out, mut events) = (Vec::new(), Vec::new());
        for byte in text.as_bytes().chunks(1) {
            driver
                .receive(byte, Timestamp(1), &mut out, &mut events)
                .unwrap();
        }
        (told(events), String::from_utf8(out).unwrap())
    }

    fn told(events: Vec<DriverEvent>) -> Vec<String> {
        let tell = |event| match event {
            DriverEvent::Answered(response) => response.columns.unwrap().to_string(),
            DriverEvent::Reconnect => "reconnect".to_owned(),
            other => format!("{other:?}"),
        };
        events.into_iter().map(tell).collect()
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn requests_are_addressed_to_the_target() {
        let mut driver = driver(to_target());
        let text = "POST http://old/a?u=http://old/ HTTP/1.1\r\nHOST:  old \r\nOrigin: http://old\r\n\
            Referer: http://other/\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(
            sent(&mut driver, &recorded(text, "")),
            "POST http://new:8080/a?u=http://old/ HTTP/1.1\r\nHOST:  new:8080 \r\n\
             Origin: http://new:8080\r\nReferer: http://other/\r\nContent-Length: 3\r\n\r\nabc"
        );
        assert_eq!(
            received(&mut driver, OK),
            (vec!["200".to_owned()], String::new())
        );
    }

    proptest! {
        #[test]
        fn a_request_is_sent_the_same_whatever_was_sent_before(
            endings in prop::sample::subsequence(
                vec![
                    " HTTP/1.1\r\nHost: old\r\nReferer: http://old/a\r\n\r\n",
                    " HTTP/1.1\r\nHost: old\r\nX-B: c\r\nContent-Length: 2\r\n\r\nab",
                    " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                    " HTTP/1.1\nHost: old\r\n\r\n",
                    " HTTP/1.1\r\nCookie: a=b\r\n\r\n",
                    " HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
                    " HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
                    " HTTP/1.1\r\nHost: old\r\n",
                ],
                2,
            ),
            requests in prop::collection::vec(
                (
                    prop::sample::select(vec!["GET", "GET", "HEAD", "put", "CONNECT", "P\u{e4}", ""]),
                    "(http://old)?/[ab \u{e4}]{0,2}|\\*|//a| /",
                    0..2usize,
                    0..8u8,
                ),
                2..12,
            ),
            options in prop::sample::subsequence(
                vec![("set-header", "X-B: d"), ("rewrite-url", "/a=/b"), ("drop-header", "connection"), ("keep-host", "")],
                0..3,
            ),
            learnt_at in 0..12usize,
        ) {
            let option = |(name, value)| (Arc::from(name), Arc::from(value));
            let login = Login { options: options.into_iter().map(option).collect(), ..to_target() };
            let mut one = driver(login.clone());
            for (at, (method, target, ending, odd)) in requests.into_iter().enumerate() {
                if at == learnt_at {
                    login.learnt.teach(b"cookie a", b"b", b"new");
                }
                let continued = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
                let text = format!("{method} {target}{}", endings[ending]);
                let mut request = recorded(&text, if odd > 4 { continued } else { "" });
                one.reset();
                if odd == 0 {
                    request.notes.add(Notes::SECRET_BLANKED);
                }
                let mut fresh = driver(login.clone());
                let (mut out, mut expected) = (Vec::new(), Vec::new());
                let sent = one.send(&request, &mut out);
                prop_assert_eq!(format!("{sent:?}"), format!("{:?}", fresh.send(&request, &mut expected)));
                prop_assert_eq!(out, expected);
                let (last, only) = (one.under_way.back(), fresh.under_way.back());
                if sent.is_ok() {
                    prop_assert_eq!(format!("{last:?}"), format!("{only:?}"));
                }
            }
        }
    }

    #[test]
    fn fields_are_set_and_credentials_filled_in() {
        let option = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        let login = Login {
            user: Some("u".into()),
            password: Some("p".into()),
            options: vec![
                option("set-header", "Host: mine"),
                option("set-header", "X-A: b"),
                option("keep-host", ""),
            ],
            ..to_target()
        };
        let mut driver = driver(login);
        let mut request = recorded(
            "GET / HTTP/1.1\r\nHost: old\r\nAuthorization: Basic ****\r\n\r\n",
            "",
        );
        request.notes.add(Notes::SECRET_BLANKED);
        assert_eq!(
            sent(&mut driver, &request),
            "GET / HTTP/1.1\r\nHost: mine\r\nAuthorization: Basic dTpw\r\nX-A: b\r\n\r\n"
        );
    }

    #[test]
    fn fields_and_cookies_are_left_out() {
        let option = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        let options = [
            ("drop-header", "x-api-key"),
            ("drop-header", "Expect"),
            ("drop-header", "X-B"),
            ("set-header", "x-b: new"),
            ("drop-cookie", "ad"),
        ];
        let login = Login {
            options: options.map(|(name, value)| option(name, value)).to_vec(),
            ..to_target()
        };
        let mut driver = driver(login);
        let text = "POST / HTTP/1.1\r\nX-Api-Key: ***,\r\n ***\r\nHost: old\r\nExpect: 100-continue\r\n\
            Cookie: ad=1; a=b\r\nCookie: ad=2\r\nContent-Length: 3\r\nX-B: old\r\n\r\nabc";
        let continued = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        let mut request = recorded(text, continued);
        request.notes.add(Notes::SECRET_BLANKED);
        assert_eq!(
            sent(&mut driver, &request),
            "POST / HTTP/1.1\r\nHost: new:8080\r\nCookie: a=b\r\nContent-Length: 3\r\nx-b: new\r\n\r\nabc"
        );
    }

    #[test]
    fn cookies_of_the_target_are_sent_by_every_session() {
        let login = to_target();
        let mut first = driver(login.clone());
        let set = "HTTP/1.1 200 OK\r\nSet-Cookie: sid=old\r\n\r\n";
        sent(&mut first, &recorded("GET /login HTTP/1.1\r\n\r\n", set));
        let head = "HTTP/1.1 200 OK\r\nSet-Cookie: sid=newer; Path=/\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(received(&mut first, head).0, ["Learnt"]);
        assert_eq!(received(&mut first, ".").0, ["200"]);
        let mut second = driver(login);
        let request = recorded("GET / HTTP/1.1\r\nCookie: a=b; sid=old\r\n\r\n", "");
        assert_eq!(
            sent(&mut second, &request),
            "GET / HTTP/1.1\r\nCookie: a=b; sid=newer\r\n\r\n"
        );
        assert!(second.counts().contains(&("cookies mapped", 1)));
    }

    #[test]
    fn a_body_waits_to_be_asked_for_where_it_did() {
        let text = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
        let head = text.strip_suffix("abc").unwrap();
        let asked = recorded(text, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
        let mut waits = driver(to_target());
        assert_eq!(sent(&mut waits, &asked), head);
        assert_eq!(sent(&mut waits, &get), "");
        let (events, out) = received(&mut waits, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(
            (events.len(), out.as_str()),
            (0, "abcGET / HTTP/1.1\r\n\r\n")
        );
        assert_eq!(received(&mut waits, OK).0, ["200"]);
        assert_eq!(received(&mut waits, OK).0, ["200"]);

        let mut unasked = driver(to_target());
        sent(&mut unasked, &asked);
        assert_eq!(
            received(&mut unasked, OK),
            (vec!["200".to_owned()], "abc".to_owned())
        );
        let mut refused = driver(to_target());
        sent(&mut refused, &asked);
        let no = "HTTP/1.1 417 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let (events, out) = received(&mut refused, no);
        assert_eq!(
            (events, out.as_str()),
            (vec!["417".to_owned(), "reconnect".to_owned()], "")
        );
        assert_eq!(sent(&mut driver(to_target()), &recorded(text, OK)), text);
    }

    #[test]
    fn a_used_up_connection_is_made_anew() {
        let get = recorded("GET / HTTP/1.1\r\n\r\n", "");
        let mut driver = driver(to_target());
        sent(&mut driver, &get);
        let close = OK.replace("Content", "Connection: close\r\nContent");
        assert_eq!(received(&mut driver, &close).0, ["200", "reconnect"]);
        sent(&mut driver, &get);
        assert_eq!(
            received(&mut driver, "HTTP/1.0 200 OK\r\n\r\nto the end").0,
            [""; 0]
        );
        let mut events = Vec::new();
        driver.end(Timestamp(2), &mut events).unwrap();
        assert_eq!(told(events), ["200", "reconnect"]);
        let mut events = Vec::new();
        sent(&mut driver, &get);
        driver.end(Timestamp(3), &mut events).unwrap();
        assert_eq!(told(events), ["reconnect"]);
    }

    #[test]
    fn what_was_not_captured_whole_is_not_sent() {
        let mut driver = driver(to_target());
        let mut cut = recorded("GET / HTTP/1.1\r\n\r\n", "");
        cut.notes.add(Notes::REQUEST_CUT);
        let mut secret = recorded("GET / HTTP/1.1\r\nX-Api-Key: ***\r\n\r\n", "");
        secret.notes.add(Notes::SECRET_BLANKED);
        for (request, what) in [
            (secret, NO_CREDENTIALS),
            (cut, "request not captured whole"),
            (recorded("GET /", ""), "request not captured whole"),
            (recorded("GET\r\n\r\n", ""), "malformed request"),
            (
                recorded("GET / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n", ""),
                "ambiguous framing",
            ),
            (recorded("CONNECT x:1 HTTP/1.1\r\n\r\n", ""), "CONNECT"),
        ] {
            let mut out = Vec::new();
            assert_eq!(
                driver.send(&request, &mut out),
                Err(DriverError::Unsupported(what))
            );
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_violation_names_its_place() {
        let mut driver = driver(to_target());
        sent(&mut driver, &recorded("GET / HTTP/1.1\r\n\r\n", ""));
        let mut events = Vec::new();
        let error = driver.receive(b"SSH-2.0", Timestamp(1), &mut Vec::new(), &mut events);
        let what = "no status line".to_owned();
        assert_eq!(error, Err(DriverError::Violation { what, offset: 0 }));
    }
}
