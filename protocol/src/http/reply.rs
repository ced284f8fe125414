//! One response on its way in, interim ones before it included.

use std::borrow::Cow;
use std::sync::Arc;

use recording::{Response, Status, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::body::{Asked, Body, Skip};
use super::head::{Fault, HeadBuffer, ResponseHead};
use super::message::{Message, codings, is_interim};

/// What comes is no response.
pub const NO_STATUS_LINE: Fault = "no status line";

/// What most responses are not longer than: room that is made at once.
const LIKELY_LEN: usize = 4 << 10;

pub struct Reply {
    asked: Asked,
    cap: usize,
    state: State,
    head: Option<ResponseHead>,
    ended_by_close: bool,
    response: Response,
    /// Of content that comes in pieces.
    digest: Option<Box<Xxh3>>,
    content_digest: u64,
    content_len: u64,
    gap: bool,
}

#[derive(Debug)]
enum State {
    Head(HeadBuffer),
    Body(Body),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// An interim response was read: the one that counts follows.
    Interim(u16),
    Done,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("asked", &self.asked)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// Keeps up to `cap` bytes of it.
    pub fn new(asked: Asked, cap: usize) -> Reply {
        Reply {
            asked,
            cap,
            state: State::Head(HeadBuffer::default()),
            head: None,
            ended_by_close: false,
            response: Response::default(),
            digest: None,
            content_digest: 0,
            content_len: 0,
            gap: false,
        }
    }

    /// How many of `bytes` it took. Call again with the rest while there is `More`.
    pub fn feed(&mut self, bytes: &[u8], at: Timestamp) -> Result<(usize, Progress), Fault> {
        match &mut self.state {
            State::Done => Ok((0, Progress::Done)),
            State::Head(buffer) => {
                if buffer.bytes().is_empty() {
                    self.response.first_byte_at = at;
                }
                let (used, head) = match buffer.whole(bytes) {
                    Some(head) => (head.len(), Some(head)),
                    None => {
                        let (used, whole) = buffer.fill(bytes)?;
                        (used, whole.then_some(buffer.bytes()))
                    }
                };
                let begun = head.unwrap_or(buffer.bytes());
                if !begins_like(begun, b"HTTP/1.") {
                    return Err(NO_STATUS_LINE);
                }
                let head = head.map(ResponseHead::parse);
                self.keep(bytes, used, at);
                let progress = match head.transpose()? {
                    None => Progress::More,
                    Some(head) => self.begin_body(head)?,
                };
                Ok((used, progress))
            }
            State::Body(body) => {
                let step = body.step(bytes)?;
                if step.done {
                    self.state = State::Done;
                }
                self.digest(step.content, step.done);
                self.keep(bytes, step.used, at);
                Ok((step.used, self.progress()))
            }
        }
    }

    fn progress(&self) -> Progress {
        match self.state {
            State::Done => Progress::Done,
            _ => Progress::More,
        }
    }

    fn begin_body(&mut self, mut head: ResponseHead) -> Result<Progress, Fault> {
        let body = Body::of_response(&mut head, self.asked)?;
        if is_interim(head.status) {
            self.state = State::Head(HeadBuffer::default());
            return Ok(Progress::Interim(head.status));
        }
        self.state = if body.is_done() {
            State::Done
        } else {
            State::Body(body)
        };
        self.head = Some(head);
        Ok(self.progress())
    }

    fn digest(&mut self, content: &[u8], last: bool) {
        self.content_len += content.len() as u64;
        if self.digest.is_none() && last && self.content_len == content.len() as u64 {
            self.content_digest = xxh3_64(content);
        } else if !content.is_empty() {
            self.digest.get_or_insert_default().update(content);
        }
    }

    fn keep(&mut self, bytes: &[u8], used: usize, at: Timestamp) {
        let room = self.cap.saturating_sub(self.response.body.len());
        // After a gap the bytes would not be the next ones.
        if !self.gap {
            let kept = bytes.get(..used.min(room)).unwrap_or_default();
            if self.response.body.is_empty() {
                let likely = bytes.len().min(room).min(LIKELY_LEN);
                self.response.body.reserve(likely);
            }
            self.response.body.extend_from_slice(kept);
        }
        self.response.wire_len += used as u64;
        self.response.last_byte_at = at;
    }

    pub fn skip(&mut self, len: u64, at: Timestamp) -> Skip {
        self.gap = true;
        let skip = match &mut self.state {
            State::Body(body) => body.skip(len),
            State::Head(_) => Skip::Lost,
            State::Done => Skip::Beyond(len),
        };
        let mine = match skip {
            Skip::Beyond(rest) => len - rest,
            Skip::Within => len,
            Skip::Lost => 0,
        };
        self.response.wire_len += mine;
        self.response.last_byte_at = at;
        skip
    }

    /// The connection ended in order. Is the response whole with that?
    pub fn close(&mut self) -> bool {
        if let State::Body(Body::UntilClose) = self.state {
            self.ended_by_close = true;
            self.state = State::Done;
        }
        matches!(self.state, State::Done)
    }

    pub fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    pub fn ended_by_close(&self) -> bool {
        self.ended_by_close
    }

    pub fn has_begun(&self) -> bool {
        self.response.wire_len > 0
    }

    pub fn has_gap(&self) -> bool {
        self.gap
    }

    pub fn held(&self) -> usize {
        let head = match &self.state {
            State::Head(buffer) => buffer.bytes().len(),
            _ => 0,
        };
        head + self.response.body.capacity()
    }

    /// Shares the text of the columns `before`, where it has the same.
    pub fn finish(mut self, before: Option<Arc<str>>) -> (Status, Response) {
        let Some(head) = self.head else {
            return (Status::Unanswered, self.response);
        };
        let before = before.filter(|known| are_columns(known, &head));
        self.response.columns = before.or_else(|| Some(columns(&head)));
        if self.content_len > 0 && !self.gap {
            let digest = self.digest.map_or(self.content_digest, |it| it.digest());
            self.response.rows_digest_unordered = digest;
            self.response.rows_digest = self.response.rows_digest_unordered;
            let whole = self.response.body.len() as u64 == self.response.wire_len;
            if whole
                && !codings(&head).is_empty()
                && let Some(message) = Message::read(&self.response.body, self.asked)
                && !message.encoded
            {
                self.response.rows_digest = xxh3_64(&message.content);
            }
        }
        if head.status < 400 {
            return (Status::Ok, self.response);
        }
        self.response.error_code = Some(head.status.to_string().into());
        (Status::Error, self.response)
    }
}

fn columns(head: &ResponseHead) -> Arc<str> {
    let text = format!("{} {}", head.status, media(head));
    text.trim_end().into()
}

/// Would [`columns`] give this text?
fn are_columns(text: &str, head: &ResponseHead) -> bool {
    text.split_at_checked(3).is_some_and(|(status, rest)| {
        let known = rest.strip_prefix(' ').unwrap_or(rest);
        status.parse() == Ok(head.status) && known == media(head).trim_end()
    })
}

fn media(head: &ResponseHead) -> Cow<'_, str> {
    String::from_utf8_lossy(head.head.value("content-type").unwrap_or_default())
}

fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\
        Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

    fn read(pieces: &[&[u8]], cap: usize) -> (Status, Response, Vec<u16>) {
        let mut reply = Reply::new(Asked::Other, cap);
        let mut interims = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (used, progress) = reply.feed(rest, Timestamp(at as i64)).unwrap();
                rest = rest.get(used..).unwrap();
                if let Progress::Interim(status) = progress {
                    interims.push(status);
                }
            }
        }
        assert_eq!(reply.progress(), Progress::Done);
        let (status, response) = reply.finish(None);
        (status, response, interims)
    }

    #[test]
    fn a_response_is_the_same_wherever_it_is_split() {
        for split in 0..TEXT.len() {
            let (first, second) = TEXT.split_at(split);
            let (status, response, interims) = read(&[first, second], 1000);
            assert_eq!((status, interims), (Status::Error, vec![100]));
            assert_eq!(response.error_code.as_deref(), Some("404"));
            assert_eq!(response.columns.as_deref(), Some("404 text/plain"));
            assert_eq!(response.body, TEXT);
            assert_eq!(response.wire_len, TEXT.len() as u64);
            assert_eq!(response.rows_digest, xxh3_64(b"hello"));
            // Of the final response, not of the interim one.
            assert_eq!(response.first_byte_at.0, i64::from(split <= 25));
            assert_eq!(response.last_byte_at.0, 1);
        }
    }

    #[test]
    fn a_cap_cuts_what_is_kept_and_no_more() {
        let (_, whole, _) = read(&[TEXT], 1000);
        let (_, cut, _) = read(&[TEXT], 30);
        assert_eq!(cut.body, TEXT.get(..30).unwrap());
        assert_eq!(
            (cut.wire_len, cut.rows_digest),
            (whole.wire_len, whole.rows_digest)
        );
    }
}
