//! Both directions of a connection, to rows.

pub(in crate::postgres) mod course;
mod login;
pub(super) mod rows;
mod session;
pub(in crate::postgres) mod statements;
mod strangers;
mod stream;
mod understand;
mod unit;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use recording::{Exchange, Kind, Notes, Status, Timestamp};

use self::login::{Login, Stage};
use self::rows::Order;
use self::session::Session;
use self::stream::{Place, Stream, begins_answer, begins_response, ends_ready, whole_requests};
use super::messages::FrameError;
use crate::border::{self, Known, Limits, Opening, Side, Strangers};
use crate::reader::ReadError;

/// Of a server's message that is put together before it is read. Longer ones are rows, or their
/// text is of no use.
const SERVER_CAP: usize = 64 << 10;
const VIOLATION: &str = "protocol violation";

/// ```text
/// Startup --> Authenticating --> Done            requests and responses
///    |              |             |
///    +--> rejected  +--> failed   +--> violation  nothing more is read
///    +--> encrypted |
///    +--> cancel    +--> Lost --> Done           the login's end is missing
/// ```
#[derive(Debug)]
pub(crate) struct Decoder {
    client: Stream,
    server: Stream,
    login: Login,
    session: Session,
    order: Order,
    /// A boundary was guessed: what does not fit may be the guess's fault.
    guessed: bool,
    /// The connection was met in its middle, and nothing of it was understood yet.
    blind: bool,
    rejected: Option<&'static str>,
    opaque: Option<&'static str>,
    /// All was said that there is to say.
    over: bool,
    violated: bool,
}

/// The bytes do not follow the protocol.
#[derive(Debug)]
enum Fault {
    Frame(FrameError),
    Read,
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Fault {
        Fault::Frame(error)
    }
}

impl From<ReadError> for Fault {
    fn from(_: ReadError) -> Fault {
        Fault::Read
    }
}

impl Decoder {
    pub(crate) fn new(opening: Opening, limits: Limits) -> Decoder {
        let mut decoder = Decoder {
            client: Stream::new(limits.request, Place::Known),
            server: Stream::new(SERVER_CAP, Place::Known),
            login: Login::new(limits.body),
            session: Session::new(limits),
            order: Order::new(rows::opening(opening.at, opening.info)),
            guessed: false,
            blind: false,
            rejected: None,
            opaque: None,
            over: false,
            violated: false,
        };
        decoder.client.framer.set_tagged(false);
        if opening.mid_stream {
            decoder.join_mid_stream();
        }
        decoder
    }

    /// The start-up was not seen.
    fn join_mid_stream(&mut self) {
        self.login.stage = Stage::Done;
        self.client.framer.set_tagged(true);
        self.client.place = Place::Likely;
        self.session.server_place = Place::Likely;
        self.session.paired = false;
        self.session.statements.miss();
        self.blind = true;
        if let Some(opening) = &mut self.order.opening {
            opening.notes.add(Notes::MID_STREAM);
            opening.reason = Some("mid-stream".into());
        }
    }

    fn client_data(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) -> Result<(), Fault> {
        let mut input = bytes;
        if self.blind && login::is_startup(bytes) {
            self.rejoin_startup();
        }
        if self.login.stage == Stage::Startup {
            self.startup(&mut input, at, out)?;
        }
        if input.is_empty() || self.silent() {
            return Ok(());
        }
        if self.client.place != Place::Known {
            if !whole_requests(input) {
                return Ok(());
            }
            self.client.place = Place::Known;
            self.blind = false;
            self.guessed = true;
        }
        self.client_messages(input, at, out)
    }

    fn client_messages(
        &mut self,
        input: &[u8],
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) -> Result<(), Fault> {
        let mut began = self.client.began(at);
        let mut rows = self.order.rows(out);
        let session = &mut self.session;
        self.client.framer.each(input, |frame| {
            let began = std::mem::replace(&mut began, at);
            session
                .client(frame, began, at, &mut rows)
                .map_err(Fault::from)
        })?;
        self.client.began = began;
        self.login.client_spoke(&self.session, &mut rows);
        Ok(())
    }

    fn server_data(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) -> Result<(), Fault> {
        let mut input = bytes;
        self.session.server_spoke = true;
        self.negotiate(&mut input, at, out);
        if input.is_empty() || self.silent() {
            return Ok(());
        }
        if self.session.server_place != Place::Known {
            let lost = self.login.stage == Stage::Lost;
            let begins = if lost { begins_answer } else { begins_response };
            let likely = self.session.server_place == Place::Likely && begins(input);
            if lost && (likely || ends_ready(input)) {
                self.login.passed(&mut self.order.rows(out));
            }
            if !likely {
                self.session.server_place = Place::Unknown;
                self.session.server_idle = false;
                if !ends_ready(input) {
                    return Ok(());
                }
                // The server has said all that it had to say: from here on, all is known again.
                let start = input.len() - 6;
                input = input.get(start..).unwrap_or_default();
                if lost || self.session.waiting.len() > 1 {
                    self.session.abandon(&mut self.order.rows(out));
                }
                if lost {
                    // The login's or a request's: it is nobody's.
                    self.session.paired = false;
                    self.session.server_idle = true;
                    input = &[];
                }
            }
            self.session.server_place = Place::Known;
            self.guessed = true;
        }
        self.server_messages(input, at, out)
    }

    fn server_messages(
        &mut self,
        input: &[u8],
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) -> Result<(), Fault> {
        let mut began = self.server.began(at);
        let mut rows = self.order.rows(out);
        let (login, session) = (&mut self.login, &mut self.session);
        self.server.framer.each(input, |frame| {
            let began = std::mem::replace(&mut began, at);
            match login.stage {
                Stage::Authenticating => login.server(frame, began, at, session, &mut rows),
                _ => session.server(frame, began, at, &mut rows),
            }
            .map_err(Fault::from)
        })?;
        self.server.began = began;
        if self.server.framer.partial().is_some() {
            self.session.server_idle = false;
        }
        Ok(())
    }

