//! One response on its way in, interim ones before it included.

use std::borrow::Cow;
use std::sync::Arc;

use recording::{Response, Status, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::body::{Asked, Body, Skip};
use super::head::{Fault, HeadBuffer, MAX_HEAD, ResponseHead};
use super::message::{Message, codings, is_interim};

/// What comes is no response.
pub const NO_STATUS_LINE: Fault = "no status line";

/// What most responses are not longer than: room that is made at once.
const LIKELY_LEN: usize = 4 << 10;

pub struct Reply {
    asked: Asked,
    /// Bytes that are kept of what follows the head.
    cap: usize,
    /// Bytes of the head that are kept, and of those of interim responses.
    heads: usize,
    state: State,
    /// Of the response before, until its own head is there.
    known: Option<Box<Known>>,
    ended_by_close: bool,
    response: Response,
    /// Of content that comes in pieces.
    digest: Option<Box<Xxh3>>,
    content_digest: u64,
    content_len: u64,
    gap: bool,
}

/// A head with what it tells: kept for the next response, for many servers say the same again.
#[derive(Debug)]
pub struct Known {
    asked: Asked,
    head: ResponseHead,
    /// As it begins.
    body: Body,
    columns: Arc<str>,
    error_code: Option<Arc<str>>,
    encoded: bool,
    keeps_alive: bool,
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

impl Known {
    fn new(mut head: ResponseHead, asked: Asked, before: Option<&Known>) -> Result<Known, Fault> {
        let body = Body::of_response(&mut head, asked)?;
        let status = head.status;
        let same = |known: &&Known| are_columns(&known.columns, &head);
        let columns = match before.filter(same) {
            Some(known) => Arc::clone(&known.columns),
            None => columns(&head),
        };
        Ok(Known {
            asked,
            body,
            columns,
            error_code: (status >= 400).then(|| status.to_string().into()),
            encoded: !codings(&head).is_empty(),
            keeps_alive: head.head.keeps_alive(),
            head,
        })
    }

    /// Bytes of the head that `bytes` begin with, where it is this one.
    fn begins(&self, bytes: &[u8], asked: Asked) -> Option<usize> {
        let head = self.head.head.unchanged()?;
        (asked == self.asked && bytes.starts_with(head)).then_some(head.len())
    }

    pub fn held(&self) -> usize {
        size_of::<Known>() + self.head.head.held()
    }
}

impl Reply {
    /// Keeps its head and up to `cap` bytes of the rest.
    pub fn new(asked: Asked, cap: usize, known: Option<Box<Known>>) -> Reply {
        Reply {
            asked,
            cap,
            heads: 0,
            state: State::Head(HeadBuffer::default()),
            known,
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
                let begins = buffer.bytes().is_empty();
                if begins
                    && let Some(known) = &self.known
                    && let Some(used) = known.begins(bytes, self.asked)
                {
                    self.response.first_byte_at = at;
                    self.keep(bytes, used, at);
                    return Ok((used, self.begin_body()));
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
                if begins {
                    self.response.first_byte_at = at;
                }
                self.keep(bytes, used, at);
                let progress = match head.transpose()? {
                    None => Progress::More,
                    Some(head) => self.take_head(head)?,
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

    fn take_head(&mut self, head: ResponseHead) -> Result<Progress, Fault> {
        if is_interim(head.status) {
            self.state = State::Head(HeadBuffer::default());
            return Ok(Progress::Interim(head.status));
        }
        let known = Known::new(head, self.asked, self.known.as_deref())?;
        self.known = Some(Box::new(known));
        Ok(self.begin_body())
    }

    fn begin_body(&mut self) -> Progress {
        self.heads = self.response.body.len();
        let body = self.known.as_ref().map(|known| known.body);
        self.state = match body.filter(|body| !body.is_done()) {
            Some(body) => State::Body(body),
            None => State::Done,
        };
        self.progress()
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
        let most = match self.state {
            State::Head(_) => MAX_HEAD,
            State::Body(_) | State::Done => self.heads + self.cap,
        };
        let room = most.saturating_sub(self.response.body.len());
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

    /// Lost bytes tell no time.
    pub fn skip(&mut self, len: u64) -> Skip {
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
        self.told().map(|known| &known.head)
    }

    /// Of its own head, once that is there.
    fn told(&self) -> Option<&Known> {
        match self.state {
            State::Head(_) => None,
            State::Body(_) | State::Done => self.known.as_deref(),
        }
    }

    /// May the connection carry another response after it?
    pub fn keeps_alive(&self) -> bool {
        !self.ended_by_close && self.told().is_some_and(|known| known.keeps_alive)
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
        let known = self.known.as_ref().map_or(0, |known| known.held());
        head + known + self.response.body.capacity()
    }

    /// Gives its head too, for the next one.
    pub fn finish(mut self) -> (Status, Response, Option<Box<Known>>) {
        let (Some(known), State::Body(_) | State::Done) = (&self.known, &self.state) else {
            return (Status::Unanswered, self.response, self.known);
        };
        self.response.columns = Some(Arc::clone(&known.columns));
        self.response.error_code.clone_from(&known.error_code);
        if self.content_len > 0 && !self.gap {
            let digest = self.digest.map_or(self.content_digest, |it| it.digest());
            self.response.rows_digest_unordered = digest;
            self.response.rows_digest = digest;
            let whole = self.response.body.len() as u64 == self.response.wire_len;
            if whole
                && known.encoded
                && let Some(message) = Message::read(&self.response.body, self.asked)
                && !message.encoded
            {
                self.response.rows_digest = xxh3_64(&message.content);
            }
        }
        let status = match self.response.error_code {
            Some(_) => Status::Error,
            None => Status::Ok,
        };
        (status, self.response, self.known)
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
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\
        Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

    fn read(pieces: &[&[u8]], cap: usize) -> (Status, Response, Vec<u16>) {
        let mut reply = Reply::new(Asked::Other, cap, None);
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
        let (status, response, _) = reply.finish();
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
    fn what_is_no_response_after_an_interim_one_leaves_its_times() {
        let mut reply = Reply::new(Asked::Other, 1000, None);
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let fed = reply.feed(interim, Timestamp(1));
        assert_eq!(fed.unwrap(), (interim.len(), Progress::Interim(100)));
        assert_eq!(reply.feed(b"C", Timestamp(2)), Err(NO_STATUS_LINE));
        let (status, response, _) = reply.finish();
        assert_eq!(status, Status::Unanswered);
        assert_eq!(response.first_byte_at, Timestamp(1));
        assert_eq!(response.last_byte_at, Timestamp(1));
    }

    /// One response after the other, those after the first with or without the heads of those before.
    fn read_all(texts: &[(Asked, String)], piece: usize, remember: bool) -> Vec<String> {
        let mut known = None;
        let mut told = Vec::new();
        for (asked, text) in texts {
            let mut reply = Reply::new(*asked, 1000, known.take().filter(|_| remember));
            let mut steps = Vec::new();
            for piece in text.as_bytes().chunks(piece) {
                let mut rest = piece;
                while !rest.is_empty() && reply.progress() != Progress::Done {
                    let fed = reply.feed(rest, Timestamp(7));
                    steps.push(format!("{fed:?}"));
                    let Ok((used, _)) = fed else { break };
                    rest = rest.get(used..).unwrap();
                }
            }
            let head = reply.head().map(|head| format!("{head:?}"));
            let (status, response, heard) = reply.finish();
            known = heard;
            told.push(format!("{steps:?} {head:?} {status:?} {response:?}"));
        }
        told
    }

    proptest! {
        #[test]
        fn a_known_head_says_what_it_would_say_again(
            texts in prop::collection::vec(
                (
                    prop::sample::select(vec!["200 OK", "404 Gone", "204 None", "100 Go"]),
                    prop::sample::select(vec![
                        "Content-Length: 3\r\n", "content-length: 03\n", "Transfer-Encoding: chunked\r\n",
                        "Content-Encoding: gzip\r\nContent-Length: 3\r\n", "A: b\r\n c\r\n", "Content-Length: 0\r\n", "",
                    ]),
                    prop::sample::select(vec!["abc", "2\r\nab\r\n0\r\n\r\n", ""]),
                    prop::sample::select(vec![Asked::Other, Asked::Other, Asked::Head, Asked::Connect]),
                ),
                1..6,
            ),
            piece in prop::sample::select(vec![1usize, 7, 40, 1000]),
        ) {
            let said = |(status, fields, body, asked)| {
                (asked, format!("HTTP/1.1 {status}\r\n{fields}\r\n{body}"))
            };
            let said: Vec<_> = texts.into_iter().map(said).collect();
            prop_assert_eq!(read_all(&said, piece, true), read_all(&said, piece, false));
        }
    }

    #[test]
    fn a_cap_cuts_what_is_kept_and_no_more() {
        let (_, whole, _) = read(&[TEXT], 1000);
        for (cap, kept) in [(0, TEXT.len() - 5), (3, TEXT.len() - 2), (5, TEXT.len())] {
            let (_, cut, _) = read(&[TEXT], cap);
            assert_eq!(cut.body, TEXT.get(..kept).unwrap());
            assert_eq!(
                (cut.wire_len, cut.rows_digest),
                (whole.wire_len, whole.rows_digest)
            );
        }
    }
}
