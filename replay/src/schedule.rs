//! When each row is to be sent, and what it waits for. No clock, no sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use recording::{Exchange, Kind, Notes, Timestamp};

use crate::error::ReplayError;
use crate::lesson::{Lesson, Lessons, Need};
use crate::reason;
use crate::target::Target;

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Times the recorded speed: 1.0 is as it was. Above zero.
    Speed(f64),
    /// Each request as soon as what it waits for is done.
    Asap,
}

impl Pace {
    pub fn check(self) -> Result<(), ReplayError> {
        match self {
            Pace::Speed(speed) if !(speed.is_finite() && speed > 0.0) => {
                Err(ReplayError::Pace(speed))
            }
            Pace::Speed(_) | Pace::Asap => Ok(()),
        }
    }
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pace::Speed(speed) => write!(f, "speed {speed}"),
            Pace::Asap => f.write_str("asap"),
        }
    }
}

/// A recorded row's place in the run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub due: Due,
    /// The session in whose queue it stands. Rows of one queue are taken in order: a cancel stands in the
    /// queue of the session that it cancels, behind the request that it is meant for.
    pub queue: u64,
    /// Why it can't be sent, where that is known beforehand.
    pub unsendable: Option<&'static str>,
    /// Values that must be learnt before it is sent.
    pub(crate) needs: Vec<Need>,
    pub(crate) lesson: Option<Arc<Lesson>>,
}

/// When a row is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// So long after the run's start.
    At(Duration),
    /// As soon as what it waits for is done: an opening for so many sessions to end as had ended when it
    /// was recorded.
    Asap { after: u64 },
}

/// Plans rows that come in the order of [`Exchange::order`]. Memory: a few words a session that is
/// open, and a value that the server made up.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    first: Option<Timestamp>,
    /// Sessions that have ended.
    ended: u64,
    /// The newest session of each number of the server's own.
    by_backend: HashMap<u64, u64>,
    /// The number of the server's own that an open session has, or that it cancels.
    backends: HashMap<u64, u64>,
    lessons: Lessons,
}

impl Schedule {
    pub fn new(pace: Pace) -> Schedule {
        Schedule {
            pace,
            first: None,
            ended: 0,
            by_backend: HashMap::new(),
            backends: HashMap::new(),
            lessons: Lessons::default(),
        }
    }

    pub fn plan(&mut self, target: &Target, row: &Exchange) -> Plan {
        let first = *self.first.get_or_insert(row.started_at);
        let due = match self.pace {
            Pace::Asap if row.kind == Kind::Open && !only_cancels(row) => {
                Due::Asap { after: self.ended }
            }
            Pace::Asap => Due::Asap { after: 0 },
            Pace::Speed(speed) => {
                let ns = row.started_at.since(first) as f64 / speed;
                Due::At(Duration::from_nanos(ns.round() as u64))
            }
        };
        let mut queue = row.session;
        let mut unsendable = reason::unsendable(row);
        let (mut needs, mut lesson) = (Vec::new(), None);
        match row.kind {
            Kind::Open => self.opened(row),
            Kind::Request => {
                unsendable = unsendable.or_else(|| target.withheld(row));
                if unsendable.is_none() {
                    needs = self.lessons.needs(target, row);
                }
                lesson = self.lessons.add(target, row);
                if let (Some(_), Some(lesson)) = (unsendable, &lesson) {
                    lesson.end(Timestamp::default());
                }
            }
            Kind::Cancel => match self.cancelled_by(row.session) {
                Some(session) => queue = session,
                None => unsendable = Some(reason::NOTHING_TO_CANCEL),
            },
            Kind::Close => self.closed(row.session),
            Kind::Prepare => {}
        }
        Plan {
            due,
            queue,
            unsendable,
            needs,
            lesson,
        }
    }

    fn opened(&mut self, row: &Exchange) {
        if let Some(backend) = row.info.as_ref().and_then(|info| info.backend) {
            self.backends.insert(row.session, backend);
            if !only_cancels(row) {
                self.by_backend.insert(backend, row.session);
            }
        }
    }

    fn cancelled_by(&self, session: u64) -> Option<u64> {
        self.by_backend.get(self.backends.get(&session)?).copied()
    }

    fn closed(&mut self, session: u64) {
        self.ended += 1;
        if let Some(backend) = self.backends.remove(&session)
            && self.by_backend.get(&backend) == Some(&session)
        {
            self.by_backend.remove(&backend);
        }
    }
}

