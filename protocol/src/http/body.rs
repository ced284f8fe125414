//! Where a body ends (RFC 9112, sections 6 and 7).

use memchr::memchr;

use super::head::{EmptyLine, Fault, MAX_HEAD, RequestHead, ResponseHead, Transfer};

/// Bytes of a chunk's size and extensions.
const MAX_CHUNK_LINE: usize = 4096;

/// What a response answers, as far as its body's end depends on that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    Head,
    Connect,
    #[default]
    Other,
}

impl Asked {
    pub fn of(method: impl AsRef<[u8]>) -> Asked {
        match method.as_ref() {
            b"HEAD" => Asked::Head,
            b"CONNECT" => Asked::Connect,
            _ => Asked::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are still to come.
    Length(u64),
    UntilClose,
    Chunked(Chunk),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size { value: Option<u64>, read: usize },
    Extension { value: u64, read: usize },
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataEnd { cr: bool },
    Trailers { end: EmptyLine, read: usize },
}

/// What some bytes were to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    pub used: usize,
    /// The part of them that is content. At most one piece a step.
    pub content: &'a [u8],
    pub done: bool,
}

/// What lost bytes were to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    Within,
    /// They went to its end, and so far beyond.
    Beyond(u64),
    /// Its end can't be known.
    Lost,
}

impl Body {
    const EMPTY: Body = Body::Length(0);
    const CHUNKED: Body = Body::Chunked(Chunk::Size {
        value: None,
        read: 0,
    });

    /// Section 6.3, for requests. What two servers could read in two ways is a fault.
    pub fn of_request(request: &mut RequestHead) -> Result<Body, Fault> {
        let length = request.head.content_length()?;
        match request.head.transfer()? {
            None => Ok(length.map_or(Body::EMPTY, Body::Length)),
            Some(_) if length.is_some() => Err("content-length with transfer-encoding"),
            Some(_) if request.head.minor == 0 => Err("transfer-encoding in HTTP/1.0"),
            Some(Transfer::Other) => Err("transfer-encoding without chunked"),
            Some(Transfer::Chunked) => Ok(Body::CHUNKED),
        }
    }

    /// Section 6.3, for responses.
    pub fn of_response(response: &mut ResponseHead, asked: Asked) -> Result<Body, Fault> {
        let status = response.status;
        if asked == Asked::Head || status < 200 || status == 204 || status == 304 {
            return Ok(Body::EMPTY);
        }
        if asked == Asked::Connect && status < 300 {
            return Ok(Body::EMPTY);
        }
        let transfer = response.head.transfer()?;
        if transfer.is_some() && response.head.minor == 0 {
            return Err("transfer-encoding in HTTP/1.0");
        }
        match (transfer, response.head.content_length()?) {
            (Some(_), Some(_)) => Err("content-length with transfer-encoding"),
            (Some(Transfer::Chunked), None) => Ok(Body::CHUNKED),
            (None, Some(length)) => Ok(Body::Length(length)),
            (Some(Transfer::Other) | None, None) => Ok(Body::UntilClose),
        }
    }

    pub fn is_done(&self) -> bool {
        *self == Body::EMPTY
    }

    /// Takes some of `bytes`. Call again with the rest until it is done or nothing is left.
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Fault> {
        let chunk = match self {
            Body::Length(left) => {
                let content = at_most(bytes, *left);
                *left -= content.len() as u64;
                return Ok(Step {
                    used: content.len(),
                    content,
                    done: *left == 0,
                });
            }
            Body::UntilClose => {
                return Ok(Step {
                    used: bytes.len(),
                    content: bytes,
                    done: false,
                });
            }
            Body::Chunked(chunk) => chunk,
        };
        let step = chunk.step(bytes)?;
        if step.done {
            *self = Body::EMPTY;
        }
        Ok(step)
    }

    pub fn skip(&mut self, len: u64) -> Skip {
        match self {
            Body::UntilClose => Skip::Within,
            _ if len == 0 => Skip::Lost,
            Body::Length(left) if len < *left => {
                *left -= len;
                Skip::Within
            }
            Body::Length(left) => Skip::Beyond(len - *left),
            Body::Chunked(Chunk::Data { left }) if len < *left => {
                *left -= len;
                Skip::Within
            }
            Body::Chunked(_) => Skip::Lost,
        }
    }
}

