use std::fmt::{self, Write};
use std::mem;
use std::sync::Arc;

use ahash::HashMap;
use recording::{Response, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::messages::backend::{Message, affected};
use super::messages::{Columns, Frame};
use super::secrets;
use crate::reader::ReadError;

const HEAD_LEN: usize = 5;
/// Messages that may be longer than what a framer puts together.
const LONG: &[u8] = b"ADENTVdt";
/// Room that a small response does not have to grow for.
const USUAL_LEN: usize = 192;
/// Result shapes that a session is expected to alternate between.
const MAX_SHAPES: usize = 64;

/// Collects what a server sends for one request, up to and including its ReadyForQuery, into a
/// [`Response`].
///
/// `rows` counts DataRows. What COPY TO STDOUT sends is in the digests too, message by message, but
/// counted only by the server, in `affected`.
#[derive(Debug)]
pub(crate) struct Assembler {
    response: Response,
    body_cap: usize,
    /// The next message is the first that counts in time.
    restarted: bool,
    completions: u32,
    /// Described, but not executed yet.
    columns: Option<Arc<str>>,
    /// Of the row that comes in parts.
    hasher: Option<Box<RowHasher>>,
}

/// Texts for RowDescriptions seen before, since a session asks for the same again and again.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    by_hash: HashMap<u64, Arc<str>>,
    held: usize,
}

struct RowHasher(Xxh3);

impl fmt::Debug for RowHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowHasher")
    }
}

impl Assembler {
    pub(crate) fn new(body_cap: usize) -> Assembler {
        Assembler {
            response: Response::default(),
            body_cap,
            restarted: true,
            completions: 0,
            columns: None,
            hasher: None,
        }
    }

    /// Takes the next message, of which the first byte came at `began` and the last at `at`.
    /// `message` is what it says, where it is whole.
    pub(crate) fn take(
        &mut self,
        frame: &Frame<'_>,
        message: Option<&Message<'_>>,
        began: Timestamp,
        at: Timestamp,
        shapes: &mut Shapes,
    ) -> Result<(), ReadError> {
        if mem::take(&mut self.restarted) {
            self.response.first_byte_at = began;
        }
        self.response.last_byte_at = at;
        let bytes = match *frame {
            Frame::Whole { bytes, .. } => bytes,
            Frame::Part {
                tag,
                bytes,
                first,
                last,
            } => return self.part(tag, bytes, first, last),
            Frame::Damaged { tag, len } => {
                self.response.wire_len += len;
                self.lost();
                match tag {
                    b'D' => self.response.rows += 1,
                    b'C' => self.complete(),
                    b'E' => self.fail(b""),
                    _ => {}
                }
                return Ok(());
            }
        };
        self.keep(frame.tag(), bytes);
        let Some(message) = message else {
            return Ok(());
        };
        match message {
            Message::DataRow(_) | Message::CopyData { .. } => {
                let payload = bytes.get(HEAD_LEN..).unwrap_or_default();
                self.row(frame.tag(), xxh3_64_with_seed(payload, self.seed()));
            }
            Message::RowDescription(columns) => self.columns = Some(shapes.text(*columns, bytes)),
            Message::CommandComplete { tag } => {
                self.response.affected += affected(tag);
                self.complete();
            }
            Message::EmptyQueryResponse | Message::PortalSuspended => self.complete(),
            Message::Error(fields) => self.fail(fields.get(b'C').unwrap_or_default()),
            Message::ReadyForQuery(transaction) => self.response.transaction = *transaction,
            _ => {}
        }
        Ok(())
    }

    /// The response's time begins with the next message.
    pub(crate) fn restart(&mut self) {
        self.restarted = true;
    }

    /// Bytes of the response were lost: what is kept ends here.
    pub(crate) fn lost(&mut self) {
        self.hasher = None;
        self.body_cap = self.response.body.len();
    }

    /// The columns of what is executed next, where the server does not describe them again.
    pub(crate) fn set_columns(&mut self, columns: Arc<str>) {
        self.columns = Some(columns);
    }

    /// The columns that were described last and belong to nothing executed yet.
    pub(crate) fn columns(&self) -> Option<&Arc<str>> {
        self.columns.as_ref()
    }

    /// Statements that the server has answered.
    pub(crate) fn completions(&self) -> u32 {
        self.completions
    }

    pub(crate) fn has_error(&self) -> bool {
        self.response.error_code.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.response.wire_len == 0
    }

    pub(crate) fn held(&self) -> usize {
        self.response.body.capacity()
    }