/// The opening of a connection that carries nothing but a cancel: it says no more than whom.
pub(crate) fn only_cancels(opening: &Exchange) -> bool {
    let named = opening
        .info
        .as_ref()
        .is_some_and(|info| info.backend.is_some());
    named && opening.request.bytes.is_empty() && !opening.notes.contains(Notes::MID_STREAM)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::{LINES, Tape};

    fn plans(tape: &Tape, pace: Pace) -> Vec<Plan> {
        let mut schedule = Schedule::new(pace);
        let target = Target::parse("lines://h", &[&LINES]).unwrap();
        let rows = tape.rows.iter();
        rows.map(|row| schedule.plan(&target, row)).collect()
    }

    #[test]
    fn times_are_those_of_the_recording_over_the_speed() {
        let mut tape = Tape::default();
        tape.open(1);
        tape.say(1, "x").started_at = Timestamp(1_000_000_000 + 86_400_000_000_001);
        let dues = |pace| {
            let plans = plans(&tape, pace);
            plans.iter().map(|plan| plan.due).collect::<Vec<_>>()
        };
        let day = Duration::from_nanos(86_400_000_000_001);
        let start = Due::At(Duration::ZERO);
        assert_eq!(dues(Pace::Speed(1.0)), [start, Due::At(day)]);
        assert_eq!(dues(Pace::Speed(0.5)), [start, Due::At(day * 2)]);
        assert_eq!(dues(Pace::Asap), [Due::Asap { after: 0 }; 2]);
    }

    #[test]
    fn a_session_waits_for_as_many_to_end_as_had_ended() {
        let mut tape = Tape::default();
        tape.open(1);
        tape.open(2);
        tape.close(1);
        tape.open(3);
        tape.say(3, "x");
        tape.cancel(4, 3);
        tape.close(2);
        tape.open(5);
        let after: Vec<_> = std::iter::zip(&tape.rows, plans(&tape, Pace::Asap))
            .filter(|(row, _)| row.kind == Kind::Open)
            .map(|(row, plan)| (row.session, plan.due))
            .collect();
        let expected = [(1, 0), (2, 0), (3, 1), (4, 0), (5, 3)];
        assert_eq!(
            after,
            expected.map(|(session, after)| (session, Due::Asap { after }))
        );
    }

    #[test]
    fn a_cancel_goes_to_the_newest_session_of_its_number() {
        let mut tape = Tape::default();
        tape.open(1);
        tape.close(1);
        tape.open(2).info.as_mut().unwrap().backend = Some(101);
        tape.cancel(3, 1);
        tape.close(2);
        tape.cancel(4, 1);
        let plans = plans(&tape, Pace::Asap);
        let cancels: Vec<_> = std::iter::zip(&tape.rows, &plans)
            .filter(|(row, _)| row.kind == Kind::Cancel)
            .map(|(_, plan)| (plan.queue, plan.unsendable))
            .collect();
        assert_eq!(cancels, [(2, None), (4, Some(reason::NOTHING_TO_CANCEL))]);
    }

    proptest! {
        #[test]
        fn a_request_needs_what_was_made_up_before_it(
            said in prop::collection::vec((0u64..4, "make [ab]|use [ab]", 0i64..5_000_000), 1..100),
        ) {
            let mut tape = Tape::default();
            for (session, line, takes) in said {
                let row = tape.say(session, &line);
                row.response.as_mut().unwrap().first_byte_at.0 += takes;
            }
            let rows = &tape.rows;
            let plans = plans(&tape, Pace::Asap);
            for (at, (row, plan)) in std::iter::zip(rows, &plans).enumerate() {
                let before = rows.iter().take(at);
                let made = before.filter(|made| {
                    let used = made.request.bytes.strip_prefix(b"make ");
                    let used = used.map(|value| [b"use ", value].concat());
                    used.as_ref() == Some(&row.request.bytes)
                });
                let first = made.map(|row| row.response.as_ref().unwrap().first_byte_at).next();
                let needed = first.is_some_and(|made_at| made_at <= row.started_at);
                prop_assert_eq!(plan.needs.len(), usize::from(needed));
                // Those before it in time are enough to end its wait.
                prop_assert!(plan.needs.iter().all(|need| need.lesson.over_at().is_some()));
                if let Some(lesson) = &plan.lesson {
                    lesson.end(Timestamp(0));
                }
            }
        }

        #[test]
        fn nothing_is_lost_or_sent_before_its_time(
            steps in prop::collection::vec((0u64..5, 0i64..1_000_000_000_000), 1..100),
            speed in 0.01f64..100.0,
        ) {
            let mut tape = Tape::default();
            let mut at = 0;
            for (session, step) in steps {
                at += step;
                tape.say(session, "x").started_at = Timestamp(at);
            }
            let first = tape.rows[0].started_at;
            let mut before = Duration::ZERO;
            for (row, plan) in std::iter::zip(&tape.rows, plans(&tape, Pace::Speed(speed))) {
                prop_assert_eq!(plan.queue, row.session);
                let Due::At(offset) = plan.due else {
                    unreachable!()
                };
                prop_assert!(offset >= before);
                let exact = (row.started_at - first).as_nanos() as f64 / speed;
                prop_assert!((offset.as_nanos() as f64 - exact).abs() <= 0.5 + exact * 1e-12);
                before = offset;
            }
        }
    }
}
