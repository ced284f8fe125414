use std::collections::{HashMap, HashSet, VecDeque};

use crate::postgres::decoder::statements::deallocated;
use crate::postgres::messages::frontend::{self, Message, Target};
use crate::postgres::messages::{Encode, Messages};
use crate::sql::begins_statement;

/// Of one session; beyond them nothing is certain.
const MAX_NAMES: usize = 10_000;
const MAX_PASSED_OVER: usize = 1_000;
/// Longer ones are not remembered: servers cut names at 63 bytes.
const MAX_PASSED_OVER_LEN: usize = 256;
/// Of all messages that are kept to prepare what was passed over.
const MAX_PARSES: usize = 256 << 10;

type Name = Box<[u8]>;
/// A whole message.
type Parse = Box<[u8]>;

/// The names of statements that were prepared on the target, and of those that were to be and are not.
#[derive(Debug, Default)]
pub(super) struct Names {
    prepared: HashSet<Name>,
    /// Others may be prepared too: by SQL, or beyond the cap.
    unsure: bool,
    /// Prepared by requests that were not sent, with what prepares them, where that is known. What they stand for
    /// is not there, or another statement is.
    passed_over: HashMap<Name, Option<Parse>>,
    /// Closed by requests that were not sent: they are still there, and may be prepared again.
    left: Vec<Name>,
    /// What is being made up for, the oldest first.
    underway: VecDeque<Vec<(Name, Parse)>>,
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

    /// The request was not sent. It may end anywhere. What of it is whole may be said later, unless it has lost
    /// a secret.
    pub(super) fn pass_over(&mut self, request: &[u8], blanked: bool) {
        let mut messages = Messages::new(request);
        for (_, message) in messages.by_ref() {
            self.pass_over_parse(message, !blanked);
            self.pass_over_close(message);
        }
        self.pass_over_parse(messages.rest(), false);
    }

    fn pass_over_close(&mut self, message: &[u8]) {
        let name = match Message::parse(message) {
            Ok(Message::Close {
                target: Target::Statement,
                name,
            }) => name,
            Ok(Message::Query { text }) => match str::from_utf8(text).ok().and_then(deallocated) {
                Some(name) => name.as_bytes(),
                None => return,
            },
            _ => return,
        };
        self.passed_over.remove(name);
        self.left.extend(self.prepared.take(name));
    }

    fn pass_over_parse(&mut self, message: &[u8], whole: bool) {
        let Some(name) = frontend::parse_name(message) else {
            return;
        };
        self.passed_over.remove(name);
        if self.passed_over.len() < MAX_PASSED_OVER && name.len() <= MAX_PASSED_OVER_LEN {
            let kept: usize = self.passed_over.values().flatten().map(|it| it.len()).sum();
            let parse = (whole && kept + message.len() <= MAX_PARSES).then(|| message.into());
            self.passed_over.insert(name.into(), parse);
        }
    }

    /// The target has forgotten all that was prepared.
    pub(super) fn forget_passed_over(&mut self) {
        self.passed_over.clear();
        self.left.clear();
    }

    /// What has to be said before the request, for it names statements whose preparation was not sent, and some are
    /// still there whose end was not. `Err` where that is not known.
    pub(super) fn make_up(&self, request: &[u8]) -> Result<Vec<u8>, Missing> {
        let mut said = Vec::new();
        for name in &self.left {
            close(name, &mut said);
        }
        for (name, parse) in &self.passed_over {
            if !names(request, |named| *named == **name) && !deallocates(request, name) {
                continue;
            }
            // It may stand for another one there.
            close(name, &mut said);
            said.extend_from_slice(parse.as_ref().ok_or(Missing)?);
            // Clients ask for the columns where they prepare.
            said.message(b'D', |body| {
                body.push(b'S');
                body.string(name);
            });
        }
        if !said.is_empty() {
            said.message(b'S', |_| {});
        }
        Ok(said)
    }

    /// What [`Names::make_up`] gave was sent.
    pub(super) fn making_up(&mut self, said: &[u8]) {
        self.left.clear();
        let parses = Messages::new(said).filter_map(|(_, message)| {
            let (name, parse) = self
                .passed_over
                .remove_entry(frontend::parse_name(message)?)?;
            Some((name, parse?))
        });
        let parses = parses.collect();
        self.underway.push_back(parses);
    }

    /// The oldest of what was made up for is answered.
    pub(super) fn made_up(&mut self, failed: bool) {
        for (name, parse) in self.underway.pop_front().into_iter().flatten() {
            if failed {
                self.passed_over.entry(name).or_insert(Some(parse));
            } else if self.prepared.len() < MAX_NAMES {
                self.prepared.insert(name);
            } else {
                self.unsure = true;
            }
        }
    }

    /// Does the request name a statement that can't be there?
    pub(super) fn lack(&self, request: &[u8]) -> bool {
        let known =
            |name: &[u8]| self.prepared.contains(name) || self.passed_over.contains_key(name);
        !self.unsure && names(request, |name| !known(name))
    }
}

/// Nothing prepares what the request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing;

