//! A kept response, read again: for digests, comparison and people.

use recording::{Exchange, Timestamp};

use super::body::{Asked, Body, Chunk};
use super::content;
use super::head::{EmptyLine, Head, HeadBuffer, ResponseHead};

#[derive(Debug)]
pub struct Message {
    /// Statuses of the interim responses before it.
    pub interims: Vec<u16>,
    pub head: ResponseHead,
    /// Fields after a chunked body.
    pub trailers: Option<Head>,
    /// When it began to come.
    pub at: Timestamp,
    /// Without chunks, and decoded where it can be.
    pub content: Vec<u8>,
    /// The codings that could not be undone are still on.
    pub encoded: bool,
    /// Some of the content is not there.
    pub cut: bool,
}

impl Message {
    /// Of an exchange's response, as far as it was kept. `None` where not even its head was.
    pub fn of(exchange: &Exchange) -> Option<Message> {
        let response = exchange.response.as_ref()?;
        let mut message = Message::read(&response.body, Asked::of(&*exchange.request.command))?;
        message.at = response.first_byte_at;
        message.cut |= (response.body.len() as u64) < response.wire_len;
        Some(message)
    }

    pub fn read(bytes: &[u8], asked: Asked) -> Option<Message> {
        let (interims, mut head, mut rest) = heads(bytes)?;
        let mut body = Body::of_response(&mut head, asked).ok()?;
        let mut raw = Vec::new();
        let mut trailers = Vec::new();
        let mut done = body.is_done();
        while !done && !rest.is_empty() {
            let in_trailers = matches!(body, Body::Chunked(Chunk::Trailers { .. }));
            let Ok(step) = body.step(rest) else { break };
            if in_trailers {
                trailers.extend_from_slice(rest.get(..step.used)?);
            }
            raw.extend_from_slice(step.content);
            done = step.done;
            rest = rest.get(step.used..)?;
        }
        let cut = !done && body != Body::UntilClose;
        let codings = codings(&head);
        let decoded = if cut {
            None
        } else {
            content::decode(&raw, &codings)
        };
        Some(Message {
            interims,
            head,
            trailers: fields_of(&trailers),
            at: Timestamp::default(),
            encoded: decoded.is_none() && !codings.is_empty(),
            content: decoded.unwrap_or(raw),
            cut,
        })
    }

    /// `text/html`, in lower case; empty where it was not said.
    pub fn media_type(&self) -> String {
        let value = self
            .head
            .head
            .text_value("content-type")
            .unwrap_or_default();
        let media = value.split(';').next().unwrap_or_default();
        media.trim().to_ascii_lowercase()
    }
}

/// Fields without a start line, and the empty line that ends them.
fn fields_of(trailers: &[u8]) -> Option<Head> {
    let text = [b"HTTP/1.1 200 OK\r\n", trailers].concat();
    let head = ResponseHead::parse(&text).ok()?.head;
    (!head.places().is_empty()).then_some(head)
}

/// The head of the response that counts, the statuses of the interim ones before it, and what
/// follows.
pub fn heads(bytes: &[u8]) -> Option<(Vec<u16>, ResponseHead, &[u8])> {
    let mut interims = Vec::new();
    let mut rest = bytes;
    loop {
        let mut buffer = HeadBuffer::default();
        let (used, true) = buffer.fill(rest).ok()? else {
            return None;
        };
        rest = rest.get(used..)?;
        let head = ResponseHead::parse(buffer.bytes()).ok()?;
        if !is_interim(head.status) {
            return Some((interims, head, rest));
        }
        interims.push(head.status);
    }
}

/// How many bytes the heads take. Reads no more of them than it must.
pub fn heads_len(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    loop {
        let rest = bytes.get(len..)?;
        len += EmptyLine::default().find(rest)?;
        if !begins_with_interim(rest) {
            return Some(len);
        }
    }
}

/// `HTTP/1.1 100`
pub fn begins_with_interim(bytes: &[u8]) -> bool {
    let status = bytes.get(9..12).unwrap_or_default();
    status.first() == Some(&b'1') && status != b"101"
}

/// Another response to the same request follows. 101 is a last one.
pub fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

pub fn codings(head: &ResponseHead) -> Vec<String> {
    head.head
        .values("content-encoding")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|coding| String::from_utf8_lossy(coding.trim_ascii()).to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_again() {
        let text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
            Content-Type: Text/HTML; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n";
        let message = Message::read(text.as_bytes(), Asked::Other).unwrap();
        assert_eq!(message.interims, [103]);
        assert_eq!(heads_len(text.as_bytes()), text.find("3\r\nabc"));
        assert_eq!(message.head.status, 200);
        assert_eq!(message.content, b"abcde");
        assert_eq!(message.media_type(), "text/html");
        assert!(!message.cut && !message.encoded);
        let trailers = message.trailers.unwrap();
        assert_eq!(trailers.value("x-sum"), Some(&b"5"[..]));
        let cut = text.strip_suffix("e\r\n0\r\nX-Sum: 5\r\n\r\n").unwrap();
        let message = Message::read(cut.as_bytes(), Asked::Other).unwrap();
        assert_eq!(message.content, b"abcd");
        assert!(message.cut && message.trailers.is_none());
        assert!(Message::read(b"HTTP/1.1 200 OK\r\n", Asked::Other).is_none());
    }
}
