use std::collections::VecDeque;
use std::sync::Arc;

use recording::{Response, Timestamp, Transaction};

use crate::postgres::decoder::course::{Course, Step};
use crate::postgres::decoder::statements::{Portal, Prepared, Statements};
use crate::postgres::messages::backend::Message as Answer;
use crate::postgres::messages::frontend::{Message, Target};
use crate::postgres::messages::{Frame, Messages};
use crate::postgres::response::Shapes;
use crate::reader::ReadError;

/// Requests under way, the oldest first, with what is answered of them. A client asks for the columns of a
/// statement when it prepares it, and not again: they are known to the session.
#[derive(Debug)]
pub(super) struct Sent {
    /// Each with whether it is the driver's own, of which nobody else knows.
    waiting: VecDeque<(Course, bool)>,
    statements: Statements,
    /// A finished one, to be used again.
    spare: Option<Course>,
    body_cap: usize,
}

impl Sent {
    pub(super) fn new(body_cap: usize) -> Sent {
        Sent {
            waiting: VecDeque::new(),
            statements: Statements::default(),
            spare: None,
            body_cap,
        }
    }

    pub(super) fn push(&mut self, request: &[u8], own: bool) {
        let mut course = match self.spare.take() {
            Some(mut course) => {
                course.renew(self.body_cap);
                course
            }
            None => Course::new(self.body_cap),
        };
        for (tag, message) in Messages::new(request) {
            if matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C') {
                course.steps.extend(step(message, &mut self.statements));
            }
        }
        self.waiting.push_back((course, own));
    }

    /// Takes the next message of the answer to the oldest request.
    pub(super) fn take(
        &mut self,
        frame: &Frame<'_>,
        message: Option<&Answer<'_>>,
        began: Timestamp,
        at: Timestamp,
        shapes: &mut Shapes,
    ) -> Result<(), ReadError> {
        let Some((course, _)) = self.waiting.front_mut() else {
            return Ok(());
        };
        course.assembler.take(frame, message, began, at, shapes)?;
        if let Some(message) = message {
            course.advance(message);
        }
        if let Some(Answer::CommandComplete {
            tag: b"DEALLOCATE ALL" | b"DISCARD ALL",
        }) = message
        {
            self.statements.forget_all();
        }
        Ok(())
    }

    /// How many statements of the oldest request are answered, and whether one failed.
    pub(super) fn progress(&self) -> (u32, bool) {
        self.waiting.front().map_or((0, false), |(course, _)| {
            (course.assembler.completions(), course.assembler.has_error())
        })
    }

    /// The oldest request is answered. Was it the driver's own?
    pub(super) fn answered(&mut self) -> Option<(Response, bool)> {
        let (mut course, own) = self.waiting.pop_front()?;
        let after = self.waiting.iter_mut().map(|(course, _)| course);
        course.take_back(after, &mut self.statements);
        let response = course.assembler.finish();
        if response.transaction == Transaction::Idle && self.waiting.is_empty() {
            self.statements.end_transaction();
        }
        self.spare = Some(course);
        Some((response, own))
    }
}

/// What the server is to do. What can't be read is the target's to refuse.
fn step(message: &[u8], statements: &mut Statements) -> Option<Step> {
    Some(match Message::parse(message).ok()? {
        Message::Parse { name, .. } => Step::Name {
            name: name.into(),
            before: statements.prepare(name, Arc::new(Prepared::default())),
        },
        Message::Bind {
            portal,
            statement,
            result_formats,
            ..
        } => {
            let prepared = statements.get(statement).cloned();
            let bound = prepared.map(|prepared| Portal::new(prepared, result_formats));
            statements.bind(portal, bound);
            Step::Bind
        }
        Message::Describe {
            target: Target::Statement,
            name,
        } => Step::DescribeStatement(statements.get(name).cloned()),
        Message::Describe {
            target: Target::Portal,
            ..
        } => Step::DescribePortal,
        Message::Execute { portal, .. } => Step::Execute(statements.portal(portal).cloned()),
        Message::Close {
            target: Target::Statement,
            name,
        } => Step::Name {
            name: name.into(),
            before: statements.forget(name),
        },
        Message::Close {
            target: Target::Portal,
            name,
        } => {
            statements.bind(name, None);
            Step::ClosePortal
        }
        _ => return None,
    })
}
