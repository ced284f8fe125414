use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use recording::{Exchange, Kind, Notes, Request, Statement, Status, Timestamp};

use super::statements::{Portal, Prepared, Statements};
use crate::postgres::messages::Frame;
use crate::postgres::messages::backend::Message;
use crate::postgres::response::Assembler;
use crate::sql;

/// Room that a small request does not have to grow for.
const USUAL_LEN: usize = 192;
/// Statements of one request whose texts are joined.
const MAX_JOINED: usize = 64;
/// Statements of one text that are told apart: each costs a walk over all of it.
const MAX_TOLD_APART: u32 = 100;

/// A request that waits for its response, or is still being sent.
#[derive(Debug)]
pub(in crate::postgres) struct Unit {
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
    pub(in crate::postgres) steps: Vec<Step>,
    /// Where the text of a simple query stands in `bytes`.
    pub(super) query_at: usize,
    /// How many of the steps the server has answered.
    done: usize,
    /// The columns of the execution under way were settled.
    columns_known: bool,
    /// Statements whose columns the response tells.
    described: Vec<Arc<Prepared>>,
    pub(in crate::postgres) assembler: Assembler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum UnitKind {
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

/// What the server answers one by one.
#[derive(Debug)]
pub(in crate::postgres) enum Step {
    /// Parse, or Close of a statement: with what the name stood for before.
    Name {
        name: Box<[u8]>,
        before: Option<Arc<Prepared>>,
    },
    Bind,
    ClosePortal,
    DescribeStatement(Option<Arc<Prepared>>),
    DescribePortal,
    Execute(Option<Portal>),
}

impl Step {
    /// What `name` stood for, where the step is about it.
    fn replaced(&mut self, name: &[u8]) -> Option<&mut Option<Arc<Prepared>>> {
        match self {
            Step::Name { name: own, before } if **own == *name => Some(before),
            _ => None,
        }
    }
}

impl Unit {
    pub(in crate::postgres) fn new(kind: UnitKind, started_at: Timestamp, body_cap: usize) -> Unit {
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
            steps: Vec::new(),
            query_at: 0,
            done: 0,
            columns_known: false,
            described: Vec::new(),
            assembler: Assembler::new(body_cap),
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

    /// Counts bytes that are not worth keeping.
    pub(super) fn pass_over(&mut self, frame: &Frame<'_>, at: Timestamp) {
        self.keep(frame, at, 0);
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

    /// Follows the server's message in the steps that the client asked for.
    pub(in crate::postgres) fn advance(&mut self, message: &Message<'_>) {
        if let Message::DataRow(_) | Message::CommandComplete { .. } | Message::PortalSuspended =
            message
        {
            self.settle_columns();
        }
        let Some(step) = self.steps.get(self.done) else {
            return;
        };
        let answered = match (step, message) {
            (Step::DescribeStatement(prepared), Message::ParameterDescription(types)) => {
                if let Some(prepared) = prepared {
                    prepared.set_parameter_types(*types);
                }
                false
            }
            (Step::DescribeStatement(prepared), Message::RowDescription(_)) => {
                if let (Some(prepared), Some(columns)) = (prepared, self.assembler.columns()) {
                    let _ = prepared.columns.set(columns.clone());
                    self.described.push(prepared.clone());
                }
                true
            }
            (Step::DescribePortal, Message::RowDescription(_)) => {
                self.columns_known = true;
                true
            }
            (Step::DescribeStatement(_) | Step::DescribePortal, Message::NoData) => true,
            (Step::Name { .. }, Message::ParseComplete | Message::CloseComplete)
            | (Step::Bind, Message::BindComplete)
            | (Step::ClosePortal, Message::CloseComplete) => true,
            (
                Step::Execute(_),
                Message::CommandComplete { .. }
                | Message::EmptyQueryResponse
                | Message::PortalSuspended,
            ) => {
                self.columns_known = false;
                true
            }
            _ => false,
        };
        self.done += usize::from(answered);
    }

    /// Names the columns of an execution whose portal was not described. Those of a statement that
    /// this request describes are in the response already: of them only the formats are told.
    fn settle_columns(&mut self) {
        if self.columns_known {
            return;
        }
        self.columns_known = true;
        if let Some(Step::Execute(Some(portal))) = self.steps.get(self.done)
            && let Some(columns) = portal.columns()
            && (self.assembler.columns().is_some() || !self.describes(&portal.prepared))
        {
            self.assembler.set_columns(columns);
        }
    }

    fn describes(&self, prepared: &Arc<Prepared>) -> bool {
        let mut described = self.described.iter();
        described.any(|described| Arc::ptr_eq(described, prepared))
    }

    /// Has the server answered all that it was asked for, and has nothing been bound yet? Then the
    /// client that goes on with this request has waited, and may have done so for long.
    pub(super) fn only_prepared(&self) -> bool {
        let prepares = |step: &Step| {
            matches!(
                step,
                Step::Name { .. } | Step::DescribeStatement(_) | Step::ClosePortal
            )
        };
        self.kind == UnitKind::Extended
            && !self.closed
            && self.copy == Copy::No
            && !self.steps.is_empty()
            && self.done == self.steps.len()
            && self.steps.iter().all(prepares)
    }

    /// What the client waited for lies behind: the request is timed from here on.
    pub(super) fn restart(&mut self, at: Timestamp) {
        self.started_at = at;
        self.pipelined = false;
        self.assembler.restart();
    }

    /// The text of the last statement that the server has completed, as far as it is known.
    pub(super) fn completed(&self) -> Option<&str> {
        let last = self.done.checked_sub(1).and_then(|at| self.steps.get(at));
        if let Some(Step::Execute(portal)) = last {
            let statement = portal.as_ref()?.prepared.statement.as_ref()?;
            return Some(&statement.text);
        }
        let before = self.assembler.completions().checked_sub(1)?;
        if before >= MAX_TOLD_APART {
            return None;
        }
        let statements = sql::statements(&self.statement.as_ref()?.text);
        statements.get(before as usize).copied()
    }

    /// The request is answered: names of which the server did not do what it was told stand for what they
    /// did before, but for what requests after it have made of them since then.
    pub(in crate::postgres) fn take_back(
        &mut self,
        after: &mut VecDeque<Box<Unit>>,
        statements: &mut Statements,
    ) {
        for step in self.steps.drain(self.done.min(self.steps.len())..).rev() {
            let Step::Name { name, before } = step else {
                continue;
            };
            let mut later = after.iter_mut().flat_map(|unit| &mut unit.steps);
            match later.find_map(|step| step.replaced(&name)) {
                Some(replaced) => *replaced = before,
                None => statements.restore(&name, before),
            }
        }
    }

    /// The row. An unanswered one says why. What is left is good for [`Unit::renew`] alone.
    pub(super) fn finish(&mut self, command: Arc<str>, unanswered: Option<Arc<str>>) -> Exchange {
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
            UnitKind::Query => self.assembler.completions().max(1),
            UnitKind::Extended => self.executions,
            UnitKind::FunctionCall => 0,
        };
        let status = match (&unanswered, self.assembler.has_error()) {
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
            response: unanswered.is_none().then(|| self.assembler.finish()),
            reason: unanswered,
            notes: self.notes,
            info: None,
            pacing: None,
        }
    }

    /// Makes it the next request, which keeps only the room for its steps.
    pub(in crate::postgres) fn renew(
        &mut self,
        kind: UnitKind,
        started_at: Timestamp,
        body_cap: usize,
    ) {
        let mut steps = mem::take(&mut self.steps);
        steps.clear();
        *self = Unit::new(kind, started_at, body_cap);
        self.steps = steps;
    }
}
