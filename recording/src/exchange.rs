use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use crate::Timestamp;

/// One row of a recording or of a run: a session's opening, a request with its response, what the
/// session had prepared before, or its end.
///
/// `(started_at, session, seq)` is the row's place in the order of time and the same in a recording
/// and in every run of it, so that runs are compared by a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    pub session: u64,
    /// Counts from 0, the opening, within a session.
    pub seq: u32,
    pub kind: Kind,
    /// When the request's first byte was seen, on the recording's clock. For an opening: when the
    /// connection was asked for, or met where capture began in the middle of it.
    pub started_at: Timestamp,
    pub request: Request,
    pub status: Status,
    /// Why the status is `Unanswered` or `Skipped`, or how the session ended. A name that the ledger
    /// uses too. Of an answered request: what is odd in its form or its answer's.
    pub reason: Option<Arc<str>>,
    pub response: Option<Response>,
    pub notes: Notes,
    /// On openings only.
    pub info: Option<Box<SessionInfo>>,
    /// In runs only.
    pub pacing: Option<Pacing>,
}

impl Exchange {
    /// A row that is [`Status::Ok`] and says no more.
    pub fn new(kind: Kind, started_at: Timestamp) -> Exchange {
        Exchange {
            session: 0,
            seq: 0,
            kind,
            started_at,
            request: Request::default(),
            status: Status::Ok,
            reason: None,
            response: None,
            notes: Notes::default(),
            info: None,
            pacing: None,
        }
    }
}

/// What the engine must know of a row; the protocol's own word for it is `Request::command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Connecting and logging in: always `seq` 0, once a session.
    Open,
    Request,
    /// Asks the server, on a connection of its own, to stop what another session does.
    Cancel,
    /// The session's end, once a session, also where only capture ended.
    Close,
    /// A statement that the session had prepared before capture met it, as learnt from the server:
    /// the request's bytes prepare it, and were not on the wire. It comes late in `seq`, and in
    /// time before the first request that needs it.
    Prepare,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The protocol's word: `query`, `extended`, `function call`, `GET`.
    pub command: Arc<str>,
    /// The client's own bytes, with secrets blanked. Shorter than `wire_len` where a cap cut them, and of
    /// replication, of which only the beginning is kept.
    pub bytes: Vec<u8>,
    pub wire_len: u64,
    /// When the request's last byte was seen. For a run: when it was handed to the kernel.
    pub last_byte_at: Timestamp,
    /// Absent where the request has no statement, or refers to one prepared before capture began.
    pub statement: Option<Statement>,
    /// How many statements (executions) the request asks for.
    pub statements: u32,
    /// Types of the parameters, in the protocol's notation, where the request does not say them
    /// itself (PostgreSQL: type OIDs with commas).
    pub parameter_types: Option<Arc<str>>,
    /// Sent before the response to the one before was complete.
    pub pipelined: bool,
}

/// A statement without its literals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statement {
    pub text: Arc<str>,
    /// Stable 64-bit hash of `text`.
    pub fingerprint: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    Ok,
    /// The server answered with an error: `Response::error_code` has it.
    Error,
    /// Sent, but no complete response was seen: `Exchange::reason` says why.
    #[default]
    Unanswered,
    /// In runs: not sent. `Exchange::reason` says why.
    Skipped,
}

/// What the server sent back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// Of the first error: SQLSTATE, errno, HTTP status.
    pub error_code: Option<Arc<str>>,
    pub rows: u64,
    /// Rows inserted, updated, deleted, merged or copied, as the server counted them.
    pub affected: u64,
    pub wire_len: u64,
    pub first_byte_at: Timestamp,
    pub last_byte_at: Timestamp,
    /// Names and types of the columns, in the protocol's notation.
    pub columns: Option<Arc<str>>,
    /// Of the rows in their order.
    pub rows_digest: u64,
    /// Of the rows in any order.
    pub rows_digest_unordered: u64,
    /// The server's own bytes up to a cap: complete where as long as `wire_len`.
    pub body: Vec<u8>,
    pub transaction: Transaction,
}

/// Where the session stands after a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// The protocol has none, or it was not seen.
    #[default]
    Unknown,
    Idle,
    Open,
    Failed,
}

/// Who spoke to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The protocol's name in the registry.
    pub protocol: Arc<str>,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub user: Option<Arc<str>>,
    pub database: Option<Arc<str>>,
    pub application: Option<Arc<str>>,
    /// The server's own number for the session: PostgreSQL's process id, MySQL's connection id.
    /// On the opening of a connection that only cancels: the number of the session it cancels.
    pub backend: Option<u64>,
}

/// When a request was to be sent in a run, and when it was. All on the run's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// What the schedule asked for.
    pub intended_at: Timestamp,
    /// When nothing of the target's stood in the way any more: the later of `intended_at` and the
    /// end of what the request had to wait for.
    pub ready_at: Timestamp,
    /// When its first byte was handed to the kernel.
    pub sent_at: Timestamp,
}

impl Pacing {
    /// Delay from when the request could have been sent to when it was: the harness's own fault.
    pub fn lateness_ns(&self) -> u64 {
        self.sent_at.since(self.ready_at)
    }
}