fn close(name: &[u8], out: &mut Vec<u8>) {
    out.message(b'C', |body| {
        body.push(b'S');
        body.string(name);
    });
}

fn deallocates(request: &[u8], name: &[u8]) -> bool {
    Messages::new(request).any(|(_, message)| match Message::parse(message) {
        Ok(Message::Query { text }) => {
            let said = str::from_utf8(text).ok().and_then(deallocated);
            said.is_some_and(|said| said.as_bytes() == name)
        }
        _ => false,
    })
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
    fn what_was_passed_over_is_made_up_for_until_it_is_prepared_or_gone() {
        let sync = client::sync();
        let parse = |name| client::parse(name, "select 1", &[]);
        let bind = |name| [client::bind("", name, &[], &[], &[]), sync.clone()].concat();
        let said = |name| {
            let describe = client::describe(b'S', name);
            [
                client::close(b'S', name),
                parse(name),
                describe,
                sync.clone(),
            ]
            .concat()
        };
        let passed_over = || {
            let mut names = Names::default();
            names.pass_over(&[parse("a"), bind("a"), parse("b")].concat(), false);
            names
        };
        let names = passed_over();
        for (request, made_up) in [
            (bind("a"), said("a")),
            (client::describe(b'S', "b"), said("b")),
            (client::query("deallocate a"), said("a")),
            (bind("c"), Vec::new()),
            ([parse("a"), bind("a")].concat(), Vec::new()),
            (client::query("deallocate all"), Vec::new()),
        ] {
            assert_eq!(names.make_up(&request), Ok(made_up));
        }
        for (request, left) in [
            (parse("a"), true),
            (client::close(b'S', "a"), true),
            (client::query("prepare a as select 1"), false),
            (Vec::new(), true),
        ] {
            let mut names = passed_over();
            names.follow(&request);
            let is_there = |name| !names.make_up(&bind(name)).unwrap().is_empty();
            assert_eq!((is_there("a"), is_there("b")), (request.is_empty(), left));
        }
    }

    #[test]
    fn what_is_left_is_closed_before_anything_else_is_said() {
        let parse = client::parse("a", "select 1", &[]);
        let bind = client::bind("", "a", &[], &[], &[]);
        let close = client::close(b'S', "a");
        for passed_over in [close.clone(), client::query("DEALLOCATE a")] {
            let mut names = Names::default();
            names.pass_over(&passed_over, false);
            // It was not there.
            assert_eq!(names.make_up(&parse), Ok(Vec::new()));
            names.follow(&parse);
            names.pass_over(&passed_over, false);
            assert!(names.lack(&bind));
            let said = names.make_up(&parse).unwrap();
            assert_eq!(said, [close.clone(), client::sync()].concat());
            names.making_up(&said);
            names.follow(&parse);
            assert_eq!(names.make_up(&bind), Ok(Vec::new()));
            names.made_up(false);
            assert!(!names.lack(&bind));
        }
    }

    #[test]
    fn what_could_not_be_made_up_for_is_tried_again() {
        let bind = client::bind("", "a", &[], &[], &[]);
        let mut names = Names::default();
        names.pass_over(&client::parse("a", "select 1", &[]), false);
        for failed in [true, true, false] {
            let said = names.make_up(&bind).unwrap();
            assert!(!said.is_empty());
            names.making_up(&said);
            assert_eq!(names.make_up(&bind), Ok(Vec::new()));
            names.made_up(failed);
        }
        assert_eq!(names.make_up(&bind), Ok(Vec::new()));
        assert!(!names.lack(&bind));
    }

    #[test]
    fn what_is_blanked_or_too_long_is_missing() {
        let bind = client::bind("", "a", &[], &[], &[]);
        let long = "x".repeat(MAX_PARSES);
        for (text, blanked) in [("select 1", true), (&long, false)] {
            let mut names = Names::default();
            names.pass_over(&client::parse("a", text, &[]), blanked);
            assert_eq!(names.make_up(&bind), Err(Missing));
        }
    }

    #[test]
    fn the_unnamed_statement_goes_with_the_next_query() {
        let mut names = Names::default();
        names.pass_over(&client::parse("", "select 1", &[]), true);
        let bind = client::bind("", "", &[], &[], &[]);
        assert_eq!(names.make_up(&bind), Err(Missing));
        names.follow(&client::query("select 2"));
        assert_eq!(names.make_up(&bind), Ok(Vec::new()));
    }

    #[test]
    fn a_name_is_read_from_what_was_cut() {
        let bind = client::bind("", "name", &[], &[], &[]);
        let parse = client::parse("name", "select 1", &[]);
        for cut in 0..parse.len() {
            let mut names = Names::default();
            names.pass_over(&[client::sync(), parse[..cut].to_vec()].concat(), false);
            assert_eq!(names.make_up(&bind).is_err(), cut > 9, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_passed_over_without_end_is_not_remembered() {
        let mut names = Names::default();
        for number in 0..2 * MAX_PASSED_OVER {
            names.pass_over(&client::parse(&number.to_string(), "", &[]), false);
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
