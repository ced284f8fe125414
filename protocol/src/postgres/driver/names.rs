use std::collections::HashSet;

use crate::postgres::decoder::statements::deallocated;
use crate::postgres::messages::Messages;
use crate::postgres::messages::frontend::{self, Message, Target};
use crate::sql::begins_statement;

/// Of one session; beyond them nothing is certain.
const MAX_NAMES: usize = 10_000;
const MAX_PASSED_OVER: usize = 1_000;
/// Longer ones are not remembered: servers cut names at 63 bytes.
const MAX_PASSED_OVER_LEN: usize = 256;

/// The names of statements that were prepared on the target, and of those that were to be and are not.
#[derive(Debug, Default)]
pub(super) struct Names {
    prepared: HashSet<Box<[u8]>>,
    /// Others may be prepared too: by SQL, or beyond the cap.
    unsure: bool,
    /// Prepared by requests that were not sent: what they stand for is not there, or another statement is.
    passed_over: HashSet<Box<[u8]>>,
}

impl Names {
    /// The request was sent.
    pub(super) fn follow(&mut self, request: &[u8]) {
        for (tag, message) in Messages::new(request) {
            if !matches!(tag, b'Q' | b'P' | b'C') {
                continue;
            }
            match Message::parse(message) {
                Ok(Message::Query { text }) => {
                    self.passed_over.remove(&[][..]);
                    self.follow_text(text);
                }
                Ok(Message::Parse { name, text, .. }) => {
                    self.passed_over.remove(name);
                    self.follow_text(text);
                    self.unsure |= self.prepared.len() >= MAX_NAMES;
                    if !self.unsure && !self.prepared.contains(name) {
                        self.prepared.insert(name.into());
                    }
                }
                Ok(Message::Close {
                    target: Target::Statement,
                    name,
                }) => {
                    self.passed_over.remove(name);
                    self.prepared.remove(name);
                }
                _ => {}
            }
        }
    }

    fn follow_text(&mut self, text: &[u8]) {
        if prepares(text) {
            self.unsure = true;
            self.passed_over.clear();
        }
    }

    /// The request was not sent. It may end anywhere.
    pub(super) fn pass_over(&mut self, request: &[u8]) {
        let mut messages = Messages::new(request);
        for (_, message) in messages.by_ref() {
            self.pass_over_parse(message);
        }
        self.pass_over_parse(messages.rest());
    }

    fn pass_over_parse(&mut self, message: &[u8]) {
        if let Some(name) = frontend::parse_name(message)
            && self.passed_over.len() < MAX_PASSED_OVER
            && name.len() <= MAX_PASSED_OVER_LEN
        {
            self.passed_over.insert(name.into());
        }
    }

    /// The target has forgotten all that was prepared.
    pub(super) fn forget_passed_over(&mut self) {
        self.passed_over.clear();
    }

    /// Does the request name a statement whose preparation was not sent?
    pub(super) fn miss(&self, request: &[u8]) -> bool {
        !self.passed_over.is_empty()
            && (names(request, |name| self.passed_over.contains(name))
                || Messages::new(request).any(|(_, message)| match Message::parse(message) {
                    Ok(Message::Query { text }) => {
                        let name = str::from_utf8(text).ok().and_then(deallocated);
                        name.is_some_and(|name| self.passed_over.contains(name.as_bytes()))
                    }
                    _ => false,
                }))
    }

    /// Does the request name a statement that can't be there?
    pub(super) fn lack(&self, request: &[u8]) -> bool {
        !self.unsure && names(request, |name| !self.prepared.contains(name))
    }
}

/// Does the request name such a statement, which it has not prepared itself?
fn names(request: &[u8], such: impl Fn(&[u8]) -> bool) -> bool {
    let mut own = Vec::new();
    Messages::new(request).any(|(_, message)| match Message::parse(message) {
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
        ) => !own.contains(&name) && such(name),
        _ => false,
    })
}

/// Is there an SQL PREPARE of a statement in the text? It may have failed, or a statement before it.
fn prepares(text: &[u8]) -> bool {
    begins_statement(text, b"prepare", b"transaction")
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
    fn what_was_passed_over_is_missed_until_it_is_prepared_or_gone() {
        let sync = client::sync();
        let parse = |name| client::parse(name, "select 1", &[]);
        let bind = |name| [client::bind("", name, &[], &[], &[]), sync.clone()].concat();
        let passed_over = || {
            let mut names = Names::default();
            names.pass_over(&[parse("a"), bind("a"), parse("b")].concat());
            names
        };
        let names = passed_over();
        let describe = client::describe(b'S', "b");
        for request in [
            bind("a"),
            bind("b"),
            describe,
            client::query("deallocate a"),
        ] {
            assert!(names.miss(&request));
        }
        let own = [parse("a"), bind("a")].concat();
        for request in [bind("c"), own, client::query("deallocate all")] {
            assert!(!names.miss(&request));
        }
        for (request, left) in [
            (parse("a"), true),
            (client::close(b'S', "a"), true),
            (client::query("prepare a as select 1"), false),
            (Vec::new(), true),
        ] {
            let mut names = passed_over();
            names.follow(&request);
            assert_eq!(names.miss(&bind("a")), request.is_empty());
            assert_eq!(names.miss(&bind("b")), left);
        }
    }

    #[test]
    fn the_unnamed_statement_goes_with_the_next_query() {
        let mut names = Names::default();
        names.pass_over(&client::parse("", "select 1", &[]));
        let bind = client::bind("", "", &[], &[], &[]);
        assert!(names.miss(&bind));
        names.follow(&client::query("select 2"));
        assert!(!names.miss(&bind));
    }

    #[test]
    fn a_name_is_read_from_what_was_cut() {
        let bind = client::bind("", "name", &[], &[], &[]);
        let parse = client::parse("name", "select 1", &[]);
        for cut in 0..=parse.len() {
            let mut names = Names::default();
            names.pass_over(&[client::sync(), parse[..cut].to_vec()].concat());
            assert_eq!(names.miss(&bind), cut > 9, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_passed_over_without_end_is_not_remembered() {
        let mut names = Names::default();
        for number in 0..2 * MAX_PASSED_OVER {
            names.pass_over(&client::parse(&number.to_string(), "", &[]));
        }
        assert_eq!(names.passed_over.len(), MAX_PASSED_OVER);
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
