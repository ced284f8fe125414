//! Heads of messages: the start line and the fields (RFC 9112, sections 2 to 5).

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

use memchr::{memchr, memchr_iter};

use crate::Limits;

/// Bytes of a head, or of a chunked body's trailers.
pub const MAX_HEAD: usize = Limits::HEAD;
const MAX_FIELDS: usize = 192;
const FOLDED: Fault = "folded content-length or transfer-encoding";
const LONE_LF: Fault = "line without CR";

/// Why the bytes can't be read any further: a name for the ledger.
pub type Fault = &'static str;

/// Looks for the empty line that ends a head. A lone LF ends a line too (section 2.2 allows it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmptyLine {
    line_start: bool,
    cr: bool,
}

impl EmptyLine {
    pub fn at_line_start() -> EmptyLine {
        EmptyLine {
            line_start: true,
            cr: false,
        }
    }

    /// How many of `bytes` there are up to and with the end of the empty line.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(&byte) = rest.first()
        {
            if !self.line_start {
                at += memchr(b'\n', rest)? + 1;
                self.line_start = true;
                continue;
            }
            at += 1;
            match byte {
                b'\n' => return Some(at),
                b'\r' if !self.cr => self.cr = true,
                _ => *self = EmptyLine::default(),
            }
        }
        None
    }
}

/// A head on its way in.
#[derive(Clone, Debug, Default)]
pub struct HeadBuffer {
    bytes: Vec<u8>,
    end: EmptyLine,
}

impl HeadBuffer {
    /// How many of `bytes` belong to the head, and whether it is whole with them.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let end = self.end.find(bytes);
        let used = end.unwrap_or(bytes.len());
        if self.bytes.len() + used > MAX_HEAD {
            return Err("head too large");
        }
        self.bytes
            .extend_from_slice(bytes.get(..used).unwrap_or(bytes));
        Ok((used, end.is_some()))
    }

    /// The head, where nothing of it came before and it ends in `bytes`: then it need not be filled in.
    pub fn whole<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if !self.bytes.is_empty() {
            return None;
        }
        let length = EmptyLine::default().find(bytes)?;
        bytes.get(..length).filter(|head| head.len() <= MAX_HEAD)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What requests and responses share.
#[derive(Clone, Debug)]
pub struct Head {
    /// As sent, but for folds, which are spaces here; so offsets are those of the bytes as sent.
    text: Vec<u8>,
    fields: Vec<Field>,
    /// HTTP/1.`minor`
    pub minor: u8,
    /// What is wrong with it without making it unreadable.
    pub flaw: Option<Fault>,
    /// A field that frames the body was folded: servers differ in what they read.
    framing_folded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Range<usize>,
    pub value: Range<usize>,
}

#[derive(Clone, Debug)]
pub struct RequestHead {
    pub head: Head,
    method: Range<usize>,
    pub target: Range<usize>,
}

#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub head: Head,
    pub status: u16,
}

