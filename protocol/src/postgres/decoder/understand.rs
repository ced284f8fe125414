use std::borrow::Cow;
use std::sync::Arc;

use recording::Notes;
use xxhash_rust::xxh3::xxh3_64;

use super::course::Step;
use super::statements::{Portal, Prepared, Statements};
use super::strangers::Strangers;
use super::unit::{Runs, Unit};
use crate::postgres::messages::frontend::{Message, Target};
use crate::postgres::messages::{Formats, Frame};
use crate::postgres::secrets;
use crate::reader::{ReadError, Reader};
use crate::sql::Patterns;

const HEAD_LEN: usize = 5;

impl Unit {
    /// Follows what the client prepares, binds and executes. `start` is where the message stands
    /// in the unit's bytes.
    pub(super) fn understand(
        &mut self,
        frame: &Frame<'_>,
        start: usize,
        statements: &mut Statements,
        strangers: &mut Strangers,
    ) -> Result<(), ReadError> {
        let bytes = match *frame {
            Frame::Whole { bytes, .. } => bytes,
            Frame::Part {
                tag: b'B', bytes, ..
            } => {
                self.bind_large(bytes, statements, strangers);
                return Ok(());
            }
            Frame::Part {
                tag: b'P', bytes, ..
            } => {
                self.open_text = Some(start + HEAD_LEN);
                self.prepare_large(bytes, statements, strangers);
                return Ok(());
            }
            Frame::Damaged { tag: b'P', .. } => {
                self.prepare_unknown(statements);
                return Ok(());
            }
            Frame::Damaged { tag: b'B', .. } => {
                statements.bind(b"", None);
                self.runs = Runs::Anything;
                self.course.steps.push(Step::Bind);
                return Ok(());
            }
            Frame::Part { tag, .. } | Frame::Damaged { tag, .. } => {
                self.runs = Runs::Anything;
                self.query_at = start + HEAD_LEN;
                if tag == b'Q' {
                    self.open_text.get_or_insert(self.query_at);
                }
                return Ok(());
            }
        };
        match Message::parse(bytes)? {
            Message::Parse {
                name,
                text,
                parameter_types,
            } => {
                let text_at = start + HEAD_LEN + name.len() + 1;
                let kept = self.bytes.get_mut(text_at..text_at + text.len());
                if secrets::blank(kept.unwrap_or_default()) {
                    self.notes.add(Notes::SECRET_BLANKED);
                }
                let statement = statements.normalise(text);
                self.mentioned = Some(statement.clone());
                let prepared = Prepared::new(statement, text);
                self.run(prepared.runs());
                prepared.set_parameter_types(parameter_types);
                let before = statements.prepare(name, Arc::new(prepared));
                strangers.forget(name);
                self.course.steps.push(name_step(name, before));
            }
            Message::Bind {
                portal,
                statement,
                result_formats,
                ..
            } => self.bind(portal, statement, result_formats, statements, strangers),
            Message::Describe {
                target: Target::Statement,
                name,
            } => {
                let prepared = statements.get(name).cloned();
                match &prepared {
                    Some(prepared) => self.mentioned = prepared.statement.clone(),
                    None => self.lack(statements),
                }
                self.course.steps.push(Step::DescribeStatement(prepared));
            }
            Message::Describe {
                target: Target::Portal,
                ..
            } => self.course.steps.push(Step::DescribePortal),
            Message::Execute { portal, .. } => {
                self.executions += 1;
                let mut before = self.course.steps.iter().rev().take(2);
                if !portal.is_empty() || !before.any(|step| matches!(step, Step::Bind)) {
                    self.runs = Runs::Anything;
                }
                let portal = statements.portal(portal).cloned();
                match portal.as_ref().map(|portal| &portal.prepared.statement) {
                    Some(Some(statement)) => self.add_statement(statement.clone()),
                    _ => self.lack(statements),
                }
                self.course.steps.push(Step::Execute(portal));
            }
            Message::Close {
                target: Target::Statement,
                name,
            } => {
                let before = statements.forget(name);
                strangers.forget(name);
                self.course.steps.push(name_step(name, before));
            }
            Message::Close {
                target: Target::Portal,
                name,
            } => {
                statements.bind(name, None);
                self.course.steps.push(Step::ClosePortal);
            }
            _ => self.query_at = start + HEAD_LEN,
        }
        Ok(())
    }

