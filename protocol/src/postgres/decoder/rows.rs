use std::sync::Arc;

use recording::{Exchange, Kind, Notes, Request, SessionInfo, Status, Timestamp};

/// How far a session's rows are.
#[derive(Debug)]
pub(super) struct Order {
    /// Until it is given.
    pub(super) opening: Option<Box<Exchange>>,
    next_seq: u32,
}

/// Where rows go, in the order of `seq`. The opening goes before the first other one.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) order: &'a mut Order,
    out: &'a mut Vec<Exchange>,
}

impl Order {
    pub(super) fn new(opening: Exchange) -> Order {
        Order {
            opening: Some(Box::new(opening)),
            next_seq: 0,
        }
    }

    pub(super) fn rows<'a>(&'a mut self, out: &'a mut Vec<Exchange>) -> Rows<'a> {
        Rows { order: self, out }
    }
}

impl Rows<'_> {
    pub(super) fn push(&mut self, mut row: Exchange) {
        self.open();
        row.seq = self.order.next_seq;
        self.order.next_seq += 1;
        self.out.push(row);
    }

    /// Gives the opening, when it was not given yet, as far as it came.
    pub(super) fn open(&mut self) {
        if let Some(mut opening) = self.order.opening.take() {
            if opening.notes.contains(Notes::MID_STREAM) {
                // Leaves room before the first request for what the session had prepared.
                let at = &mut opening.started_at.0;
                *at = at.saturating_sub(2);
            }
            self.out.push(*opening);
            self.order.next_seq = 1;
        }
    }
}

/// A row that is no request.
pub(in crate::postgres) fn row(kind: Kind, at: Timestamp, command: &str) -> Exchange {
    Exchange {
        request: Request {
            command: Arc::from(command),
            last_byte_at: at,
            ..Request::default()
        },
        ..Exchange::new(kind, at)
    }
}

/// The opening before anything is known of it.
pub(super) fn opening(at: Timestamp, info: SessionInfo) -> Exchange {
    Exchange {
        status: Status::Unanswered,
        reason: Some("login not completed".into()),
        info: Some(Box::new(info)),
        ..row(Kind::Open, at, "startup")
    }
}