impl Chunk {
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Fault> {
        let mut step = Step {
            used: bytes.len().min(1),
            content: &[],
            done: false,
        };
        let Some(&byte) = bytes.first() else {
            return Ok(step);
        };
        *self = match *self {
            Chunk::Size { value, read } => {
                if read > MAX_CHUNK_LINE {
                    return Err("chunk line too long");
                }
                let read = read + 1;
                match (hex(byte), value) {
                    (Some(digit), _) => Chunk::Size {
                        value: Some(push_hex(value.unwrap_or(0), digit)?),
                        read,
                    },
                    (None, Some(value)) if byte == b'\r' => Chunk::SizeEnd { value },
                    (None, Some(value)) if matches!(byte, b';' | b' ' | b'\t') => {
                        Chunk::Extension { value, read }
                    }
                    _ => return Err("invalid chunk size"),
                }
            }
            Chunk::Extension { value, read } => {
                let len = memchr(b'\r', bytes).unwrap_or(bytes.len());
                let extension = bytes.get(..len).unwrap_or(bytes);
                if memchr(b'\n', extension).is_some() {
                    return Err("chunk line without CR");
                }
                if read + len > MAX_CHUNK_LINE {
                    return Err("chunk line too long");
                }
                if len < bytes.len() {
                    step.used = len + 1;
                    Chunk::SizeEnd { value }
                } else {
                    step.used = len;
                    Chunk::Extension {
                        value,
                        read: read + len,
                    }
                }
            }
            Chunk::SizeEnd { value } => match (byte, value) {
                (b'\n', 0) => Chunk::Trailers {
                    end: EmptyLine::at_line_start(),
                    read: 0,
                },
                (b'\n', left) => Chunk::Data { left },
                _ => return Err("invalid chunk size"),
            },
            Chunk::Data { left } => {
                step.content = at_most(bytes, left);
                step.used = step.content.len();
                match left - step.used as u64 {
                    0 => Chunk::DataEnd { cr: false },
                    left => Chunk::Data { left },
                }
            }
            Chunk::DataEnd { cr: false } if byte == b'\r' => Chunk::DataEnd { cr: true },
            Chunk::DataEnd { cr: true } if byte == b'\n' => Chunk::Size {
                value: None,
                read: 0,
            },
            Chunk::DataEnd { .. } => return Err("chunk longer than its size"),
            Chunk::Trailers { mut end, read } => {
                let found = end.find(bytes);
                step.used = found.unwrap_or(bytes.len());
                step.done = found.is_some();
                let read = read + step.used;
                if read > MAX_HEAD {
                    return Err("trailers too large");
                }
                Chunk::Trailers { end, read }
            }
        };
        Ok(step)
    }
}