impl Exchange {
    /// Why a recording does not have the request together with its response: a name of the ledger.
    pub fn lost(&self) -> Option<&Arc<str>> {
        static UNANSWERED: LazyLock<Arc<str>> = LazyLock::new(|| "unanswered".into());
        let lost = self.status == Status::Unanswered || self.is_request_lost();
        (self.kind == Kind::Request && lost).then(|| self.reason.as_ref().unwrap_or(&UNANSWERED))
    }

    /// Only the response was seen.
    fn is_request_lost(&self) -> bool {
        self.notes.contains(Notes::REQUEST_GAP) && self.request.wire_len == 0
    }

    /// Last byte received minus first byte sent. `None` where the response or the request was not seen.
    pub fn service_ns(&self) -> Option<u64> {
        Some(self.response.as_ref()?.last_byte_at.since(self.sent_at()?))
    }

    /// First byte received minus first byte sent. `None` where the response or the request was not seen.
    pub fn first_byte_ns(&self) -> Option<u64> {
        Some(self.response.as_ref()?.first_byte_at.since(self.sent_at()?))
    }

    fn sent_at(&self) -> Option<Timestamp> {
        let sent_at = self.pacing.map_or(self.started_at, |pacing| pacing.sent_at);
        (!self.is_request_lost()).then_some(sent_at)
    }

    /// Last byte received minus *intended* send time. In a recording the same as
    /// [`Exchange::service_ns`].
    pub fn response_ns(&self) -> Option<u64> {
        let intended_at = self
            .pacing
            .map_or(self.started_at, |pacing| pacing.intended_at);
        Some(self.response.as_ref()?.last_byte_at.since(intended_at))
    }

    /// The row's place in the order of time.
    pub fn order(&self) -> (Timestamp, u64, u32) {
        (self.started_at, self.session, self.seq)
    }
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Open,
        Kind::Request,
        Kind::Cancel,
        Kind::Close,
        Kind::Prepare,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Request => "request",
            Kind::Cancel => "cancel",
            Kind::Close => "close",
            Kind::Prepare => "prepare",
        }
    }
}

impl Status {
    pub const ALL: [Status; 4] = [
        Status::Ok,
        Status::Error,
        Status::Unanswered,
        Status::Skipped,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Error => "error",
            Status::Unanswered => "unanswered",
            Status::Skipped => "skipped",
        }
    }
}

impl Transaction {
    pub const ALL: [Transaction; 4] = [
        Transaction::Unknown,
        Transaction::Idle,
        Transaction::Open,
        Transaction::Failed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Transaction::Unknown => "unknown",
            Transaction::Idle => "idle",
            Transaction::Open => "open",
            Transaction::Failed => "failed",
        }
    }
}

/// What a reader should know of a row before trusting it: a set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Notes(u32);

impl Notes {
    pub const MID_STREAM: Notes = Notes(1);
    pub const REQUEST_GAP: Notes = Notes(1 << 1);
    pub const RESPONSE_GAP: Notes = Notes(1 << 2);
    pub const REQUEST_CUT: Notes = Notes(1 << 3);
    pub const UNKNOWN_STATEMENT: Notes = Notes(1 << 4);
    pub const OVERLAP: Notes = Notes(1 << 5);
    pub const CLOCK_STEP: Notes = Notes(1 << 6);
    pub const ENCRYPTED: Notes = Notes(1 << 7);
    pub const VIOLATION: Notes = Notes(1 << 8);
    pub const SECRET_BLANKED: Notes = Notes(1 << 9);

    const NAMES: [(Notes, &'static str); 10] = [
        (Notes::MID_STREAM, "mid-stream"),
        (Notes::REQUEST_GAP, "request-gap"),
        (Notes::RESPONSE_GAP, "response-gap"),
        (Notes::REQUEST_CUT, "request-cut"),
        (Notes::UNKNOWN_STATEMENT, "unknown-statement"),
        (Notes::OVERLAP, "overlap"),
        (Notes::CLOCK_STEP, "clock-step"),
        (Notes::ENCRYPTED, "encrypted"),
        (Notes::VIOLATION, "violation"),
        (Notes::SECRET_BLANKED, "secret-blanked"),
    ];

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, other: Notes) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn add(&mut self, other: Notes) {
        self.0 |= other.0;
    }

    pub fn remove(&mut self, other: Notes) {
        self.0 &= !other.0;
    }

    /// Reads what `Display` prints. Names of a later version are passed over.
    pub fn parse(text: &str) -> Notes {
        let mut notes = Notes::default();
        for name in text.split(',') {
            if let Some((note, _)) = Notes::NAMES.iter().find(|(_, known)| *known == name) {
                notes.add(*note);
            }
        }
        notes
    }
}

impl fmt::Display for Notes {
    /// The names, with commas between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (note, name) in Notes::NAMES {
            if self.contains(note) {
                if !first {
                    f.write_str(",")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_print_and_parse() {
        let mut notes = Notes::default();
        assert_eq!(notes.to_string(), "");
        notes.add(Notes::MID_STREAM);
        notes.add(Notes::OVERLAP);
        notes.add(Notes::CLOCK_STEP);
        notes.remove(Notes::CLOCK_STEP);
        assert_eq!(notes.to_string(), "mid-stream,overlap");
        assert_eq!(Notes::parse("mid-stream,overlap,of-tomorrow"), notes);
        assert_eq!(Notes::parse(""), Notes::default());
    }
}
