use std::sync::Arc;

use super::statements::{Portal, Prepared, Statements};
use crate::postgres::messages::backend::Message;
use crate::postgres::response::Assembler;

/// What the server does for a request, step by step.
#[derive(Debug)]
pub(in crate::postgres) struct Course {
    pub(in crate::postgres) steps: Vec<Step>,
    /// How many of the steps the server has answered.
    done: usize,
    /// The columns of the execution under way were settled.
    columns_known: bool,
    /// Statements whose columns the response tells.
    described: Vec<Arc<Prepared>>,
    pub(in crate::postgres) assembler: Assembler,
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

impl Course {
    pub(in crate::postgres) fn new(body_cap: usize) -> Course {
        Course {
            steps: Vec::new(),
            done: 0,
            columns_known: false,
            described: Vec::new(),
            assembler: Assembler::new(body_cap),
        }
    }

    /// Makes it the next request's. It keeps only the room for its steps.
    pub(in crate::postgres) fn renew(&mut self, body_cap: usize) {
        self.steps.clear();
        self.done = 0;
        self.columns_known = false;
        self.described.clear();
        self.assembler = Assembler::new(body_cap);
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

    /// Is there something that was asked for, all of it answered, and nothing bound?
    pub(super) fn has_only_prepared(&self) -> bool {
        let prepares = |step: &Step| {
            matches!(
                step,
                Step::Name { .. } | Step::DescribeStatement(_) | Step::ClosePortal
            )
        };
        !self.steps.is_empty() && self.done == self.steps.len() && self.steps.iter().all(prepares)
    }

    pub(super) fn last_done(&self) -> Option<&Step> {
        self.steps.get(self.done.checked_sub(1)?)
    }

    /// The request is answered: names of which the server did not do what it was told stand for what they
    /// did before, but for what requests after it have made of them since then.
    pub(in crate::postgres) fn take_back<'a>(
        &mut self,
        after: impl Iterator<Item = &'a mut Course>,
        statements: &mut Statements,
    ) {
        if self.done >= self.steps.len() {
            return;
        }
        let mut after: Vec<_> = after.collect();
        for step in self.steps.drain(self.done..).rev() {
            let Step::Name { name, before } = step else {
                continue;
            };
            let mut later = after.iter_mut().flat_map(|course| &mut course.steps);
            match later.find_map(|step| step.replaced(&name)) {
                Some(replaced) => *replaced = before,
                None => statements.restore(&name, before),
            }
        }
    }
}
