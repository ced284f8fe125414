use std::mem;
use std::sync::Arc;

use recording::{Exchange, Kind, Notes, Request, Statement, Status, Timestamp};

use super::course::{Course, Step};
use super::statements::Prepared;
use crate::postgres::messages::Frame;
use crate::postgres::secrets;
use crate::sql;

/// Room that a small request does not have to grow for.
const USUAL_LEN: usize = 192;
/// Statements of one request whose texts are joined.
const MAX_JOINED: usize = 64;
/// Statements of one text that are told apart: each costs a walk over all of it.
const MAX_TOLD_APART: u32 = 100;

/// A request that waits for its response, or is still being sent.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: UnitKind,
    /// When the first byte came.
    pub(super) began_at: Timestamp,
    /// From when on it is timed.
    pub(super) started_at: Timestamp,
    pub(super) last_byte_at: Timestamp,
    pub(super) bytes: Vec<u8>,
    wire_len: u64,
    /// All of it was seen, up to what makes the server answer ReadyForQuery.
    pub(super) closed: bool,
    pub(super) copy: Copy,
    pub(super) pipelined: bool,
    pub(super) notes: Notes,
    pub(super) executions: u32,
    /// The first that is executed, and those after it; the same one in succession is there once.
    pub(super) statement: Option<Statement>,
    more_statements: Vec<Statement>,
    /// Prepared or described, which counts where nothing is executed.
    pub(super) mentioned: Option<Statement>,
    pub(super) bound: Option<Arc<Prepared>>,
    pub(super) runs: Runs,
    /// Where the text of a simple query stands in `bytes`.
    pub(super) query_at: usize,
    /// Where a text of more bytes than the cap begins that was not looked through for secrets yet.
    pub(super) open_text: Option<usize>,
    pub(super) course: Course,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    Query,
    Extended,
    FunctionCall,
}

/// What the server names when it says what a request executes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// What was named before.
    Nothing,
    /// Only the statement of that name, which nobody knows.
    Stranger(Box<[u8]>),
    /// Only the text of that hash.
    Text(u64),
    Anything,
}

/// ```text
/// No -- CopyInResponse --> In -- CopyDone, CopyFail --> Over
///  \--- CopyBothResponse --> Both, to the end
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    No,
    In,
    Over,
    Both,
}

impl Unit {
    pub(super) fn new(kind: UnitKind, started_at: Timestamp, body_cap: usize) -> Unit {
        Unit {
            kind,
            began_at: started_at,
            started_at,
            last_byte_at: started_at,
            bytes: Vec::new(),
            wire_len: 0,
            closed: false,
            copy: Copy::No,
            pipelined: false,
            notes: Notes::default(),
            executions: 0,
            statement: None,
            more_statements: Vec::new(),
            mentioned: None,
            bound: None,
            runs: Runs::Nothing,
            query_at: 0,
            open_text: None,
            course: Course::new(body_cap),
        }
    }

    /// Adds the client's bytes, up to `cap` in all. Gives where they begin.
    pub(super) fn keep(&mut self, frame: &Frame<'_>, at: Timestamp, cap: usize) -> usize {
        let start = self.bytes.len();
        self.last_byte_at = at;
        let bytes = match *frame {
            Frame::Whole { bytes, .. } | Frame::Part { bytes, .. } => bytes,
            Frame::Damaged { len, .. } => {
                self.wire_len += len;
                self.notes.add(Notes::REQUEST_GAP);
                return start;
            }
        };
        self.wire_len += bytes.len() as u64;
        if self.notes.contains(Notes::REQUEST_GAP) {
            return start;
        }
        // Once cut, always cut: what is kept is a beginning.
        let cut = self.notes.contains(Notes::REQUEST_CUT);
        let room = if cut { 0 } else { cap.saturating_sub(start) };
        if bytes.len() > room {
            self.notes.add(Notes::REQUEST_CUT);
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(bytes.len().min(room).max(USUAL_LEN));
        }
        self.bytes
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        start
    }

