//! <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS>

use std::fmt;

/// What the server refuses to read is not believed either.
const MAX_LEN: u32 = 0x3fff_ffff;
const MAX_STARTUP_LEN: u32 = 10_000;
/// A head, and a little more.
const MIN_CAP: usize = 64;
/// The first part of a long message has so many bytes, or the cap if that is less: names that stand
/// at its beginning are in it.
const FIRST_PART: usize = 4 << 10;
/// A carry buffer that grew beyond this is given back after use.
const KEEP_CAPACITY: usize = 16 << 10;

/// A message, cut out of one side's bytes. Start-up packets, which have no tag, have tag 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// With its head.
    Whole { tag: u8, bytes: &'a [u8] },
    /// Of a message longer than the cap, which is passed on as it comes.
    Part {
        tag: u8,
        bytes: &'a [u8],
        first: bool,
        last: bool,
    },
    /// The end of a message of which bytes were lost. `len` is its whole length.
    Damaged { tag: u8, len: u64 },
}

impl Frame<'_> {
    pub(crate) fn tag(&self) -> u8 {
        match self {
            Frame::Whole { tag, .. } | Frame::Part { tag, .. } | Frame::Damaged { tag, .. } => *tag,
        }
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Frame::Whole { bytes, .. } | Frame::Part { bytes, .. } => bytes.len() as u64,
            Frame::Damaged { len, .. } => *len,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message {tag:?} of length {len} at byte {offset} of the stream", tag = char::from(*.tag))]
pub(crate) struct FrameError {
    pub(crate) tag: u8,
    pub(crate) len: i32,
    pub(crate) offset: u64,
}

/// Cuts one side's bytes into messages. Copies only a message that comes in pieces, and holds at
/// most `cap` bytes of it.
pub(crate) struct Framer {
    cap: usize,
    tagged: bool,
    carry: Vec<u8>,
    /// `carry` was handed out and is to be emptied.
    delivered: bool,
    mode: Mode,
    /// Bytes taken so far.
    offset: u64,
}

#[derive(Debug)]
enum Mode {
    Whole,
    Parts { tag: u8, left: u64 },
    Skipping { tag: u8, len: u64, left: u64 },
}

struct Head {
    tag: u8,
    /// With the head itself.
    len: usize,
}

impl Framer {
    pub(crate) fn new(cap: usize) -> Framer {
        Framer {
            cap: cap.max(MIN_CAP),
            tagged: true,
            carry: Vec::new(),
            delivered: false,
            mode: Mode::Whole,
            offset: 0,
        }
    }

    /// Whether messages begin with a tag: all but a client's start-up packets.
    pub(crate) fn set_tagged(&mut self, tagged: bool) {
        self.tagged = tagged;
    }

    /// Gives `take` each message of `input`. By reference, for a copy of what was just written piece by
    /// piece has to wait until it has reached the cache.
    #[inline]
    pub(crate) fn each<E: From<FrameError>>(
        &mut self,
        mut input: &[u8],
        mut take: impl FnMut(&Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            self.settle();
            if let Some((tag, bytes)) = self.at_hand(&mut input)? {
                take(&Frame::Whole { tag, bytes })?;
            } else if let Some(frame) = self.in_pieces(&mut input)? {
                take(&frame)?;
            } else {
                return Ok(());
            }
        }
    }

    /// The next message of `input`, which is advanced. `None` when all of it is taken.
    pub(crate) fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'s>>, FrameError> {
        self.settle();
        match self.at_hand(input)? {
            Some((tag, bytes)) => Ok(Some(Frame::Whole { tag, bytes })),
            None => self.in_pieces(input),
        }
    }

    /// The tag and the bytes of a message that is whole in the input, as nearly all are.
    #[inline]
    fn at_hand<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<(u8, &'i [u8])>, FrameError> {
        if let Mode::Whole = self.mode
            && self.carry.is_empty()
            && let Some(head) = self.head(input)?
            && let Some((bytes, rest)) = input.split_at_checked(head.len)
        {
            *input = rest;
            self.offset += bytes.len() as u64;
            return Ok(Some((head.tag, bytes)));
        }
        Ok(None)
    }

    fn in_pieces<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'s>>, FrameError> {
        match self.mode {
            Mode::Whole => self.put_together(input),
            Mode::Parts { tag, left } => {
                let bytes = take(input, left);
                if bytes.is_empty() {
                    return Ok(None);
                }
                self.offset += bytes.len() as u64;
                let left = left - bytes.len() as u64;
                self.mode = match left {
                    0 => Mode::Whole,
                    left => Mode::Parts { tag, left },
                };
                Ok(Some(Frame::Part {
                    tag,
                    bytes,
                    first: false,
                    last: left == 0,
                }))
            }
            Mode::Skipping { tag, len, left } => {
                let taken = take(input, left).len() as u64;
                self.offset += taken;
                if taken < left {
                    let left = left - taken;
                    self.mode = Mode::Skipping { tag, len, left };
                    return Ok(None);
                }
                self.mode = Mode::Whole;
                Ok(Some(Frame::Damaged { tag, len }))
            }
        }
    }

    fn put_together<'s>(&'s mut self, input: &mut &[u8]) -> Result<Option<Frame<'s>>, FrameError> {
        let head_len = if self.tagged { 5 } else { 4 };
        self.fill(input, head_len);
        let Some(head) = self.head(&self.carry)? else {
            return Ok(None);
        };
        let tag = head.tag;
        if head.len > self.cap {
            let first_part = self.cap.min(FIRST_PART);
            self.fill(input, first_part);
            if self.carry.len() < first_part {
                return Ok(None);
            }
            let left = (head.len - self.carry.len()) as u64;
            self.mode = Mode::Parts { tag, left };
            self.delivered = true;
            return Ok(Some(Frame::Part {
                tag,
                bytes: &self.carry,
                first: true,
                last: false,
            }));
        }
        self.fill(input, head.len);
        if self.carry.len() < head.len {
            return Ok(None);
        }
        self.delivered = true;
        let bytes = &self.carry;
        Ok(Some(Frame::Whole { tag, bytes }))
    }

    /// Takes from `input` until the carry buffer has `len` bytes.
    fn fill(&mut self, input: &mut &[u8], len: usize) {
        let taken = take(input, len.saturating_sub(self.carry.len()) as u64);
        self.offset += taken.len() as u64;
        self.carry.extend_from_slice(taken);
    }

    #[inline]
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, FrameError> {
        let (tag, bytes, range) = match bytes.split_first() {
            None => return Ok(None),
            Some((tag, rest)) if self.tagged => (*tag, rest, 4..=MAX_LEN),
            Some(_) => (0, bytes, 8..=MAX_STARTUP_LEN),
        };
        let Some(len) = bytes.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*len);
        if !range.contains(&len) {
            return Err(FrameError {
                tag,
                len: len.cast_signed(),
                offset: self.offset - self.carry.len() as u64,
            });
        }
        let len = len as usize + usize::from(self.tagged);
        Ok(Some(Head { tag, len }))
    }

    /// `len` bytes were lost; 0 where their number is unknown. True where they lie within one
    /// message, so that it is known where the next one begins; else the framer is reset.
    pub(crate) fn gap(&mut self, len: u64) -> bool {
        self.settle();
        let within = match self.mode {
            Mode::Whole => match self.head(&self.carry) {
                Ok(Some(head)) => {
                    let left = (head.len - self.carry.len()) as u64;
                    Some((head.tag, head.len as u64, left))
                }
                _ => None,
            },
            // The length of what was passed on is not needed any more.
            Mode::Parts { tag, left } => Some((tag, 0, left)),
            Mode::Skipping { tag, len, left } => Some((tag, len, left)),
        };
        self.offset += len;
        self.carry = Vec::new();
        match within {
            Some((tag, whole, left)) if len > 0 && len <= left => {
                let left = left - len;
                let len = whole;
                self.mode = Mode::Skipping { tag, len, left };
                true
            }
            _ => {
                self.mode = Mode::Whole;
                false
            }
        }
    }

    /// The tag of the message that is begun but not complete.
    pub(crate) fn partial(&self) -> Option<u8> {
        match self.mode {
            Mode::Whole if self.delivered => None,
            Mode::Whole => self.carry.first().copied(),
            Mode::Parts { tag, .. } | Mode::Skipping { tag, .. } => Some(tag),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.carry.capacity()
    }

    fn settle(&mut self) {
        if self.delivered {
            self.delivered = false;
            self.carry.clear();
            if self.carry.capacity() > KEEP_CAPACITY {
                self.carry = Vec::new();
            }
        }
    }
}

impl fmt::Debug for Framer {
    /// Without the bytes: they may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer")
            .field("carry", &self.carry.len())
            .field("mode", &self.mode)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

fn take<'i>(input: &mut &'i [u8], len: u64) -> &'i [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(len);
    *input = rest;
    taken
}
