use recording::Timestamp;

use crate::postgres::messages::Framer;

/// One side's bytes.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) framer: Framer,
    /// When the first byte of the message under way came.
    pub(super) began: Timestamp,
    pub(super) place: Place,
}

/// Is it known where a message begins?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Known,
    /// Likely with the next bytes: to be believed only where they look like it.
    Likely,
    Unknown,
}

impl Stream {
    pub(super) fn new(cap: usize, place: Place) -> Stream {
        Stream {
            framer: Framer::new(cap),
            began: Timestamp(0),
            place,
        }
    }

    /// When the next message that the framer gives began, with bytes that came at `at`.
    pub(super) fn began(&self, at: Timestamp) -> Timestamp {
        match self.framer.partial() {
            Some(_) => self.began,
            None => at,
        }
    }
}

/// Whole messages of a client from the first byte to the last, of which the last one makes the
/// server answer: by chance that does not happen.
pub(super) fn whole_requests(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut last = 0;
    while let Some((tag, body, next)) = cut(rest) {
        let plausible = match tag {
            b'S' | b'H' | b'c' | b'X' => body.is_empty(),
            b'Q' | b'f' => body.last() == Some(&0),
            b'P' | b'B' | b'E' | b'D' | b'C' | b'F' => body.len() >= 2,
            b'd' => true,
            _ => false,
        };
        if !plausible {
            return false;
        }
        last = tag;
        rest = next;
    }
    rest.is_empty() && matches!(last, b'Q' | b'F' | b'S' | b'H' | b'X' | b'c' | b'f')
}

/// Messages that begin a server's answer, as far as the bytes go.
pub(super) fn begins_response(bytes: &[u8]) -> bool {
    const TAGS: &[u8] = b"123ACDEGHINSTVWZcdnst";
    let mut rest = bytes;
    let mut count = 0;
    while let Some((tag, body, next)) = cut(rest) {
        let plausible = match tag {
            b'1' | b'2' | b'3' | b'I' | b'n' | b's' | b'c' => body.is_empty(),
            b'Z' => matches!(body, [b'I' | b'T' | b'E']),
            tag => TAGS.contains(&tag),
        };
        if !plausible {
            return false;
        }
        count += 1;
        rest = next;
    }
    match rest {
        [] => count > 0,
        [tag, 0, ..] => TAGS.contains(tag),
        _ => false,
    }
}

/// The same, and no login goes on with them, or is refused. What a server may say at any time, and
/// a mere ReadyForQuery, decide nothing.
pub(super) fn begins_answer(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((b'S' | b'N' | b'A', _, next)) = cut(rest) {
        rest = next;
    }
    begins_response(bytes)
        && match rest.first() {
            None | Some(b'S' | b'N' | b'A' | b'Z') => false,
            Some(b'E') => ends_ready(bytes),
            Some(_) => true,
        }
}

/// A ReadyForQuery stands at the end: the server has nothing more to say.
pub(super) fn ends_ready(bytes: &[u8]) -> bool {
    matches!(bytes, [.., b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E'])
}

/// The first message, when all of it is there: tag, body, rest.
fn cut(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = (u32::from_be_bytes(*len) as usize).checked_sub(4)?;
    let (body, rest) = rest.split_at_checked(len)?;
    Some((*tag, body, rest))
}