    /// What was collected; nothing of it is left.
    pub(crate) fn finish(&mut self) -> Response {
        self.describe();
        self.restarted = true;
        mem::take(&mut self.response)
    }

    fn fail(&mut self, code: &[u8]) {
        if self.response.error_code.is_none() {
            self.response.error_code = Some(String::from_utf8_lossy(code).into());
        }
        self.complete();
    }

    fn complete(&mut self) {
        self.completions += 1;
        self.describe();
    }

    fn describe(&mut self) {
        let Some(columns) = self.columns.take() else {
            return;
        };
        self.response.columns = Some(match self.response.columns.take() {
            None => columns,
            // A function that loops over queries may not fill the memory.
            Some(before) if before.len() > self.body_cap => before,
            Some(before) => format!("{before};{columns}").into(),
        });
    }

    /// A row may not move from one statement's result to the next unseen.
    fn seed(&self) -> u64 {
        self.completions.into()
    }

    fn row(&mut self, tag: u8, hash: u64) {
        let response = &mut self.response;
        response.rows += u64::from(tag == b'D');
        response.rows_digest = mix(response.rows_digest.rotate_left(23) ^ hash);
        response.rows_digest_unordered = response.rows_digest_unordered.wrapping_add(mix(hash));
    }

    fn part(&mut self, tag: u8, bytes: &[u8], first: bool, last: bool) -> Result<(), ReadError> {
        if !LONG.contains(&tag) {
            return Err(ReadError::Value {
                what: "length of a short message",
                value: tag.into(),
                offset: 0,
            });
        }
        self.keep(tag, bytes);
        if matches!(tag, b'D' | b'd') {
            self.row_part(tag, bytes, first, last);
        }
        Ok(())
    }

    fn row_part(&mut self, tag: u8, bytes: &[u8], first: bool, last: bool) {
        let seed = self.seed();
        let payload = bytes.get(if first { HEAD_LEN } else { 0 }..);
        let hasher = self
            .hasher
            .get_or_insert_with(|| Box::new(RowHasher(Xxh3::with_seed(seed))));
        hasher.0.update(payload.unwrap_or_default());
        if last {
            let hash = hasher.0.digest();
            self.hasher = None;
            self.row(tag, hash);
        }
    }

    fn keep(&mut self, tag: u8, bytes: &[u8]) {
        self.response.wire_len += bytes.len() as u64;
        let body = &mut self.response.body;
        let start = body.len();
        let room = self.body_cap.saturating_sub(start);
        if body.capacity() == 0 {
            body.reserve(USUAL_LEN.max(bytes.len()).min(room));
        }
        body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let kept = body.get_mut(start..).unwrap_or_default();
        match tag {
            // The salt or challenge, or the key that allows to cancel.
            b'R' | b'K' => kept
                .iter_mut()
                .skip(HEAD_LEN + 4)
                .for_each(|byte| *byte = 0),
            b'E' | b'N' => {
                secrets::blank(kept);
            }
            _ => {}
        }
    }
}

impl Shapes {
    /// `name:type:format` of each column, with commas between; `,`, `:`, `;` and `%` in a name are
    /// percent-escaped. Results of several statements have semicolons between.
    fn text(&mut self, columns: Columns<'_>, message: &[u8]) -> Arc<str> {
        let hash = xxh3_64(message);
        if let Some(text) = self.by_hash.get(&hash) {
            return text.clone();
        }
        let mut text = String::new();
        for column in columns.iter() {
            if !text.is_empty() {
                text.push(',');
            }
            for letter in String::from_utf8_lossy(column.name).chars() {
                match letter {
                    ',' | ':' | ';' | '%' => text.extend(['%', hex(letter, 4), hex(letter, 0)]),
                    _ => text.push(letter),
                }
            }
            // Writing to a string does not fail.
            let _ = write!(text, ":{}:{}", column.type_oid, column.format);
        }
        if self.by_hash.len() >= MAX_SHAPES {
            self.by_hash.clear();
            self.held = 0;
        }
        let text: Arc<str> = text.into();
        self.held += text.len();
        self.by_hash.insert(hash, text.clone());
        text
    }

    pub(crate) fn held(&self) -> usize {
        self.held + self.by_hash.capacity() * 32
    }
}

fn hex(letter: char, shift: u32) -> char {
    char::from_digit((letter as u32 >> shift) & 15, 16)
        .map_or('0', |digit| digit.to_ascii_uppercase())
}

/// The finaliser of splitmix64: every bit of the input changes half of the output.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