    /// A Parse beyond the cap: the name stands at its beginning, and what tells the text from others mostly too.
    fn prepare_large(
        &mut self,
        bytes: &[u8],
        statements: &mut Statements,
        strangers: &mut Strangers,
    ) {
        let mut reader = Reader::new(bytes.get(HEAD_LEN..).unwrap_or_default());
        let Ok(name) = reader.string("Parse.name") else {
            return self.prepare_unknown(statements);
        };
        let statement = statements.normalise(reader.rest());
        self.mentioned = Some(statement.clone());
        self.runs = Runs::Anything;
        let before = statements.prepare(name, Arc::new(Prepared::begun(statement)));
        strangers.forget(name);
        self.course.steps.push(name_step(name, before));
    }

    fn prepare_unknown(&mut self, statements: &mut Statements) {
        self.notes.add(Notes::UNKNOWN_STATEMENT);
        statements.miss();
        self.runs = Runs::Anything;
        self.course.steps.push(name_step(b"", None));
    }

    /// A Bind beyond the cap: what it binds stands at its beginning.
    fn bind_large(&mut self, bytes: &[u8], statements: &mut Statements, strangers: &mut Strangers) {
        let mut reader = Reader::new(bytes.get(HEAD_LEN..).unwrap_or_default());
        let portal = reader.string("Bind.portal").unwrap_or_default();
        let statement = reader.string("Bind.statement").unwrap_or_default();
        self.bind(portal, statement, Formats::default(), statements, strangers);
    }

    fn bind(
        &mut self,
        portal: &[u8],
        statement: &[u8],
        result_formats: Formats<'_>,
        statements: &mut Statements,
        strangers: &mut Strangers,
    ) {
        let prepared = statements.get(statement).cloned();
        self.run(match &prepared {
            Some(prepared) => prepared.runs(),
            None => Runs::Stranger(statement.into()),
        });
        if prepared.is_none() && statements.may_be_more() {
            strangers.met(statement, self.started_at);
        }
        if self.bound.is_none() {
            self.bound = prepared.clone();
        }
        let bound = prepared.map(|prepared| Portal::new(prepared, result_formats));
        statements.bind(portal, bound);
        self.course.steps.push(Step::Bind);
    }

    /// The client names what it is not known to have prepared. Where all that it did was seen, that is the
    /// client's error, or SQL has prepared it.
    fn lack(&mut self, statements: &Statements) {
        if statements.may_be_more() {
            self.notes.add(Notes::UNKNOWN_STATEMENT);
        }
    }

    /// Reads the text of a simple query, all of which was kept or cut.
    pub(super) fn understand_query(&mut self, strangers: &Strangers, patterns: &mut Patterns) {
        self.runs = Runs::Anything;
        if self.notes.contains(Notes::REQUEST_GAP) {
            return;
        }
        let text = self.bytes.get_mut(self.query_at..).unwrap_or_default();
        if secrets::blank(text) {
            self.notes.add(Notes::SECRET_BLANKED);
        }
        self.open_text.take_if(|at| *at >= self.query_at);
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        let whole =
            !self.notes.contains(Notes::REQUEST_CUT) && !self.notes.contains(Notes::SECRET_BLANKED);
        if whole && strangers.lack() && text.is_ascii() {
            self.runs = Runs::Text(xxh3_64(text));
        }
        if !text.is_empty() {
            // What is UTF-8, as nearly all is, is told faster so.
            let text =
                str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed);
            let statement = patterns.normalise(&text);
            self.add_statement(statement);
        }
    }
}

fn name_step(name: &[u8], before: Option<Arc<Prepared>>) -> Step {
    Step::Name {
        name: name.into(),
        before,
    }
}
