use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use recording::{Exchange, Notes, Timestamp, Transaction};

use super::rows::Rows;
use super::statements::{Statements, deallocated};
use super::strangers::Strangers;
use super::stream::Place;
use super::unit::{Copy, Runs, Unit, UnitKind};
use crate::border::Limits;
use crate::postgres::REPLICATION;
use crate::postgres::messages::Frame;
use crate::postgres::messages::backend::Message;
use crate::postgres::response::{Assembler, Shapes};
use crate::reader::ReadError;
use crate::sql::Patterns;

/// Requests that may wait for a server that answers, and for one that never said a word.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_MUTE: usize = 64;

pub(super) const GAP: &str = "gap";
const NO_RESPONSE: &str = "no response seen";

/// Requests and the responses to them. Each request is answered by exactly one ReadyForQuery, so
/// that the oldest one waiting is the one answered next.
///
/// After a gap that may hold whole messages this is not so any more: then requests are told apart
/// from responses (`paired` is false) until the server is known to have nothing left to say.
#[derive(Debug)]
pub(super) struct Session {
    limits: Limits,
    /// The oldest first. Only the last one may still be open.
    pub(super) waiting: VecDeque<Box<Unit>>,
    /// Bytes of the requests that wait.
    waiting_bytes: usize,
    /// A COPY that the server broke off, while the client may still be sending for it.
    broken_copy: Option<Exchange>,
    pub(super) statements: Statements,
    pub(super) strangers: Strangers,
    pub(super) shapes: Shapes,
    /// Of simple queries.
    patterns: Patterns,
    /// Responses to come for requests that were given up.
    owed: u64,
    pub(super) paired: bool,
    /// The last that was heard of the server is a ReadyForQuery.
    pub(super) server_idle: bool,
    pub(super) server_place: Place,
    pub(super) server_spoke: bool,
    /// Requests were sent before the response to the one before was complete.
    pub(super) pipelines: bool,
    /// What the server says outside of any request.
    unasked: Assembler,
    /// The end that the protocol itself announced.
    pub(super) ended: Option<(&'static str, Timestamp)>,
    /// A finished one, to be used again.
    spare: Option<Box<Unit>>,
    commands: Commands,
}

#[derive(Debug)]
struct Commands {
    query: Arc<str>,
    extended: Arc<str>,
    function_call: Arc<str>,
    replication: Arc<str>,
}

impl Session {
    pub(super) fn new(limits: Limits) -> Session {
        Session {
            limits,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            broken_copy: None,
            statements: Statements::default(),
            strangers: Strangers::default(),
            shapes: Shapes::default(),
            patterns: Patterns::default(),
            owed: 0,
            paired: true,
            server_idle: true,
            server_place: Place::Known,
            server_spoke: false,
            pipelines: false,
            unasked: Assembler::new(limits.body),
            ended: None,
            spare: None,
            commands: Commands {
                query: "query".into(),
                extended: "extended".into(),
                function_call: "function call".into(),
                replication: REPLICATION.into(),
            },
        }
    }

