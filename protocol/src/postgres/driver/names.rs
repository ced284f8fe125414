use std::collections::HashSet;

use crate::postgres::messages::Messages;
use crate::postgres::messages::frontend::{Message, Target};
use crate::sql::begins_statement;

/// Of one session; beyond them nothing is certain.
const MAX_NAMES: usize = 10_000;

/// The names of statements that were prepared on the target.
#[derive(Debug, Default)]
pub(super) struct Names {
    prepared: HashSet<Box<[u8]>>,
    /// Others may be prepared too: by SQL, or beyond the cap.
    unsure: bool,
}

impl Names {
    /// The request was sent.
    pub(super) fn follow(&mut self, request: &[u8]) {
        for (tag, message) in Messages::new(request) {
            if !matches!(tag, b'Q' | b'P' | b'C') {
                continue;
            }
            match Message::parse(message) {
                Ok(Message::Query { text }) => self.unsure |= prepares(text),
                Ok(Message::Parse { name, text, .. }) => {
                    self.unsure |= prepares(text) || self.prepared.len() >= MAX_NAMES;
                    if !self.unsure && !self.prepared.contains(name) {
                        self.prepared.insert(name.into());
                    }
                }
                Ok(Message::Close {
                    target: Target::Statement,
                    name,
                }) => {
                    self.prepared.remove(name);
                }
                _ => {}
            }
        }
    }

    /// Does the request name a statement that can't be there?
    pub(super) fn lack(&self, request: &[u8]) -> bool {
        let mut own = Vec::new();
        !self.unsure
            && Messages::new(request).any(|(_, message)| match Message::parse(message) {
                Ok(Message::Parse { name, .. }) => {
                    own.push(name);
                    false
                }
                Ok(
                    Message::Bind {
                        statement: name, ..
                    }
                    | Message::Describe {
                        target: Target::Statement,
                        name,
                    },
                ) => !own.contains(&name) && !self.prepared.contains(name),
                _ => false,
            })
    }
}

/// Is there an SQL PREPARE in the text? It may have failed, or a statement before it.
fn prepares(text: &[u8]) -> bool {
    begins_statement(text, b"prepare")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing::client;

    #[test]
    fn a_name_is_known_from_its_parse_to_its_close() {
        let bind = [client::bind("", "a", &[], &[], &[]), client::sync()].concat();
        let parse = [client::parse("a", "select 1", &[]), client::sync()].concat();
        let close = [client::close(b'S', "a"), client::sync()].concat();
        let mut names = Names::default();
        assert!(names.lack(&bind));
        assert!(!names.lack(&[parse.clone(), bind.clone()].concat()));
        names.follow(&parse);
        assert!(!names.lack(&bind));
        names.follow(&close);
        assert!(names.lack(&bind));
    }

    #[test]
    fn what_sql_prepares_may_be_anything() {
        let bind = [client::bind("", "a", &[], &[], &[]), client::sync()].concat();
        for text in [
            "Prepare a as select 1",
            "begin; prepare a as select 1",
            "select 1; /* late */ PREPARE a AS SELECT 1;",
        ] {
            let mut names = Names::default();
            names.follow(&client::query(text));
            assert!(!names.lack(&bind), "{text}");
        }
    }
}
