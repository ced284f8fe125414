//! Statements that the client names and nobody saw it prepare.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use recording::{Exchange, Kind, Statement, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::rows;
use super::statements::{Prepared, Statements};
use super::unit::{Runs, Unit};
use crate::border::{self, Executed};
use crate::postgres::messages::Encode;

/// Of one session.
const MAX_NAMES: usize = 1_000;
/// Requests that are remembered: what comes until the server's answer is known here.
const MAX_RAN: usize = 256;

/// Learns what a name stands for: where the server tells which statement it executed last, and when,
/// and all requests that it can have been executed that name or another text.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Not yet known names, and when the first request with them began.
    names: HashMap<Box<[u8]>, Timestamp>,
    ran: VecDeque<Ran>,
    /// All that was executed from then on is in `ran` or waits for its answer.
    in_sight_from: Option<Timestamp>,
    /// Somebody tells: else nothing is remembered.
    told: bool,
    /// Waits until all requests that it may have been have come.
    executed: Option<Executed>,
    learnt: u64,
    lost: u64,
}

/// Answered requests in succession that executed the same.
#[derive(Debug)]
struct Ran {
    began: Timestamp,
    ended: Timestamp,
    runs: Runs,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Learnt {
    name: Box<[u8]>,
    text: Arc<str>,
    first_needed: Timestamp,
}

impl Strangers {
    pub(super) fn met(&mut self, name: &[u8], at: Timestamp) {
        if !name.is_empty() && !self.names.contains_key(name) && self.names.len() < MAX_NAMES {
            self.names.insert(name.into(), at);
        }
    }