fn at_most(bytes: &[u8], len: u64) -> &[u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    bytes.get(..len).unwrap_or(bytes)
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

fn push_hex(value: u64, digit: u64) -> Result<u64, Fault> {
    const MAX: u64 = i64::MAX as u64;
    match value.checked_mul(16).map(|value| value + digit) {
        Some(value) if value <= MAX => Ok(value),
        _ => Err("chunk size overflow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Body, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Fault> {
        let mut body = body;
        let (mut content, mut used, mut done) = (Vec::new(), 0, false);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !done {
                let step = body.step(rest)?;
                content.extend_from_slice(step.content);
                used += step.used;
                done = step.done;
                rest = rest.get(step.used..).unwrap_or_default();
            }
        }
        Ok((content, used, done))
    }

    const CHUNKED: &[u8] =
        b"5\r\nhello\r\n00a;name=\"value\"\r\n and world\r\n0\r\nA: b\r\n\r\nHTTP/1.1";

    #[test]
    fn chunks_are_joined_wherever_they_are_split() {
        let whole = CHUNKED.len() - 8;
        for split in 0..CHUNKED.len() {
            let (first, second) = CHUNKED.split_at(split);
            assert_eq!(
                read(Body::CHUNKED, &[first, second]),
                Ok((b"hello and world".to_vec(), whole, true)),
                "split at {split}"
            );
        }
    }

    #[test]
    fn what_is_no_chunk_is_named() {
        for (bytes, name) in [
            (&b"10000000000000000\r\n"[..], "chunk size overflow"),
            (b"8000000000000000\r\n", "chunk size overflow"),
            (b"-1\r\n", "invalid chunk size"),
            (b"\r\n", "invalid chunk size"),
            (b"5\nhello", "invalid chunk size"),
            (b"5;a\nhello", "chunk line without CR"),
            (b"5\r\nhello world", "chunk longer than its size"),
        ] {
            assert_eq!(read(Body::CHUNKED, &[bytes]), Err(name), "{bytes:?}");
        }
        let long = [&b"5;"[..], &vec![b'a'; MAX_CHUNK_LINE]].concat();
        assert_eq!(read(Body::CHUNKED, &[&long]), Err("chunk line too long"));
        let zeros = vec![b'0'; MAX_CHUNK_LINE + 2];
        assert_eq!(read(Body::CHUNKED, &[&zeros]), Err("chunk line too long"));
        let trailers = [&b"0\r\n"[..], &vec![b'a'; MAX_HEAD + 1]].concat();
        assert_eq!(read(Body::CHUNKED, &[&trailers]), Err("trailers too large"));
    }

    #[test]
    fn lost_bytes_are_counted_where_the_end_is_known() {
        let mut length = Body::Length(10);
        assert_eq!(length.skip(4), Skip::Within);
        assert_eq!(length.skip(8), Skip::Beyond(2));
        assert_eq!(length.skip(0), Skip::Lost);
        let mut chunk = Body::CHUNKED;
        assert_eq!(chunk.skip(1), Skip::Lost);
        for piece in ["a", "\r", "\n"] {
            chunk.step(piece.as_bytes()).unwrap();
        }
        assert_eq!(chunk.skip(9), Skip::Within);
        assert_eq!(chunk.skip(1), Skip::Lost);
        assert_eq!(Body::UntilClose.skip(0), Skip::Within);
    }

    fn response(text: &str, asked: Asked) -> Result<Body, Fault> {
        Body::of_response(&mut ResponseHead::parse(text.as_bytes()).unwrap(), asked)
    }

    #[test]
    fn some_responses_have_no_body() {
        let long = "Content-Length: 9\r\n\r\n";
        for status in [
            "100 Continue",
            "101 Switching Protocols",
            "204 No Content",
            "304 Not Modified",
        ] {
            let text = format!("HTTP/1.1 {status}\r\n{long}");
            assert_eq!(response(&text, Asked::Other), Ok(Body::EMPTY), "{status}");
        }
        let ok = format!("HTTP/1.1 200 OK\r\n{long}");
        assert_eq!(response(&ok, Asked::Head), Ok(Body::EMPTY));
        assert_eq!(response(&ok, Asked::Connect), Ok(Body::EMPTY));
        assert_eq!(response(&ok, Asked::Other), Ok(Body::Length(9)));
        let none = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(response(none, Asked::Other), Ok(Body::UntilClose));
    }

    #[test]
    fn both_lengths_are_never_guessed() {
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 50\r\n\r\n";
        let text = format!("HTTP/1.1 200 OK\r\n{both}");
        let name = Err("content-length with transfer-encoding");
        assert_eq!(response(&text, Asked::Other), name);
        let text = format!("POST / HTTP/1.1\r\n{both}");
        let mut request = RequestHead::parse(text.as_bytes()).unwrap();
        assert_eq!(Body::of_request(&mut request), name);
        let text = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut request = RequestHead::parse(text.as_bytes()).unwrap();
        let name = Err("transfer-encoding in HTTP/1.0");
        assert_eq!(Body::of_request(&mut request), name);
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n";
        let mut request = RequestHead::parse(text.as_bytes()).unwrap();
        let name = Err("transfer-encoding without chunked");
        assert_eq!(Body::of_request(&mut request), name);
    }
}
