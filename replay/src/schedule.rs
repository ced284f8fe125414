//! When each row is to be sent, and what it waits for. No clock, no sockets.

use std::collections::HashMap;
use std::time::Duration;

use recording::{Exchange, Kind, Notes, Timestamp};

use crate::reason;

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Times the recorded speed: 1.0 is as it was. Above zero.
    Speed(f64),
    /// Each request as soon as what it waits for is done.
    Asap,
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pace::Speed(speed) => write!(f, "speed {speed}"),
            Pace::Asap => f.write_str("asap"),
        }
    }
}

/// A recorded row with its place in the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub row: Exchange,
    /// When to send it, since the run's start. `None` where the pace is [`Pace::Asap`].
    pub offset: Option<Duration>,
    /// The session in whose queue it stands. Rows of one queue are taken in order, and a row after
    /// a request is taken only when that request was sent; so a cancel stands in the queue of the
    /// session that it cancels, and is done when that session has sent what it had sent then.
    pub queue: u64,
    /// Why it can't be sent, where that is known beforehand.
    pub unsendable: Option<&'static str>,
}

/// Plans rows that come in the order of [`Exchange::order`]. Memory: a few words a session that is
/// open.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    first: Option<Timestamp>,
    /// The newest session of each number of the server's own.
    by_backend: HashMap<u64, u64>,
    /// The number of the server's own that an open session has, or that it cancels.
    backends: HashMap<u64, u64>,
}

impl Schedule {
    pub fn new(pace: Pace) -> Schedule {
        Schedule {
            pace,
            first: None,
            by_backend: HashMap::new(),
            backends: HashMap::new(),
        }
    }

    pub fn plan(&mut self, row: Exchange) -> Planned {
        let first = *self.first.get_or_insert(row.started_at);
        let offset = match self.pace {
            Pace::Asap => None,
            Pace::Speed(speed) => {
                let ns = row.started_at.since(first) as f64 / speed;
                Some(Duration::from_nanos(ns.round() as u64))
            }
        };
        let mut queue = row.session;
        let mut unsendable = reason::unsendable(&row);
        match row.kind {
            Kind::Open => self.opened(&row),
            Kind::Request => {}
            Kind::Cancel => match self.cancelled_by(row.session) {
                Some(session) => queue = session,
                None => unsendable = Some(reason::NOTHING_TO_CANCEL),
            },
            Kind::Close => self.closed(row.session),
        }
        Planned {
            row,
            offset,
            queue,
            unsendable,
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
