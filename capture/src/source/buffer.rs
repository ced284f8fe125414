use std::io::{self, Read};

/// What is read at once stays in a processor's own cache until it is looked at.
const CHUNK: usize = 256 << 10;

/// Reads ahead, so that records are slices of one buffer.
pub struct Buffer {
    input: Box<dyn Read + Send>,
    /// What was read and not consumed lies from `start` to `end`; behind it is room.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the input of `start`.
    offset: u64,
    ended: bool,
    torn: bool,
}

impl Buffer {
    pub fn new(input: Box<dyn Read + Send>) -> Buffer {
        Buffer {
            input,
            bytes: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
            torn: false,
        }
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Sees to it that `len` bytes are there; false where the input ends before.
    pub fn fill(&mut self, len: usize) -> io::Result<bool> {
        while self.end - self.start < len {
            if self.ended {
                return Ok(false);
            }
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.bytes.len() < len.max(CHUNK) {
                self.bytes.resize(len.max(CHUNK), 0);
            }
            let room = self.bytes.get_mut(self.end..).unwrap_or_default();
            match read(&mut self.input, room) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    (self.ended, self.torn) = (true, true);
                }
                got => {
                    let got = got?;
                    self.end += got;
                    self.ended = got == 0;
                }
            }
        }
        Ok(true)
    }

    /// The input is compressed, and ends before its own end.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// What is there, from here on.
    pub fn ahead(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub fn consume(&mut self, len: usize) {
        let len = len.min(self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// The `len` bytes before here, which are the ones last consumed.
    pub fn behind(&self, len: usize) -> &[u8] {
        let from = self.start.saturating_sub(len);
        self.bytes.get(from..self.start).unwrap_or_default()
    }
}

fn read(input: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