    /// A message of the client's.
    pub(super) fn client(
        &mut self,
        frame: &Frame<'_>,
        began: Timestamp,
        at: Timestamp,
        rows: &mut Rows<'_>,
    ) -> Result<(), ReadError> {
        if let Some(learnt) = self.strangers.look_up(began, &self.waiting) {
            let statement = learnt.statement(&mut self.statements);
            rows.push(learnt.row(statement));
        }
        match frame.tag() {
            // Passwords and their like are passed over, wherever they stand.
            b'p' => {}
            b'X' => self.ended = self.ended.or(Some(("terminate", at))),
            b'd' | b'c' | b'f' => self.copy(frame, at, rows),
            // A Flush with nothing before it asks for nothing, and is no request.
            b'H' if self.waiting.back().is_none_or(|unit| unit.closed) => {}
            tag => {
                let first = !matches!(frame, Frame::Part { first: false, .. });
                let last = !matches!(frame, Frame::Part { last: false, .. });
                if first {
                    self.let_go_of_copy(rows);
                    if self.waiting.back().is_none_or(|unit| unit.closed) {
                        self.begin(tag, began, rows);
                    } else if self.paired
                        && self.owed == 0
                        && let [unit] = self.waiting.make_contiguous()
                        && tag != b'H'
                        && unit.only_prepared()
                    {
                        unit.restart(began);
                    }
                }
                let Some(unit) = self.waiting.back_mut() else {
                    return Ok(());
                };
                let before = unit.bytes.len();
                let start = unit.keep(frame, at, self.limits.request);
                self.waiting_bytes += unit.bytes.len() - before;
                if first {
                    unit.understand(frame, start, &mut self.statements, &mut self.strangers)?;
                }
                if last {
                    self.close(tag, rows);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, tag: u8, began: Timestamp, rows: &mut Rows<'_>) {
        if !self.paired {
            self.pair(rows);
        }
        if self.paired && self.waiting.is_empty() && self.server_spoke && self.server_idle {
            self.strangers.all_in_sight_from(began);
        }
        let most = if self.server_spoke {
            MAX_WAITING
        } else {
            MAX_WAITING_MUTE
        };
        while self.waiting.len() >= most || self.waiting_bytes > self.limits.request {
            let Some(unit) = self.waiting.pop_front() else {
                break;
            };
            self.owed += 1;
            self.give(unit, Some(NO_RESPONSE), rows);
        }
        let kind = match tag {
            b'Q' => UnitKind::Query,
            b'F' => UnitKind::FunctionCall,
            _ => UnitKind::Extended,
        };
        let mut unit = match self.spare.take() {
            Some(mut unit) => {
                unit.renew(kind, began, self.limits.body);
                unit
            }
            None => Box::new(Unit::new(kind, began, self.limits.body)),
        };
        unit.pipelined = self.paired && (self.owed > 0 || !self.waiting.is_empty());
        self.pipelines |= unit.pipelined;
        self.waiting.push_back(unit);
    }

    /// Believes again in the order of responses, where it is certain.
    fn pair(&mut self, rows: &mut Rows<'_>) {
        if self.waiting.is_empty() && self.server_idle {
            self.paired = true;
        } else if !self.pipelines && self.server_place != Place::Known {
            // The client waits for each response: the one to the request before was in the gap.
            self.abandon(rows);
            self.paired = true;
            self.server_place = Place::Likely;
        }
        if self.paired {
            self.owed = 0;
        }
    }

    /// Does the server answer, once it has read this message?
    fn close(&mut self, tag: u8, rows: &mut Rows<'_>) {
        let Some(unit) = self.waiting.back_mut() else {
            return;
        };
        unit.closed = match tag {
            b'Q' | b'F' => true,
            // While it waits for copied data, the server passes over a Sync.
            b'S' => unit.copy != Copy::In,
            _ => return,
        };
        if tag == b'Q' {
            if unit.executions == 0 {
                // What was only prepared before goes with it.
                unit.kind = UnitKind::Query;
            }
            unit.understand_query(&self.strangers, &mut self.patterns);
        }
        if !unit.closed || self.paired {
            return;
        }
        if self.server_place != Place::Known {
            // Nor is it known whose the server's next words are, of those before.
            self.abandon(rows);
        } else if let Some(unit) = self.waiting.pop_back() {
            self.give(unit, Some(GAP), rows);
        }
    }

    /// Copied data belongs to the request that opened the COPY, or is what the client was still
    /// sending when the server broke it off.
    fn copy(&mut self, frame: &Frame<'_>, at: Timestamp, rows: &mut Rows<'_>) {
        let ends = frame.tag() != b'd';
        if let Some(row) = &mut self.broken_copy {
            // The server passes over it.
            row.request.wire_len += frame.len();
            if ends {
                self.let_go_of_copy(rows);
            }
            return;
        }
        let Some(unit) = self.waiting.back_mut() else {
            return;
        };
        if unit.copy == Copy::Both {
            unit.pass_over(frame, at);
            return;
        }
        let before = unit.bytes.len();
        unit.keep(frame, at, self.limits.request);
        self.waiting_bytes += unit.bytes.len() - before;
        unit.copy = if ends { Copy::Over } else { Copy::In };
        if unit.kind == UnitKind::Extended {
            unit.closed = false;
        }
    }

    pub(super) fn let_go_of_copy(&mut self, rows: &mut Rows<'_>) {
        if let Some(row) = self.broken_copy.take() {
            rows.push(row);
        }
    }

    /// A message of the server's, after the login.
    pub(super) fn server(
        &mut self,
        frame: &Frame<'_>,
        began: Timestamp,
        at: Timestamp,
        rows: &mut Rows<'_>,
    ) -> Result<(), ReadError> {
        let tag = frame.tag();
        self.server_idle = tag == b'Z';
        if self.owed > 0 || self.waiting.is_empty() {
            return self.outside(frame, began, at);
        }
        let Some(unit) = self.waiting.front_mut() else {
            return Ok(());
        };
        if let Frame::Damaged { .. } = frame {
            unit.notes.add(Notes::RESPONSE_GAP);
        }
        let message = Message::of(frame)?;
        unit.course
            .assembler
            .take(frame, message.as_ref(), began, at, &mut self.shapes)?;
        let Some(message) = &message else {
            if self.server_idle {
                self.answer(Transaction::Unknown, rows);
            }
            return Ok(());
        };
        unit.course.advance(message);
        match message {
            Message::DataRow(_) | Message::CopyData { .. } => {}
            Message::CopyIn if unit.copy == Copy::No => {
                unit.copy = Copy::In;
                if unit.kind == UnitKind::Extended && self.waiting.len() == 1 {
                    // Its Sync was passed over: another one follows the data.
                    if let Some(unit) = self.waiting.front_mut() {
                        unit.closed = false;
                    }
                }
            }
            Message::CopyBoth => unit.copy = Copy::Both,
            Message::CommandComplete { tag } => match *tag {
                b"DEALLOCATE ALL" | b"DISCARD ALL" => {
                    self.statements.forget_all();
                    self.strangers.forget_all();
                }
                b"DEALLOCATE" => {
                    if let Some(name) = unit.completed().and_then(deallocated) {
                        self.statements.forget(name.as_bytes());
                        self.strangers.forget(name.as_bytes());
                    }
                }
                _ => {}
            },
            Message::Error(fields) if fields.fatal() => {
                self.ended = self.ended.or(Some(("fatal error", at)));
                self.answer(Transaction::Unknown, rows);
            }
            Message::ReadyForQuery(transaction) => self.answer(*transaction, rows),
            _ => {}
        }
        Ok(())
    }

    /// What the server says while nobody waits for it, or in answer to a request that was lost or
    /// given up.
    fn outside(
        &mut self,
        frame: &Frame<'_>,
        began: Timestamp,
        at: Timestamp,
    ) -> Result<(), ReadError> {
        let quiet = self.owed == 0 && self.paired;
        match frame.tag() {
            b'Z' => self.owed = self.owed.saturating_sub(1),
            b'E' => {
                if let Some(message @ Message::Error(fields)) = &Message::of(frame)?
                    && fields.fatal()
                {
                    self.ended = self.ended.or(Some(("fatal error", at)));
                    self.unasked
                        .take(frame, Some(message), began, at, &mut self.shapes)?;
                }
            }
            b'S' | b'N' | b'A' if quiet => {
                let message = Message::of(frame)?;
                self.unasked
                    .take(frame, message.as_ref(), began, at, &mut self.shapes)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The oldest request has its response.
    pub(super) fn answer(&mut self, transaction: Transaction, rows: &mut Rows<'_>) {
        let Some(mut unit) = self.waiting.pop_front() else {
            return;
        };
        let after = self.waiting.iter_mut().map(|unit| &mut unit.course);
        unit.course.take_back(after, &mut self.statements);
        if transaction == Transaction::Idle && self.waiting.is_empty() {
            self.statements.end_transaction();
        }
        if !unit.closed && unit.copy == Copy::No {
            // Answered before it was asked: the order is not what it seems.
            self.paired = false;
        }
        let broken = unit.copy == Copy::In && unit.course.assembler.has_error();
        if broken {
            let row = self.row(unit, None);
            self.broken_copy = Some(row);
        } else {
            self.give(unit, None, rows);
        }
    }

    /// Bytes of the client's were lost, and it is not known which messages. `partial` is the
    /// message that was begun.
    pub(super) fn client_gap(
        &mut self,
        partial: Option<u8>,
        began: Timestamp,
        rows: &mut Rows<'_>,
    ) {
        let open = self.waiting.back().is_some_and(|unit| !unit.closed);
        let begun = partial.filter(|tag| !matches!(tag, b'p' | b'X' | b'd' | b'c' | b'f'));
        if let (false, Some(tag)) = (open, begun) {
            self.begin(tag, began, rows);
        }
        // A simple query is closed, whatever is copied for it.
        let copying = self.waiting.iter_mut().find(|unit| unit.copy == Copy::In);
        if let Some(unit) = copying {
            unit.notes.add(Notes::REQUEST_GAP);
        }
        if let Some(unit) = self.waiting.back_mut()
            && !unit.closed
        {
            unit.notes.add(Notes::REQUEST_GAP);
            unit.closed = true;
            if !self.paired
                && let Some(unit) = self.waiting.pop_back()
            {
                self.give(unit, Some(GAP), rows);
            }
        }
        self.paired = false;
        self.statements.miss();
        self.strangers.forget_all();
        self.strangers.out_of_sight();
    }

    /// Bytes of the server's were lost, and it is not known which messages.
    pub(super) fn server_gap(&mut self, rows: &mut Rows<'_>) {
        self.paired = false;
        self.server_idle = false;
        self.server_place = Place::Unknown;
        self.strangers.out_of_sight();
        match self.waiting.front_mut() {
            Some(unit) if self.owed == 0 => {
                unit.notes.add(Notes::RESPONSE_GAP);
                unit.course.assembler.lost();
            }
            _ => {}
        }
        if self.waiting.len() > 1 || self.owed > 0 {
            self.abandon(rows);
        }
    }

    /// Gives up the responses to all requests that were sent whole.
    pub(super) fn abandon(&mut self, rows: &mut Rows<'_>) {
        while let Some(mut unit) = self.waiting.pop_front() {
            unit.notes.add(Notes::RESPONSE_GAP);
            if !unit.closed {
                self.waiting.push_back(unit);
                break;
            }
            self.give(unit, Some(GAP), rows);
        }
        self.owed = 0;
    }

    /// Ends all requests without an answer, but for what the client had prepared and never ran: all it
    /// asked for is there.
    pub(super) fn drain(&mut self, reason: &str, rows: &mut Rows<'_>) {
        self.let_go_of_copy(rows);
        while let Some(unit) = self.waiting.pop_front() {
            let unanswered = (!unit.only_prepared()).then_some(reason);
            self.give(unit, unanswered, rows);
        }
    }

    fn give(&mut self, unit: Box<Unit>, unanswered: Option<&str>, rows: &mut Rows<'_>) {
        let mut row = self.row(unit, unanswered);
        self.let_go_of_copy(rows);
        if !self.paired && unanswered == Some(GAP) {
            row.notes.add(Notes::RESPONSE_GAP);
        }
        rows.push(row);
    }

    fn row(&mut self, mut unit: Box<Unit>, unanswered: Option<&str>) -> Exchange {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(unit.bytes.len());
        let command = match (unit.copy, unit.kind) {
            (Copy::Both, _) => &self.commands.replication,
            (_, UnitKind::Query) => &self.commands.query,
            (_, UnitKind::Extended) => &self.commands.extended,
            (_, UnitKind::FunctionCall) => &self.commands.function_call,
        };
        let row = unit.finish(command.clone(), unanswered.map(Arc::from));
        let ran = mem::replace(&mut unit.runs, Runs::Anything);
        match &row.response {
            Some(response) => self
                .strangers
                .ran(unit.began_at, response.last_byte_at, ran),
            None => self.strangers.out_of_sight(),
        }
        self.spare = Some(unit);
        row
    }

    pub(super) fn take_unasked(&mut self) -> Assembler {
        mem::replace(&mut self.unasked, Assembler::new(0))
    }

    pub(super) fn held(&self) -> usize {
        let body = self
            .waiting
            .front()
            .map_or(0, |unit| unit.course.assembler.held());
        let units = self.waiting.len() + self.spare.iter().len();
        units * mem::size_of::<Unit>()
            + self.waiting.capacity() * mem::size_of::<Box<Unit>>()
            + self.waiting_bytes
            + body
            + self.unasked.held()
            + self.statements.held()
            + self.strangers.held()
            + self.shapes.held()
            + self.patterns.held()
    }
}
