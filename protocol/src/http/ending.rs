//! What a session's requests end in, from the version on, and how it is sent. Most clients end each of
//! their requests alike: then only the method and the target are to be looked at.

use memchr::memchr;

use super::body::Asked;
use super::head::RequestHead;
use super::wishes::{self, Options};

const VERSION: &[u8] = b" HTTP/1.1";

/// A head that was written to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub asked: Asked,
    pub keeps_alive: bool,
    /// It says `Expect: 100-continue`.
    pub expects: bool,
    /// A body is to follow it.
    pub announces: bool,
    /// Bytes of it as recorded.
    pub len: usize,
}

#[derive(Debug, Default)]
pub struct Ending {
    recorded: Vec<u8>,
    sent: Vec<u8>,
    keeps_alive: bool,
    announces: bool,
}

impl Ending {
    /// Writes the head of a request that ends as the one before did. None of its credentials were
    /// blanked.
    pub fn write(&self, request: &[u8], out: &mut Vec<u8>) -> Option<Sent> {
        let at = memchr(b'\r', request)?.checked_sub(VERSION.len())?;
        let (begin, rest) = request.split_at_checked(at)?;
        if self.recorded.is_empty() || !rest.starts_with(&self.recorded) {
            return None;
        }
        let (method, target) = begin.split_at_checked(memchr(b' ', begin)?)?;
        let plain = target.starts_with(b" /")
            && target.iter().skip(1).all(u8::is_ascii_graphic)
            && !method.is_empty()
            && method.iter().all(u8::is_ascii_uppercase);
        let asked = Asked::of(method);
        if !plain || asked == Asked::Connect {
            return None;
        }
        out.extend_from_slice(begin);
        out.extend_from_slice(&self.sent);
        Some(Sent {
            asked,
            keeps_alive: self.keeps_alive,
            expects: false,
            announces: self.announces,
            len: at + self.recorded.len(),
        })
    }

    /// Remembers the end of a head that was `written` and `sent`, where that will be the same for each
    /// request that ends so.
    pub fn remember(&mut self, head: &RequestHead, written: &[u8], sent: &Sent, options: &Options) {
        let rewrites = wishes::values(options, "rewrite-url").next().is_some();
        let lasts = !rewrites
            && !sent.expects
            && head.target().starts_with(b"/")
            && head.head.value("cookie").is_none();
        let at = head.target.end;
        let recorded = head.head.unchanged().filter(|_| lasts);
        let recorded = recorded.and_then(|recorded| recorded.get(at..));
        if let (Some(recorded), Some(written)) = (recorded, written.get(at..)) {
            self.recorded.clear();
            self.recorded.extend_from_slice(recorded);
            self.sent.clear();
            self.sent.extend_from_slice(written);
            self.keeps_alive = sent.keeps_alive;
            self.announces = sent.announces;
        }
    }
}
