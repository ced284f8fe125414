use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use recording::{Exchange, Response, SessionInfo, Statement, Timestamp};

use crate::keys::Keys;
use crate::learnt::{Learnt, Recorded};

/// What the rest of Rehearsal knows of a protocol.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// Lower case, for users to type: `postgres`.
    fn name(&self) -> &'static str;

    fn default_port(&self) -> u16;

    /// Schemes of a target's URL, the first one for printing.
    fn url_schemes(&self) -> &'static [&'static str];

    /// Do these first bytes of a client belong to the protocol?
    fn probe(&self, client: &[u8]) -> Probe;

    fn decoder(&self, opening: Opening, limits: Limits) -> Box<dyn Decoder>;

    fn driver(&self, login: Login, limits: Limits) -> Box<dyn Driver>;

    /// `None` where the protocol has nothing to ask.
    fn inquiry(&self, _login: Login) -> Option<Box<dyn Inquiry>> {
        None
    }

    /// Completes a row that refers to statements learnt later than it was written. Rows of a session
    /// come in order of time; what is learnt of it is kept in `learnt`, by name.
    fn mend(&self, _row: &mut Exchange, _learnt: &mut HashMap<Box<[u8]>, Statement>) {}

    /// Does the scheme of a target's URL decide on TLS, and how? Where it does, TLS comes before
    /// the first byte.
    fn url_tls(&self, _scheme: &str) -> Option<bool> {
        None
    }

    /// What TLS to a target offers as its application protocol; empty for none.
    fn alpn(&self) -> &'static [&'static [u8]] {
        &[]
    }

    /// Does a session begin with a login? Where not, requests say who asks, if anything does.
    fn logs_in(&self) -> bool {
        true
    }

    /// May one connection serve several sessions, a request of one after a request of another?
    fn shares_connections(&self) -> bool {
        false
    }

    /// Is it an option of a replay, for [`Login::options`], and can it have the value? The error says
    /// what is wrong.
    fn check_option(&self, _name: &str, _value: &str) -> Result<(), &'static str> {
        Err("the protocol has no such option")
    }

    /// Why a recorded request is not to be sent under the options, as a name for the ledger.
    fn withheld(
        &self,
        _request: &Exchange,
        _options: &[(Arc<str>, Arc<str>)],
    ) -> Option<&'static str> {
        None
    }

    /// How many bytes of a recorded response's body a driver reads, if any: a replay holds no more.
    fn needed(&self) -> Option<fn(&[u8]) -> usize> {
        None
    }

    /// Values in a recorded response that the server made up for its clients to send back. A request
    /// that does so is sent when the run has [`Learnt`] what the target made up instead.
    fn made_up(&self, _recorded: &Exchange) -> Vec<Recorded> {
        Vec::new()
    }

    /// Values in a recorded request that a server may have made up.
    fn sent_back(&self, _request: &Exchange, _options: &[(Arc<str>, Arc<str>)]) -> Vec<Recorded> {
        Vec::new()
    }

    /// Finds the password in the text of the protocol's password file, when it has one.
    /// `None` in a field of `login` matches only a wildcard.
    fn password_from_file(
        &self,
        text: &str,
        host: &str,
        port: u16,
        login: &Login,
    ) -> Option<String>;

    /// The environment variable with a password, the one with the password file's path, and the
    /// file's name in the home directory.
    fn password_sources(&self) -> Option<(&'static str, &'static str, &'static str)>;

    /// Where statements have values in them that only many requests tell.
    fn learner(&self) -> Option<Box<dyn Learner>> {
        None
    }

    /// Is it an option of a comparison, for [`Terms::options`], and can it have the value? The error
    /// says what is wrong.
    fn check_term(&self, _name: &str, _value: &str) -> Result<(), &'static str> {
        Err("the protocol has no such option")
    }

    /// How `observed` differs from `expected`; empty where it does not. Both are of the same
    /// request and answered; what one of them lacks is the caller's to tell.
    fn compare(&self, expected: &Exchange, observed: &Exchange, terms: &Terms) -> Vec<Difference>;

    /// Why what [`Protocol::compare`] told is no difference: the request asks for something by a number that each
    /// server gives out itself. As a reason for its not being compared.
    fn own_numbers(
        &self,
        _request: &Exchange,
        _differences: &[Difference],
    ) -> Option<&'static str> {
        None
    }

    /// Is it the error that a client gets which had called its request off?
    fn is_called_off(&self, _error_code: &str) -> bool {
        false
    }

    /// The request as a person would want to read it.
    fn show_request(&self, exchange: &Exchange) -> Shown;

    /// The response as a person would want to read it, with at most `max_rows` rows.
    fn show_response(&self, exchange: &Exchange, max_rows: usize) -> Answer;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Yes,
    No,
    /// Too few bytes to tell.
    More,
}