impl Head {
    /// Values of the field, in order, without the white space around them.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(|field| {
                let known = self.text(&field.name);
                known.eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|field| self.text(&field.value).trim_ascii_end())
    }

    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    pub fn text_value(&self, name: &str) -> Option<String> {
        self.value(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Does a list field have the token? Case does not count.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.items(name)
            .any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Of a list field.
    fn items(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
    }

    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| {
            (
                self.text(&field.name),
                self.text(&field.value).trim_ascii_end(),
            )
        })
    }

    pub fn places(&self) -> &[Field] {
        &self.fields
    }

    pub fn text(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// All of it as sent, where nothing had to be put right to read it.
    pub fn unchanged(&self) -> Option<&[u8]> {
        self.flaw.is_none().then_some(&self.text)
    }

    /// Bytes in memory.
    pub fn held(&self) -> usize {
        self.text.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// Is the flaw one that a reader need not put up with? A lone LF may be read as the end of a line
    /// (section 2.2).
    pub fn is_violation(&self) -> bool {
        self.flaw.is_some_and(|flaw| flaw != LONE_LF)
    }

    /// Do all lines end in CR LF, from the first byte on?
    fn is_plain(&self) -> bool {
        let begins_a_line = |field: &Field| {
            let before = self.text.get(..field.name.start);
            before.is_some_and(|before| before.ends_with(b"\r\n"))
        };
        self.text.first().is_some_and(u8::is_ascii_graphic)
            && self.text.ends_with(b"\r\n\r\n")
            && self.fields.iter().all(begins_a_line)
    }

    /// May the connection carry another message after this one?
    pub fn keeps_alive(&self) -> bool {
        match self.minor {
            0 => self.has_token("connection", "keep-alive"),
            _ => !self.has_token("connection", "close"),
        }
    }

    /// Of the body, where one `Content-Length` or several equal ones tell it (section 6.3, 5).
    pub fn content_length(&mut self) -> Result<Option<u64>, Fault> {
        if self.framing_folded {
            return Err(FOLDED);
        }
        let mut length = None;
        let mut flaw = None;
        let items = self.items("content-length");
        for digits in items {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err("invalid content-length");
            }
            let value = decimal(digits).ok_or("content-length overflow")?;
            if digits.len() > 1 && digits.starts_with(b"0") {
                flaw = Some("content-length with leading zeros");
            }
            match length {
                None => length = Some(value),
                Some(other) if other != value => return Err("differing content-lengths"),
                Some(_) => flaw = Some("repeated content-length"),
            }
        }
        self.flaw = flaw.or(self.flaw);
        Ok(length)
    }

    /// What `Transfer-Encoding` says; `None` without one.
    pub fn transfer(&self) -> Result<Option<Transfer>, Fault> {
        if self.framing_folded {
            return Err(FOLDED);
        }
        let codings: Vec<&[u8]> = self.items("transfer-encoding").collect();
        let Some((last, before)) = codings.split_last() else {
            return Ok(None);
        };
        if before.iter().any(|coding| is_chunked(coding)) {
            return Err("chunked is not the last transfer coding");
        }
        Ok(Some(if is_chunked(last) {
            Transfer::Chunked
        } else {
            Transfer::Other
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    Chunked,
    Other,
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// Up to what every server can hold: a signed 64-bit number.
fn decimal(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_i64, |sum, digit| {
            sum.checked_mul(10)?
                .checked_add(i64::from(digit.wrapping_sub(b'0')))
        })
        .and_then(|value| u64::try_from(value).ok())
}

impl RequestHead {
    pub fn parse(bytes: &[u8]) -> Result<RequestHead, Fault> {
        match RequestHead::of(Lines::plain(bytes)) {
            Ok(head) if head.head.is_plain() => Ok(head),
            _ => RequestHead::of(Lines::read(bytes)),
        }
    }

    fn of(lines: Lines) -> Result<RequestHead, Fault> {
        if lines.space_before_colon {
            return Err("white space before a colon");
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(&lines.text, &mut fields) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err("invalid head"),
            Err(error) => return Err(fault(error)),
        }
        let target = request.path.unwrap_or_default();
        let target = place(&lines.text, target.as_bytes());
        let method = request.method.unwrap_or_default();
        let method = place(&lines.text, method.as_bytes());
        let minor = request.version.unwrap_or_default();
        let fields = places(&lines.text, request.headers);
        Ok(RequestHead {
            head: lines.head(fields, minor),
            method,
            target,
        })
    }

    pub fn method(&self) -> &str {
        str::from_utf8(self.head.text(&self.method)).unwrap_or_default()
    }

    pub fn target(&self) -> &[u8] {
        self.head.text(&self.target)
    }
}

impl ResponseHead {
    pub fn parse(bytes: &[u8]) -> Result<ResponseHead, Fault> {
        match ResponseHead::of(Lines::plain(bytes)) {
            Ok(head) if head.head.is_plain() => Ok(head),
            _ => ResponseHead::of(Lines::read(bytes)),
        }
    }

    fn of(mut lines: Lines) -> Result<ResponseHead, Fault> {
        if lines.space_before_colon {
            lines.flaw = Some("white space before a colon");
        }
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let mut config = httparse::ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(lines.space_before_colon);
        match config.parse_response_with_uninit_headers(&mut response, &lines.text, &mut fields) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err("invalid head"),
            Err(error) => return Err(fault(error)),
        }
        let status = response.code.unwrap_or_default();
        if status < 100 {
            return Err("invalid status");
        }
        let minor = response.version.unwrap_or_default();
        let fields = places(&lines.text, response.headers);
        Ok(ResponseHead {
            head: lines.head(fields, minor),
            status,
        })
    }
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Version => "invalid version",
        httparse::Error::Token => "invalid start line",
        httparse::Error::Status => "invalid status",
        _ => "invalid field",
    }
}

/// What must be known of a head's lines before it is parsed.
struct Lines {
    text: Vec<u8>,
    /// The first one as sent, where that is not UTF-8 and has slashes for what is not ASCII in `text`: bytes of a
    /// target may be any (`/caf\xe9`), and the parser takes text only.
    start: Vec<u8>,
    flaw: Option<Fault>,
    /// Where folded lines begin.
    folds: Vec<usize>,
    space_before_colon: bool,
}

impl Lines {
    /// Of a head that has nothing to look for, as nearly all are: with folds, or white space before a
    /// colon, it can't be parsed; the ends of its lines are looked at where they are known.
    fn plain(bytes: &[u8]) -> Lines {
        Lines {
            text: bytes.to_vec(),
            start: Vec::new(),
            flaw: None,
            folds: Vec::new(),
            space_before_colon: false,
        }
    }

    fn read(bytes: &[u8]) -> Lines {
        let mut lines = Lines {
            text: bytes.to_vec(),
            start: Vec::new(),
            flaw: None,
            folds: Vec::new(),
            space_before_colon: false,
        };
        let mut start = 0;
        let ends = memchr_iter(b'\n', bytes).map(|at| at + 1);
        for (number, end) in ends.chain([bytes.len()]).enumerate() {
            let line = bytes.get(start..end).unwrap_or_default();
            if line.is_empty() {
                break;
            }
            if !line.ends_with(b"\r\n") {
                lines.flaw = lines.flaw.or(Some(LONE_LF));
            }
            if number == 0 && str::from_utf8(line).is_err() {
                lines.start = line.to_vec();
                let text = lines.text.iter_mut().take(end);
                text.filter(|byte| !byte.is_ascii())
                    .for_each(|byte| *byte = b'/');
            }
            let continues = line.starts_with(b" ") || line.starts_with(b"\t");
            if number > 0 && continues {
                lines.unfold(start);
            } else if number > 0
                && let Some(colon) = memchr(b':', line)
                && matches!(line.get(colon.wrapping_sub(1)), Some(b' ' | b'\t'))
            {
                lines.space_before_colon = true;
            }
            start += line.len();
        }
        lines
    }

    /// Section 5.2: a fold is read as spaces.
    fn unfold(&mut self, line_start: usize) {
        self.flaw = Some("obsolete line folding");
        self.folds.push(line_start);
        for byte in self.text.iter_mut().take(line_start).rev().take(2) {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    fn head(mut self, fields: Vec<Field>, minor: u8) -> Head {
        if let Some(start) = self.text.get_mut(..self.start.len()) {
            start.copy_from_slice(&self.start);
        }
        let framing_folded = self.folds.iter().any(|fold| {
            let folded = fields.iter().rfind(|field| field.name.start < *fold);
            let name = folded.and_then(|field| self.text.get(field.name.clone()));
            name.is_some_and(|name| {
                name.eq_ignore_ascii_case(b"content-length")
                    || name.eq_ignore_ascii_case(b"transfer-encoding")
            })
        });
        Head {
            text: self.text,
            fields,
            minor,
            flaw: self.flaw,
            framing_folded,
        }
    }
}

fn places(text: &[u8], headers: &[httparse::Header<'_>]) -> Vec<Field> {
    headers
        .iter()
        .map(|header| Field {
            name: place(text, header.name.as_bytes()),
            value: place(text, header.value),
        })
        .collect()
}

/// What is no UTF-8 is told byte by byte, so that what differs reads so.
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.escape_ascii().to_string().into(),
    }
}

/// Where in `text` a slice of it stands.
fn place(text: &[u8], slice: &[u8]) -> Range<usize> {
    let start = slice.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + slice.len()
}

#[cfg(test)]
mod tests;