    fn fault(&mut self, from: Side, fault: &Fault, at: Timestamp, out: &mut Vec<Exchange>) {
        let ancient = matches!(fault, Fault::Frame(error) if error.tag == b'E');
        if self.login.stage == Stage::Startup && from == Side::Client && !self.login.asked {
            self.rejected = Some("no PostgreSQL start-up message");
        } else if self.login.stage == Stage::Authenticating && from == Side::Server && ancient {
            self.refused_in_plain_text(at, out);
        } else if self.guessed {
            self.lose_place(from, at, out);
        } else {
            self.violate(out);
        }
    }

    fn violate(&mut self, out: &mut Vec<Exchange>) {
        self.violated = true;
        self.opaque = Some(VIOLATION);
        if let Some(opening) = &mut self.order.opening {
            opening.notes.add(Notes::VIOLATION);
            opening.reason = Some(VIOLATION.into());
        }
        if let Some(unit) = self.session.waiting.front_mut() {
            unit.notes.add(Notes::VIOLATION);
        }
        let mut rows = self.order.rows(out);
        rows.open();
        self.session.drain(VIOLATION, &mut rows);
    }

    /// It is not known any more where messages begin.
    fn lose_place(&mut self, from: Side, at: Timestamp, out: &mut Vec<Exchange>) {
        match from {
            Side::Client => {
                let (partial, began) = (self.client.framer.partial(), self.client.began(at));
                self.client.framer.gap(0);
                self.client_gap(partial, began, out);
            }
            Side::Server => {
                self.server.framer.gap(0);
                self.server_gap(out);
            }
        }
    }

    fn client_gap(&mut self, partial: Option<u8>, began: Timestamp, out: &mut Vec<Exchange>) {
        let mut rows = self.order.rows(out);
        self.client.place = Place::Unknown;
        self.session.client_gap(partial, began, &mut rows);
        self.login.client_spoke(&self.session, &mut rows);
    }

    fn server_gap(&mut self, out: &mut Vec<Exchange>) {
        let mut rows = self.order.rows(out);
        self.login.server_gap(&mut self.session, &mut rows);
        self.session.server_gap(&mut rows);
    }

    /// Nothing more is read.
    fn silent(&self) -> bool {
        self.over || self.rejected.is_some() || self.opaque.is_some()
    }
}

impl border::Decoder for Decoder {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) {
        if self.silent() || bytes.is_empty() {
            return;
        }
        let result = match from {
            Side::Client => self.client_data(bytes, at, out),
            Side::Server => self.server_data(bytes, at, out),
        };
        if let Err(fault) = result {
            self.fault(from, &fault, at, out);
        }
    }

    fn gap(&mut self, from: Side, len: u64, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.silent() {
            return;
        }
        if from == Side::Server && self.lost_answers(len) {
            return;
        }
        if self.login.stage == Stage::Startup {
            self.client.framer.gap(0);
            self.join_mid_stream();
            return;
        }
        self.guessed = true;
        let stream = match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let (partial, began) = (stream.framer.partial(), stream.began(at));
        if stream.framer.gap(len) {
            // Where the message ends with what was lost, it is over: its answer may come next.
            let result = match from {
                Side::Client => self.client_messages(&[], at, out),
                Side::Server => self.server_messages(&[], at, out),
            };
            if let Err(fault) = result {
                self.fault(from, &fault, at, out);
            }
            return;
        }
        match from {
            Side::Client => self.client_gap(partial, began, out),
            Side::Server => self.server_gap(out),
        }
    }

    fn close(&mut self, reason: &'static str, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.rejected.is_some() {
            return;
        }
        if self.order.opening.is_some() {
            if self.login.stage == Stage::Startup && !self.login.asked {
                self.rejected = Some("no PostgreSQL start-up message");
                return;
            }
            if self.blind {
                self.rejected = Some("no PostgreSQL message");
                return;
            }
        }
        let (reason, at) = match self.session.ended {
            _ if self.violated => (VIOLATION, at),
            Some(ended) => ended,
            None => (reason, at),
        };
        let mut rows = self.order.rows(out);
        rows.open();
        self.session.drain(reason, &mut rows);
        let mut row = rows::row(Kind::Close, at, "close");
        row.reason = Some(Arc::from(reason));
        if self.violated {
            row.notes.add(Notes::VIOLATION);
        }
        let mut unasked = self.session.take_unasked();
        if !unasked.is_empty() {
            if unasked.has_error() {
                row.status = Status::Error;
            }
            row.response = Some(unasked.finish());
        }
        rows.push(row);
        self.over = true;
    }

    fn rejected(&self) -> Option<&'static str> {
        self.rejected
    }

    fn held(&self) -> usize {
        size_of::<Decoder>()
            + self.client.framer.held()
            + self.server.framer.held()
            + self.session.held()
            + self.login.held()
    }

    fn opaque(&self) -> Option<&'static str> {
        self.opaque
    }

    fn learn(&mut self, known: &Known) {
        if let Some(opening) = &mut self.order.opening
            && opening.notes.contains(Notes::MID_STREAM)
            && let Some(info) = &mut opening.info
        {
            info.user.clone_from(&known.user);
            info.database.clone_from(&known.database);
            info.application.clone_from(&known.application);
            info.backend = known.backend;
        }
        self.session.strangers.tell(known.executed.as_ref());
    }

    fn strangers(&self) -> Strangers {
        self.session.strangers.count()
    }
}