    /// Counts bytes that are not worth keeping. The request is none that more room would make whole.
    pub(super) fn pass_over(&mut self, frame: &Frame<'_>, at: Timestamp) {
        self.last_byte_at = at;
        self.wire_len += frame.len();
    }

    pub(super) fn add_statement(&mut self, statement: Statement) {
        if self.statement.is_none() {
            self.statement = Some(statement);
        } else if self.more_statements.last().or(self.statement.as_ref()) != Some(&statement)
            && self.more_statements.len() < MAX_JOINED
        {
            self.more_statements.push(statement);
        }
    }

    pub(super) fn run(&mut self, what: Runs) {
        if self.runs == Runs::Nothing {
            self.runs = what;
        } else if self.runs != what {
            self.runs = Runs::Anything;
        }
    }

    /// Has the server answered all that it was asked for, and has nothing been bound yet? Then the
    /// client that goes on with this request has waited, and may have done so for long.
    pub(super) fn only_prepared(&self) -> bool {
        self.kind == UnitKind::Extended
            && !self.closed
            && self.copy == Copy::No
            && self.course.has_only_prepared()
    }

    /// What the client waited for lies behind: the request is timed from here on.
    pub(super) fn restart(&mut self, at: Timestamp) {
        self.started_at = at;
        self.pipelined = false;
        self.course.assembler.restart();
    }

    /// The text of the last statement that the server has completed, as far as it is known.
    pub(super) fn completed(&self) -> Option<&str> {
        if let Some(Step::Execute(portal)) = self.course.last_done() {
            let statement = portal.as_ref()?.prepared.statement.as_ref()?;
            return Some(&statement.text);
        }
        let before = self.course.assembler.completions().checked_sub(1)?;
        if before >= MAX_TOLD_APART {
            return None;
        }
        let statements = sql::statements(&self.statement.as_ref()?.text);
        statements.get(before as usize).copied()
    }

    /// The row. An unanswered one says why. What is left is good for [`Unit::renew`] alone.
    pub(super) fn finish(&mut self, command: Arc<str>, unanswered: Option<Arc<str>>) -> Exchange {
        let open_text = self.open_text.and_then(|at| self.bytes.get_mut(at..));
        if open_text.is_some_and(secrets::blank) {
            self.notes.add(Notes::SECRET_BLANKED);
        }
        let statement = match self.statement.take() {
            Some(first) if !self.more_statements.is_empty() => {
                let mut text = first.text.to_string();
                for statement in &self.more_statements {
                    text.push_str("; ");
                    text.push_str(&statement.text);
                }
                Some(sql::normalise(&text))
            }
            first => first.or_else(|| self.mentioned.take()),
        };
        let statements = match self.kind {
            UnitKind::Query => self.course.assembler.completions().max(1),
            UnitKind::Extended => self.executions,
            UnitKind::FunctionCall => 0,
        };
        let status = match (&unanswered, self.course.assembler.has_error()) {
            (Some(_), _) => Status::Unanswered,
            (None, true) => Status::Error,
            (None, false) => Status::Ok,
        };
        let bound = self.bound.take();
        Exchange {
            session: 0,
            seq: 0,
            kind: Kind::Request,
            started_at: self.started_at,
            request: Request {
                command,
                bytes: mem::take(&mut self.bytes),
                wire_len: self.wire_len,
                last_byte_at: self.last_byte_at,
                statement,
                statements,
                parameter_types: bound.and_then(|bound| bound.parameter_types.get().cloned()),
                pipelined: self.pipelined,
            },
            status,
            response: unanswered.is_none().then(|| self.course.assembler.finish()),
            reason: unanswered,
            notes: self.notes,
            info: None,
            pacing: None,
        }
    }

    /// Makes it the next request, which keeps only the room for its steps.
    pub(super) fn renew(&mut self, kind: UnitKind, started_at: Timestamp, body_cap: usize) {
        let mut course = mem::replace(&mut self.course, Course::new(body_cap));
        course.renew(body_cap);
        *self = Unit::new(kind, started_at, body_cap);
        self.course = course;
    }
}
