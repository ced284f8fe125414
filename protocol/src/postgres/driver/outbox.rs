use std::collections::VecDeque;

use crate::DriverError;
use crate::postgres::messages::{Encode, Messages};

/// Requests under way, the oldest first, with what of them must not be sent yet.
///
/// What a client copies in may only follow the server's CopyInResponse, and nothing may overtake
/// it. Each request is answered with exactly one ReadyForQuery: in copy mode the server passes over
/// the Sync that the client had sent already, and obeys the one that follows the data.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Outgoing>);

#[derive(Debug)]
struct Outgoing {
    /// Empty once sent.
    head: Vec<u8>,
    /// From the first message that only copy mode allows. Empty once sent.
    copy: Vec<u8>,
    /// The head does not end in a message that asks for an answer by itself.
    extended: bool,
    /// The head ends in a message that ReadyForQuery answers.
    asks: bool,
    executes: u32,
    copying: bool,
}

impl Outbox {
    /// Appends to `out` what of the request may be sent at once.
    pub(super) fn push(&mut self, request: &[u8], out: &mut Vec<u8>) -> Result<(), DriverError> {
        self.0.push_back(Outgoing::new(request)?);
        self.flush(out);
        Ok(())
    }

    /// Could the request be pushed?
    pub(super) fn check(request: &[u8]) -> Result<(), DriverError> {
        Outgoing::new(request).map(drop)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The server asks the oldest request for data.
    pub(super) fn copy_in(&mut self, out: &mut Vec<u8>) {
        let Some(oldest) = self.0.front_mut() else {
            return;
        };
        if oldest.copy.is_empty() && !oldest.copying {
            copy_fail("the recorded client copied nothing here", out);
            if oldest.extended {
                out.message(b'S', |_| {});
            }
        }
        oldest.copying = true;
        out.append(&mut oldest.copy);
        self.flush(out);
    }

    /// The server has completed `completions` statements of the oldest request, or failed.
    pub(super) fn completed(&mut self, completions: u32, failed: bool, out: &mut Vec<u8>) {
        let Some(oldest) = self.0.front_mut() else {
            return;
        };
        let waits = !oldest.asks && !oldest.copying;
        if waits && (failed || completions >= oldest.executes) {
            out.message(b'S', |_| {});
            oldest.asks = true;
            oldest.copy.clear();
            self.flush(out);
        }
    }

    /// The oldest request is answered. What the server never asked for is dropped.
    pub(super) fn pop(&mut self, out: &mut Vec<u8>) {
        self.0.pop_front();
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        for outgoing in &mut self.0 {
            out.append(&mut outgoing.head);
            if !outgoing.copy.is_empty() {
                break;
            }
        }
    }
}

impl Outgoing {
    fn new(request: &[u8]) -> Result<Outgoing, DriverError> {
        let mut messages = Messages::new(request);
        let mut head_len = 0;
        let mut asked = 0;
        let mut executes = 0;
        let mut head = None;
        let mut last = None;
        let mut copies = false;
        for (tag, message) in &mut messages {
            copies |= matches!(tag, b'd' | b'c' | b'f');
            if !copies {
                head_len += message.len();
                asked += u32::from(matches!(tag, b'Q' | b'S' | b'F'));
                executes += u32::from(tag == b'E');
                head = Some(tag);
            }
            last = Some(tag);
        }
        if !messages.rest().is_empty() {
            return Err(DriverError::Unsupported("damaged request"));
        }
        let extended = !matches!(head, Some(b'Q' | b'F'));
        let ends = match last {
            Some(b'Q' | b'S' | b'F') => true,
            Some(b'c' | b'f') => !extended,
            _ => false,
        };
        // Without an end, what was executed would be rolled back. What was only prepared may have one.
        let only_prepares = last.is_some() && asked == 0 && executes == 0 && !copies;
        // The server broke the COPY off, and its client need not end it.
        let broken_off = last == Some(b'd') && !extended;
        if !ends && !only_prepares && !broken_off {
            return Err(DriverError::Unsupported("request without an end"));
        }
        if asked > 1 {
            return Err(DriverError::Unsupported("several requests in one"));
        }
        let (head, copy) = request.split_at_checked(head_len).unwrap_or_default();
        let (mut head, mut copy) = (head.to_vec(), copy.to_vec());
        if broken_off {
            copy_fail("the recorded client did not end its copy", &mut copy);
        }
        if only_prepares {
            head.message(b'S', |_| {});
        }
        Ok(Outgoing {
            head,
            copy,
            extended,
            asks: asked == 1 || only_prepares,
            executes,
            copying: false,
        })
    }
}

fn copy_fail(why: &str, out: &mut Vec<u8>) {
    out.message(b'f', |body| body.string(why.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages without a body, by their tags.
    fn messages(tags: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for tag in tags.bytes() {
            bytes.message(tag, |_| {});
        }
        bytes
    }

    fn tags(out: &mut Vec<u8>) -> String {
        let tags = Messages::new(out).map(|(tag, _)| char::from(tag)).collect();
        out.clear();
        tags
    }

    #[test]
    fn data_waits_and_nothing_overtakes_it() {
        let (mut outbox, mut out) = (Outbox::default(), Vec::new());
        outbox.push(&messages("Q"), &mut out).unwrap();
        outbox.push(&messages("PBESddcS"), &mut out).unwrap();
        outbox.push(&messages("Q"), &mut out).unwrap();
        assert_eq!(tags(&mut out), "QPBES");
        outbox.pop(&mut out);
        assert_eq!(tags(&mut out), "");
        outbox.copy_in(&mut out);
        assert_eq!(tags(&mut out), "ddcSQ");
        outbox.pop(&mut out);
        outbox.pop(&mut out);
        assert_eq!(tags(&mut out), "");
        assert!(outbox.is_empty());
    }

    /// As asyncpg copies: it has prepared something before, and only flushed.
    #[test]
    fn data_of_a_simple_query_needs_no_sync_whatever_stands_before() {
        for request in ["PDHQddc", "HQddc"] {
            let (mut outbox, mut out) = (Outbox::default(), Vec::new());
            outbox.push(&messages(request), &mut out).unwrap();
            let head = request.strip_suffix("ddc").unwrap();
            assert_eq!(tags(&mut out), head);
            outbox.copy_in(&mut out);
            assert_eq!(tags(&mut out), "ddc");
        }
    }

    /// A server that does not is not left waiting for more.
    #[test]
    fn a_copy_that_the_recorded_server_broke_off_ends_in_a_failure() {
        let (mut outbox, mut out) = (Outbox::default(), Vec::new());
        outbox.push(&messages("Qdd"), &mut out).unwrap();
        assert_eq!(tags(&mut out), "Q");
        outbox.copy_in(&mut out);
        assert_eq!(tags(&mut out), "ddf");
    }

    #[test]
    fn data_not_asked_for_is_dropped() {
        for request in ["Qdc", "Qddf", "PBESdcS"] {
            let (mut outbox, mut out) = (Outbox::default(), Vec::new());
            outbox.push(&messages(request), &mut out).unwrap();
            outbox.push(&messages("Q"), &mut out).unwrap();
            tags(&mut out);
            outbox.completed(1, true, &mut out);
            assert_eq!(tags(&mut out), "");
            outbox.pop(&mut out);
            assert_eq!(tags(&mut out), "Q", "{request}");
        }
    }

    #[test]
    fn a_sync_held_back_is_still_sent() {
        for (completions, failed) in [(1, true), (2, false)] {
            let (mut outbox, mut out) = (Outbox::default(), Vec::new());
            outbox.push(&messages("PBEBEHdcS"), &mut out).unwrap();
            assert_eq!(tags(&mut out), "PBEBEH");
            outbox.completed(1, false, &mut out);
            assert_eq!(tags(&mut out), "");
            outbox.completed(completions, failed, &mut out);
            assert_eq!(tags(&mut out), "S");
        }
    }

    /// As asyncpg leaves: it has prepared something, and only flushed.
    #[test]
    fn what_was_only_prepared_is_given_an_end() {
        let (mut outbox, mut out) = (Outbox::default(), Vec::new());
        outbox.push(&messages("PDH"), &mut out).unwrap();
        assert_eq!(tags(&mut out), "PDHS");
        outbox.completed(0, true, &mut out);
        assert_eq!(tags(&mut out), "");
    }

    #[test]
    fn a_server_that_asks_for_data_that_is_not_there_is_told() {
        for (request, answer) in [("Q", "f"), ("PBES", "fS")] {
            let (mut outbox, mut out) = (Outbox::default(), Vec::new());
            outbox.push(&messages(request), &mut out).unwrap();
            tags(&mut out);
            outbox.copy_in(&mut out);
            assert_eq!(tags(&mut out), answer);
        }
    }

    #[test]
    fn requests_that_would_never_be_answered_are_refused() {
        let mut outbox = Outbox::default();
        for (bytes, reason) in [
            (messages("PBEH"), "request without an end"),
            (messages("PBESd"), "request without an end"),
            (messages(""), "request without an end"),
            (messages("QQ"), "several requests in one"),
            (b"Q\0\0\0\x09".to_vec(), "damaged request"),
        ] {
            let mut out = Vec::new();
            assert_eq!(
                outbox.push(&bytes, &mut out),
                Err(DriverError::Unsupported(reason))
            );
            assert!(out.is_empty() && outbox.is_empty());
        }
    }
}
