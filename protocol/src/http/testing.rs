//! What tests are made of.

use recording::{Exchange, Kind, Request, Timestamp};

use super::template;

/// A request without an answer. `head` may be malformed.
pub fn request(head: &str) -> Exchange {
    let mut words = head.split([' ', '\r']);
    let mut word = || words.next().unwrap_or_default();
    let (method, target) = (word(), word());
    Exchange {
        session: 1,
        seq: 1,
        request: Request {
            command: method.into(),
            statement: Some(template::statement(method, target.as_bytes())),
            bytes: head.as_bytes().to_vec(),
            ..Request::default()
        },
        ..Exchange::new(Kind::Request, Timestamp(0))
    }
}