    /// The name is used anew, or not any more.
    pub(super) fn forget(&mut self, name: &[u8]) {
        if self.names.remove(name).is_some() {
            self.lost += 1;
            for ran in &mut self.ran {
                if matches!(&ran.runs, Runs::Stranger(it) if **it == *name) {
                    ran.runs = Runs::Anything;
                }
            }
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.lost += self.names.len() as u64;
        self.names.clear();
        self.out_of_sight();
    }

    /// It is not known what the server executes now.
    pub(super) fn out_of_sight(&mut self) {
        self.in_sight_from = None;
        self.executed = None;
        self.ran.clear();
    }

    /// A request begins, and nothing else is under way.
    pub(super) fn all_in_sight_from(&mut self, at: Timestamp) {
        self.in_sight_from.get_or_insert(at);
    }

    /// A request was answered.
    pub(super) fn ran(&mut self, began: Timestamp, ended: Timestamp, runs: Runs) {
        if !self.lack() {
            self.out_of_sight();
            return;
        }
        if self.in_sight_from.is_none() {
            return;
        }
        match self.ran.back_mut() {
            Some(last) if last.runs == runs => last.ended = last.ended.max(ended),
            _ => self.ran.push_back(Ran { began, ended, runs }),
        }
        if self.ran.len() > MAX_RAN
            && let Some(gone) = self.ran.pop_front()
        {
            self.in_sight_from = self.in_sight_from.max(Some(gone.ended));
        }
    }

    /// Is there something to learn, and somebody who tells?
    pub(super) fn lack(&self) -> bool {
        self.told && !self.names.is_empty()
    }

    pub(super) fn tell(&mut self, executed: Option<&Executed>) {
        self.told = true;
        if self.executed.is_none() && !self.names.is_empty() {
            self.executed = executed.cloned();
        }
    }

    /// The client says something that began at `now`: so all that it said before is known.
    pub(super) fn look_up(
        &mut self,
        now: Timestamp,
        waiting: &VecDeque<Box<Unit>>,
    ) -> Option<Learnt> {
        let executed = self.executed.take_if(|it| it.latest < now)?;
        if self.in_sight_from? > executed.earliest {
            return None;
        }
        let ran = self.ran.iter();
        let answered = ran
            .filter(|ran| ran.began <= executed.latest && ran.ended >= executed.earliest)
            .map(|ran| &ran.runs);
        let waiting = waiting.iter();
        let unanswered = waiting
            .filter(|unit| unit.began_at <= executed.latest)
            .map(|unit| {
                if unit.closed {
                    &unit.runs
                } else {
                    &Runs::Anything
                }
            });
        let told = xxh3_64(executed.text.as_bytes());
        let mut found: Option<&[u8]> = None;
        for runs in answered.chain(unanswered) {
            match runs {
                Runs::Nothing => {}
                Runs::Text(other) if *other != told => {}
                Runs::Text(_) | Runs::Anything => return None,
                Runs::Stranger(name) if found.is_some_and(|it| *it != **name) => return None,
                Runs::Stranger(name) => found = Some(name),
            }
        }
        let name = found?;
        let (name, first_needed) = self.names.remove_entry(name)?;
        self.learnt += 1;
        Some(Learnt {
            name,
            text: executed.text,
            first_needed,
        })
    }

    pub(super) fn count(&self) -> border::Strangers {
        border::Strangers {
            learnt: self.learnt,
            lacking: self.names.len() as u64,
            lost: self.lost,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.names.len() * mem::size_of::<(Box<[u8]>, Timestamp)>()
            + self.ran.capacity() * mem::size_of::<Ran>()
    }
}

impl Learnt {
    /// From now on the session knows it.
    pub(super) fn statement(&self, statements: &mut Statements) -> Statement {
        let statement = statements.normalise(self.text.as_bytes());
        let prepared = Arc::new(Prepared::new(statement.clone(), self.text.as_bytes()));
        statements.prepare(&self.name, prepared);
        statement
    }

    pub(super) fn row(&self, statement: Statement) -> Exchange {
        let before = Timestamp(self.first_needed.0.saturating_sub(1));
        let mut row = rows::row(Kind::Prepare, before, "prepare");
        let bytes = &mut row.request.bytes;
        bytes.message(b'P', |body| {
            body.string(&self.name);
            body.string(self.text.as_bytes());
            body.extend(0_u16.to_be_bytes());
        });
        bytes.message(b'S', |_| {});
        row.request.statement = Some(statement);
        row.request.pipelined = true;
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: VecDeque<Box<Unit>> = VecDeque::new();

    fn executed(earliest: i64, latest: i64) -> Executed {
        Executed {
            text: "select 'a', $1".into(),
            earliest: Timestamp(earliest),
            latest: Timestamp(latest),
        }
    }

    fn runs(name: &str) -> Runs {
        Runs::Stranger(name.as_bytes().into())
    }

    /// Requests at 100 with `a`, at 200 with `b`, at 300 with anything, at 400 with `a` and at 500
    /// with another text, each answered after 50.
    fn four() -> Strangers {
        let mut strangers = Strangers::default();
        strangers.tell(None);
        strangers.all_in_sight_from(Timestamp(100));
        for (at, runs) in [
            (100, runs("a")),
            (200, runs("b")),
            (300, Runs::Anything),
            (400, runs("a")),
            (500, Runs::Text(7)),
        ] {
            if let Runs::Stranger(name) = &runs {
                strangers.met(name, Timestamp(at));
            }
            strangers.ran(Timestamp(at), Timestamp(at + 50), runs);
        }
        strangers
    }

    #[test]
    fn only_what_fits_one_name_is_learnt() {
        for (earliest, latest, name, first) in [
            (110, 120, Some("a"), 100),
            (170, 210, Some("b"), 200),
            (410, 460, Some("a"), 100),
            // It was not the other text.
            (420, 510, Some("a"), 100),
            // Nothing else can it have been, but what came before is not known.
            (90, 120, None, 0),
            // Two fit, or none, or something else.
            (140, 210, None, 0),
            (160, 190, None, 0),
            (310, 320, None, 0),
            (340, 420, None, 0),
            (510, 520, None, 0),
        ] {
            let mut strangers = four();
            strangers.tell(Some(&executed(earliest, latest)));
            assert_eq!(strangers.look_up(Timestamp(latest), &NONE), None);
            let learnt = strangers.look_up(Timestamp(900), &NONE);
            let found = learnt.map(|it| (it.name, it.first_needed));
            let expected = name.map(|name| (name.as_bytes().into(), Timestamp(first)));
            assert_eq!(found, expected, "{earliest} to {latest}");
            let learnt = u64::from(name.is_some());
            let lacking = 2 - learnt;
            assert_eq!(
                strangers.count(),
                border::Strangers {
                    learnt,
                    lacking,
                    lost: 0
                }
            );
        }
    }

    #[test]
    fn what_was_out_of_sight_may_have_been_anything() {
        let mut strangers = four();
        strangers.tell(Some(&executed(410, 420)));
        strangers.out_of_sight();
        assert_eq!(strangers.look_up(Timestamp(900), &NONE), None);
        strangers.all_in_sight_from(Timestamp(500));
        strangers.tell(Some(&executed(410, 420)));
        assert_eq!(strangers.look_up(Timestamp(900), &NONE), None);
    }

    #[test]
    fn a_name_used_anew_is_another() {
        let mut strangers = four();
        strangers.forget(b"a");
        strangers.met(b"a", Timestamp(500));
        strangers.tell(Some(&executed(410, 420)));
        assert_eq!(strangers.look_up(Timestamp(900), &NONE), None);
        assert_eq!(strangers.count().lost, 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut strangers = four();
        for at in 6..1_000 {
            let name = if at % 2 == 0 { "a" } else { "b" };
            strangers.ran(Timestamp(at * 100), Timestamp(at * 100 + 50), runs(name));
        }
        assert_eq!(strangers.ran.len(), MAX_RAN);
        strangers.tell(Some(&executed(410, 420)));
        assert_eq!(strangers.look_up(Timestamp(100_000), &NONE), None);
        strangers.tell(Some(&executed(99_910, 99_920)));
        assert!(strangers.look_up(Timestamp(100_000), &NONE).is_some());
    }
}