/// Who sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Server,
}

/// How a decoder begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// When the connection was asked for, or met.
    pub at: Timestamp,
    /// Capture met the connection when it was open already.
    pub mid_stream: bool,
    /// `protocol`, `client` and `server` are set; the decoder fills in the rest.
    pub info: SessionInfo,
}

/// Caps on what is kept, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one request's own bytes. Above it the request is cut and marked `REQUEST_CUT`.
    pub request: usize,
    /// Of one response's bytes, but for its head where the protocol has one; 0 keeps none.
    pub body: usize,
}

impl Limits {
    /// Of one response's head.
    pub const HEAD: usize = 64 << 10;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request: 16 << 20,
            body: 64 << 10,
        }
    }
}

/// One connection's bytes, both ways, to rows. The caller sets `Exchange::session`.
///
/// The first row it gives is the opening, with `seq` 0, and the last, from `close`, is the end.
/// A decoder that finds that the bytes are not of its protocol gives no row at all and says why in
/// [`Decoder::rejected`]. Memory: never more than the caps, plus one message head a side.
pub trait Decoder: fmt::Debug + Send {
    /// The next bytes of one side, and when they were seen. One side's times never step back between
    /// calls, nor is an answer seen before what it answers; other bytes may have been seen before those
    /// that the other side gave meanwhile, where they waited behind a loss.
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>);

    /// `len` bytes of one side were lost; 0 where their number is unknown. They were missed at `at`.
    fn gap(&mut self, from: Side, len: u64, at: Timestamp, out: &mut Vec<Exchange>);

    /// One side said all that it had to say. The other may go on, and [`Decoder::close`] follows.
    fn end(&mut self, _from: Side, _at: Timestamp, _out: &mut Vec<Exchange>) {}

    /// The connection is over, or capture is. `reason` is a name for the ledger: `fin`, `rst`,
    /// `idle`, `port reused`, `capture ended`.
    fn close(&mut self, reason: &'static str, at: Timestamp, out: &mut Vec<Exchange>);

    /// Why the bytes are not of this protocol. The caller then drops the decoder.
    fn rejected(&self) -> Option<&'static str>;

    /// Bytes that it holds, for the caller's account of memory.
    fn held(&self) -> usize;

    /// The bytes that follow can't be read (encrypted): the caller may drop them, counted under
    /// the name.
    fn opaque(&self) -> Option<&'static str> {
        None
    }

    /// What the server told of this connection. It may be told again and again; what was seen on
    /// the wire goes before it.
    fn learn(&mut self, _known: &Known) {}

    /// Statements that the client named without having prepared them in sight.
    fn strangers(&self) -> Strangers {
        Strangers::default()
    }
}

/// Statements that were prepared before capture met their session, by what became of them. Each is
/// counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    pub learnt: u64,
    /// Not known yet.
    pub lacking: u64,
    /// Not to be known any more.
    pub lost: u64,
}

/// What a server tells of one of its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub user: Option<Arc<str>>,
    pub database: Option<Arc<str>>,
    pub application: Option<Arc<str>>,
    pub backend: Option<u64>,
    pub executed: Option<Executed>,
}

/// The statement that a connection executed last, and between which times on capture's clock its
/// execution certainly began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub text: Arc<str>,
    pub earliest: Timestamp,
    pub latest: Timestamp,
}

/// Asks a server, over a connection of its own, what capture can't see of connections that it met
/// on their way. One question at a time.
pub trait Inquiry: fmt::Debug + Send {
    /// Begins. `same_clock`: the server reads the very clock that capture reads. Bytes to send are
    /// appended to `out`, here and below.
    fn open(&mut self, same_clock: bool, out: &mut Vec<u8>) -> Result<(), DriverError>;

