//! Looks for the next message after bytes were lost.

use memchr::memchr;
use recording::Timestamp;

use crate::{Probe, Side};

/// A request line is not sought any further than this.
const MAX_LINE: usize = 16 << 10;

/// Only the beginning of what came at once is trusted: a body may hold anything.
#[derive(Clone, Debug, Default)]
pub struct Seek {
    held: Vec<u8>,
    /// When the first of them came.
    since: Timestamp,
}

impl Seek {
    /// Once the beginning of a message is certain: those of its bytes that came before `bytes`, and when.
    pub fn take(
        &mut self,
        from: Side,
        bytes: &[u8],
        at: Timestamp,
    ) -> Option<(Vec<u8>, Timestamp)> {
        let mut candidate = std::mem::take(&mut self.held);
        let mut before = candidate.len();
        candidate.extend_from_slice(bytes);
        let mut found = begins(from, &candidate);
        if found == Probe::No && before > 0 {
            candidate.drain(..before);
            before = 0;
            found = begins(from, &candidate);
        }
        if before == 0 {
            self.since = at;
        }
        match found {
            Probe::Yes => {
                candidate.truncate(before);
                return Some((candidate, self.since));
            }
            Probe::More => self.held = candidate,
            Probe::No => {}
        }
        None
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }
}

fn begins(from: Side, bytes: &[u8]) -> Probe {
    match from {
        Side::Client => certain(bytes),
        Side::Server => status_line(bytes),
    }
}

/// `HTTP/1.1 200` and what may follow.
fn status_line(bytes: &[u8]) -> Probe {
    for (at, byte) in bytes.iter().take(13).enumerate() {
        let fits = match at {
            0..7 => b"HTTP/1.".get(at) == Some(byte),
            7 | 9..12 => byte.is_ascii_digit(),
            8 => *byte == b' ',
            _ => matches!(byte, b' ' | b'\r' | b'\n'),
        };
        if !fits {
            return Probe::No;
        }
    }
    if bytes.len() < 13 {
        Probe::More
    } else {
        Probe::Yes
    }
}

/// Of the registry of HTTP, and what caches are told with. Another word may be the end of one, or of a body
/// with one behind it.
const METHODS: [&[u8]; 41] = [
    b"ACL",
    b"BAN",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"OPTIONS",
    b"ORDERPATCH",
    b"PATCH",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"PUT",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"TRACE",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
];

/// A whole line, of any method: `GET / HTTP/1.1`
pub fn probe(bytes: &[u8]) -> Probe {
    let word = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    request_line(bytes, |method, _| {
        method.len() <= 24 && method.iter().all(word)
    })
}

/// A whole line of a known method: certain where anything may have come before.
pub fn certain(bytes: &[u8]) -> Probe {
    request_line(bytes, |method, whole| {
        METHODS.iter().any(|known| match whole {
            true => *known == method,
            false => known.starts_with(method),
        })
    })
}

/// `fits` is given the method, and whether it is whole.
fn request_line(bytes: &[u8], fits: impl Fn(&[u8], bool) -> bool) -> Probe {
    let end = memchr(b'\n', bytes);
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    if !fits(method, method.len() < line.len()) || line.len() > MAX_LINE {
        return Probe::No;
    }
    if end.is_none() {
        return Probe::More;
    }
    let target = words.next().unwrap_or_default();
    let version = words.next().unwrap_or_default().trim_ascii_end();
    let fits = !method.is_empty()
        && !target.is_empty()
        && (version == b"HTTP/1.1" || version == b"HTTP/1.0")
        && words.next().is_none();
    if fits { Probe::Yes } else { Probe::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(from: Side, pieces: &[&str]) -> Option<String> {
        let mut seek = Seek::default();
        let mut pieces = pieces.iter();
        pieces.find_map(|piece| {
            let (held, _) = seek.take(from, piece.as_bytes(), Timestamp(0))?;
            Some(String::from_utf8(held).unwrap() + piece)
        })
    }

    #[test]
    fn a_message_at_the_beginning_is_found() {
        let status = "HTTP/1.1 200 OK\r\n";
        assert_eq!(
            taken(Side::Server, &["...", status]).as_deref(),
            Some(status)
        );
        assert_eq!(
            taken(Side::Server, &["HTTP/1.1", " 200\r\n"]).as_deref(),
            Some("HTTP/1.1 200\r\n")
        );
        assert_eq!(
            taken(Side::Server, &["HT", status]).as_deref(),
            Some(status)
        );
        let line = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(taken(Side::Client, &["a=b", line]).as_deref(), Some(line));
        assert_eq!(
            taken(Side::Client, &["GET / HT", "TP/1.1\n"]).as_deref(),
            Some("GET / HTTP/1.1\n")
        );
    }

    #[test]
    fn what_was_held_is_no_part_of_another_request() {
        let line = "GET /b HTTP/1.1\r\n";
        assert_eq!(taken(Side::Client, &["ON", line]).as_deref(), Some(line));
        assert_eq!(taken(Side::Client, &["P", line]).as_deref(), Some(line));
        assert_eq!(
            taken(Side::Client, &["PO", "ST / HTTP/1.1\r\n"]).as_deref(),
            Some("POST / HTTP/1.1\r\n")
        );
    }

    #[test]
    fn what_is_not_certain_is_passed_over() {
        for text in [
            "HTTP/1.1 2x0 OK\r\n",
            "HTTP/2 200\r\n\r\nabc",
            "a HTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(taken(Side::Server, &[text]), None, "{text}");
        }
        for text in [
            "GET /\r\n",
            "ET / HTTP/1.1\r\n",
            "get / HTTP/1.1\r\n",
            "A B C HTTP/1.1\r\n",
            " / HTTP/1.1\r\n",
        ] {
            assert_eq!(taken(Side::Client, &[text]), None, "{text}");
        }
        assert_eq!(
            taken(
                Side::Client,
                &["GET ", &"a".repeat(MAX_LINE), " HTTP/1.1\r\n"]
            ),
            None
        );
    }
}
