//! What tests are made of.

use recording::{Exchange, Kind, Notes, Request, Status, Timestamp};

use super::template;

/// A request without an answer. Its line is `head`'s first.
pub fn request(head: &str) -> Exchange {
    let mut words = head.split([' ', '\r']);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    Exchange {
        session: 1,
        seq: 1,
        kind: Kind::Request,
        started_at: Timestamp(0),
        request: Request {
            command: method.into(),
            statement: Some(template::statement(method, target.as_bytes())),
            bytes: head.as_bytes().to_vec(),
            ..Request::default()
        },
        status: Status::Ok,
        reason: None,
        response: None,
        notes: Notes::default(),
        info: None,
        pacing: None,
    }
}