    fn ask(&mut self, at: Timestamp, out: &mut Vec<u8>) -> Result<(), DriverError>;

    fn receive(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<Option<Told>, DriverError>;

    fn goodbye(&mut self, out: &mut Vec<u8>);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It may be asked.
    Ready,
    Connections {
        /// By the client's end.
        known: HashMap<SocketAddr, Known>,
        /// Connections of which the user that asked may not be told.
        hidden: u64,
    },
    /// The server refused the login or the question, in its own words.
    Refused(String),
}

/// Who logs in to a target. A field that is `None` was not told by the user: the driver takes the
/// recorded one.
#[derive(Clone, Default)]
pub struct Login {
    pub user: Option<Arc<str>>,
    pub database: Option<Arc<str>>,
    pub password: Option<Arc<str>>,
    /// Ask the server for TLS before anything else.
    pub tls: bool,
    /// The target's host, and its port where the URL has one.
    pub authority: Option<Arc<str>>,
    /// The protocol's own options, as the user named them.
    pub options: Vec<(Arc<str>, Arc<str>)>,
    /// Shared by all drivers of a run: clones of a login share it.
    pub learnt: Learnt,
    /// Shared in the same way.
    pub keys: Keys,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("database", &self.database)
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Speaks for one recorded session to a target: recorded rows in, bytes to send out; received bytes
/// in, responses out. Responses come in the order of the requests.
pub trait Driver: fmt::Debug + Send {
    /// Begins the session whose opening was recorded, or goes on with it over a new connection
    /// after [`DriverEvent::Reconnect`]. Where connections are shared, a session may go on over one
    /// that another session opened: nobody tells the driver. Bytes to send are appended to `out`.
    fn open(
        &mut self,
        opening: &Exchange,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError>;

    /// TLS stands: what comes next to send.
    fn tls_ready(
        &mut self,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError>;

    /// Bytes to send for a request. Some may be held back until the server asks for them (COPY):
    /// they come out of `receive`. More than one request may be under way. After
    /// [`DriverError::Unsupported`] nothing was sent, and the session goes on without the request.
    fn send(&mut self, request: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError>;

    /// The same for a request that ended a transaction which had failed when recorded, where the target's has
    /// not: what was done in it is taken back. Where there are no transactions, there is nothing to take
    /// back.
    fn roll_back(&mut self, request: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError> {
        self.send(request, out)
    }

    /// The request is not sent, for whatever reason, nor is anything else in its place: what comes after it in
    /// the session may rest on it.
    fn pass_over(&mut self, _request: &Exchange) {}

    /// Bytes that came at `at`. Anything that must be sent in answer is appended to `out`.
    fn receive(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError>;

    /// The server closed the connection at `at`: gives the response that only the end delimits, and
    /// [`DriverEvent::Reconnect`] where the session can go on. Requests under way that it does not
    /// answer are lost. Not `in_order`: the connection broke, is given up, or could not be made.
    fn end(
        &mut self,
        _in_order: bool,
        _at: Timestamp,
        _events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        Ok(())
    }

    /// Is something held back until the server asks for it?
    fn holds(&self) -> bool {
        false
    }

    /// The server did not ask in time: what is held back for it is sent without.
    fn insist(&mut self, _out: &mut Vec<u8>) {}

    /// Where connections are shared: may another session have this one? Nothing is under way on it,
    /// or to come.
    fn rests(&self) -> bool {
        false
    }

    /// The client leaves: what has come of the response to the oldest request under way.
    fn leave(&mut self) -> Option<Response> {
        None
    }

    /// What the client says when it leaves, if anything.
    fn goodbye(&mut self, out: &mut Vec<u8>);

    /// What to send on a connection of its own to cancel what this session does now.
    /// `None` before the login is complete, or where the protocol has no such thing.
    fn cancel(&self) -> Option<Vec<u8>>;

    /// What it did to requests on their way, by name, for the run's notes: `cookies mapped`.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum DriverEvent {
    /// The server agreed to TLS: shake hands, then call `tls_ready`.
    StartTls,
    /// Logged in. Requests may be sent.
    Opened(Response),
    /// The login failed with an error of the server's.
    Refused {
        code: Arc<str>,
        message: String,
        response: Response,
    },
    /// What the response to the oldest request under way teaches is [`Learnt`], before its end.
    Learnt,
    /// The response to the oldest request under way. `Response::error_code` tells an error.
    Answered(Response),
    /// The oldest request under way gets no response, and why.
    Unanswered(&'static str),
    /// The connection is used up: close it, and before the next request make another and call `open`
    /// again, whose `Opened` is no news. Requests under way on it are lost, or sent again.
    Reconnect { again: Again },
}

/// Are requests sent again whose connection is used up?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// They may have been read, and nobody knows what came of it.
    Never,
    /// Nothing came back, and they change nothing: where the connection had served before, the server may have
    /// closed it before it saw them.
    IfServed,
    /// The server is known to have left them unread.
    Always,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    #[error("the server asks for {0}, which rehearsal does not speak")]
    Authentication(String),
    #[error(
        "the server asks for a password and none is known for user {user:?}: put it into the target's URL, {variable} or {file}"
    )]
    NoPassword {
        user: String,
        variable: &'static str,
        file: &'static str,
    },
    #[error(
        "the server refused TLS: leave it out of the target's URL, or turn it on in the server"
    )]
    TlsRefused,
    #[error("the server sent {what} at byte {offset} of the session")]
    Violation { what: String, offset: u64 },
    /// What it said before that was an answer.
    #[error("the server ended the session: {0}")]
    Ended(String),
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Learns from many requests what in their statements is a value, though nothing in a single one
/// tells it. The same requests in the same order teach the same; memory is bounded.
pub trait Learner: fmt::Debug {
    /// Takes a request into account. Are statements that came before told otherwise by now?
    fn learn(&mut self, row: &Exchange) -> bool;

    /// A statement without the values that were learnt; `None` where it stays as it is.
    fn general(&self, text: &str) -> Option<Statement>;
}

/// On which two sides are compared.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The protocol's own options, as the user named them.
    pub options: Vec<(Arc<str>, Arc<str>)>,
    /// Whose responses they are, by URL; `None` for those of a recording.
    pub expected_target: Option<Arc<str>>,
    pub observed_target: Option<Arc<str>>,
}

/// One way in which two responses differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: DifferenceKind,
    /// Where in the answer: `row 3, column total`. Empty where it concerns the whole.
    pub place: String,
    pub expected: String,
    pub observed: String,
}

impl Difference {
    /// The place of a difference of which nothing more is known: the answers were not kept whole.
    pub const OVER_CAP: &str = "digest; the answer was over the cap";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    NewError,
    VanishedError,
    DifferentError,
    /// Neither is an error: 200 and 302.
    Status,
    Headers,
    RowCount,
    AffectedRows,
    ColumnNames,
    ColumnTypes,
    Values,
    OrderOnly,
    Warnings,
    /// The session was lost, or the request was never answered.
    Missing,
}

impl DifferenceKind {
    pub fn name(self) -> &'static str {
        match self {
            DifferenceKind::NewError => "new error",
            DifferenceKind::VanishedError => "vanished error",
            DifferenceKind::DifferentError => "different error",
            DifferenceKind::Status => "status",
            DifferenceKind::Headers => "headers",
            DifferenceKind::RowCount => "row count",
            DifferenceKind::AffectedRows => "affected rows",
            DifferenceKind::ColumnNames => "column names",
            DifferenceKind::ColumnTypes => "column types",
            DifferenceKind::Values => "values",
            DifferenceKind::OrderOnly => "order only",
            DifferenceKind::Warnings => "warnings",
            DifferenceKind::Missing => "missing",
        }
    }
}

/// A request for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The statement as the client sent it, where it is in the request's bytes.
    pub statement: Option<String>,
    pub parameters: Vec<String>,
}

/// A response for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Rows that are there but not in `rows`.
    pub more_rows: u64,
    /// Completion tags, errors and warnings, a line each.
    pub messages: Vec<String>,
    /// The body was over the cap, so that only its beginning is shown.
    pub cut: bool,
}
