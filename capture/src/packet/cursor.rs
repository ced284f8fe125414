use super::{DAMAGED, TRUNCATED};

/// Reads a frame front to back. Positions are offsets in the frame, so that a result can be told
/// without borrowing it.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    frame: &'a [u8],
    at: usize,
    /// Where the layer ends on the wire: beyond the frame's end where the frame was cut.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(frame: &'a [u8], wire_len: usize) -> Cursor<'a> {
        Cursor {
            frame,
            at: 0,
            end: wire_len,
        }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes to the end of the layer on the wire.
    pub fn wire_left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// What was captured of the rest of the layer.
    pub fn rest(&self) -> &'a [u8] {
        let end = self.end.min(self.frame.len());
        self.frame.get(self.at..end).unwrap_or_default()
    }

    /// The layer goes on for `len` bytes, whatever follows.
    pub fn limit(&mut self, len: usize) {
        self.end = self.at + len;
    }

    /// Skips bytes that need not have been captured.
    pub fn skip(&mut self, len: usize) -> Result<(), &'static str> {
        if len > self.wire_left() {
            return Err(DAMAGED);
        }
        self.at += len;
        Ok(())
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let bytes = self.rest().first_chunk::<N>().ok_or(TRUNCATED)?;
        self.at += N;
        Ok(*bytes)
    }

    pub fn u16(&mut self) -> Result<u16, &'static str> {
        self.take().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, &'static str> {
        self.take().map(u32::from_be_bytes)
    }
}
