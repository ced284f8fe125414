//! pcap, by <https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/>.

use recording::Timestamp;

use super::buffer::Buffer;
use super::file::{FULL_SNAPLEN, MAX_RECORD, Record, RecordError};

const HEADER: usize = 24;
const RECORD: usize = 16;

#[derive(Debug)]
pub struct Classic {
    big_endian: bool,
    /// Nanoseconds in a unit of a record's second field.
    unit: i64,
    snaplen: u32,
    link_type: u32,
}

impl Classic {
    pub fn open(buffer: &mut Buffer) -> Option<Classic> {
        let header = *buffer.ahead().first_chunk::<HEADER>()?;
        let (big_endian, unit) = match header.first_chunk::<4>()? {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
            _ => return None,
        };
        buffer.consume(HEADER);
        let [.., s0, s1, s2, s3, l0, l1, l2, l3] = header;
        Some(Classic {
            big_endian,
            unit,
            snaplen: word(big_endian, [s0, s1, s2, s3]),
            // The upper half tells of a frame check sequence.
            link_type: word(big_endian, [l0, l1, l2, l3]) & 0xffff,
        })
    }

    pub fn snaplen(&self) -> Option<u32> {
        (self.snaplen > 0).then_some(self.snaplen)
    }

    pub fn next_record(&mut self, buffer: &mut Buffer) -> Result<Option<Record>, RecordError> {
        if !buffer.fill(RECORD)? {
            return if buffer.ahead().is_empty() {
                Ok(None)
            } else {
                Err(RecordError::Torn)
            };
        }
        let head = buffer.ahead().first_chunk::<RECORD>();
        let words = head.map(|head| head.as_chunks::<4>().0);
        let Some(&[seconds, fraction, captured, wire]) = words else {
            return Err(RecordError::Torn);
        };
        let read = |bytes| word(self.big_endian, bytes);
        let len = read(captured) as usize;
        if len > MAX_RECORD {
            return Err(RecordError::Damaged("a packet of more than 16 MiB"));
        }
        if words == Some(&[[0; 4]; 4]) {
            return Err(RecordError::Damaged("zeros for a packet's header"));
        }
        if !buffer.fill(RECORD + len)? {
            // A capture that was killed leaves a packet cut, but its header as it was. What else is
            // taken for a header would end a whole file early, without its last packets.
            let whole = read(captured) <= read(wire)
                && read(captured) <= self.snaplen.max(FULL_SNAPLEN)
                && i64::from(read(fraction)) * self.unit < 1_000_000_000;
            return Err(match whole {
                true => RecordError::Torn,
                false => RecordError::Damaged("a packet's header"),
            });
        }
        buffer.consume(RECORD + len);
        Ok(Some(Record {
            at: Timestamp(
                i64::from(read(seconds)) * 1_000_000_000 + i64::from(read(fraction)) * self.unit,
            ),
            link_type: self.link_type,
            wire_len: read(wire),
            len,
            tail: 0,
        }))
    }
}

pub fn word(big_endian: bool, bytes: [u8; 4]) -> u32 {
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}
