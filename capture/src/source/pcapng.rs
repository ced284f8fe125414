//! pcapng, by <https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/>.

use recording::Timestamp;

use super::buffer::Buffer;
use super::classic::word;
use super::file::{MAX_RECORD, Record, RecordError};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// A block's type, its length, and its length again at its end.
const BLOCK_EDGES: usize = 12;
/// Interfaces of one section.
const MAX_INTERFACES: usize = 1 << 16;

#[derive(Debug, Default)]
pub struct Pcapng {
    big_endian: bool,
    /// Of the present section.
    interfaces: Vec<Interface>,
    snaplen: Option<u32>,
    /// Of the sections before.
    dropped: (u64, u64),
    last_at: Timestamp,
}

#[derive(Debug)]
struct Interface {
    link_type: u32,
    snaplen: u32,
    resolution: Resolution,
    /// Nanoseconds to add.
    offset: i64,
    /// By the kernel, and by the interface.
    dropped: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
enum Resolution {
    /// Nanoseconds in a unit.
    Unit(u64),
    /// Units in a second.
    PerSecond(u64),
}

impl Resolution {
    /// `if_tsresol`: a power of ten, or of two where the top bit is set.
    fn parse(byte: u8) -> Option<Resolution> {
        let exponent = u32::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            return 1_u64.checked_shl(exponent).map(Resolution::PerSecond);
        }
        match exponent {
            0..=9 => Some(Resolution::Unit(10_u64.pow(9 - exponent))),
            _ => 10_u64.checked_pow(exponent).map(Resolution::PerSecond),
        }
    }

    fn nanos(self, units: u64) -> i64 {
        let nanos = match self {
            Resolution::Unit(nanos) => u128::from(units) * u128::from(nanos),
            Resolution::PerSecond(rate) => {
                u128::from(units) * 1_000_000_000 / u128::from(rate.max(1))
            }
        };
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

/// Reads a block's body.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or(RecordError::Damaged("a block shorter than its fields"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| RecordError::Torn)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        let bytes = self.array()?;
        Ok(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(word(self.big_endian, self.array()?))
    }

    /// A time or counter in two halves, the upper one first.
    fn u64_by_halves(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    fn u64(bytes: &[u8], big_endian: bool) -> Option<u64> {
        let bytes = bytes.try_into().ok()?;
        Some(if big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// The next option's code and value; `None` at their end, or where they are damaged: they are
    /// not needed to read the packets.
    fn option(&mut self) -> Option<(u16, &'a [u8])> {
        let code = self.u16().ok().filter(|code| *code != 0)?;
        let len = usize::from(self.u16().ok()?);
        let padded = self.take(len.next_multiple_of(4)).ok()?;
        Some((code, padded.get(..len)?))
    }
}

impl Pcapng {
    pub fn snaplen(&self) -> Option<u32> {
        self.snaplen
    }

    /// By the kernel, and by the interfaces.
    pub fn drops(&self) -> (u64, u64) {
        let (kernel, interface) = self.dropped;
        self.interfaces
            .iter()
            .fold((kernel, interface), |(kernel, interface), it| {
                (kernel + it.dropped.0, interface + it.dropped.1)
            })
    }

    pub fn next_record(&mut self, buffer: &mut Buffer) -> Result<Option<Record>, RecordError> {
        loop {
            if !buffer.fill(BLOCK_EDGES)? {
                return if buffer.ahead().is_empty() {
                    Ok(None)
                } else {
                    Err(RecordError::Torn)
                };
            }
            let edge = buffer.ahead().first_chunk::<12>().copied();
            let Some([k0, k1, k2, k3, l0, l1, l2, l3, o0, o1, o2, o3]) = edge else {
                return Err(RecordError::Torn);
            };
            let kind = word(self.big_endian, [k0, k1, k2, k3]);
            if kind == SECTION {
                self.big_endian = match [o0, o1, o2, o3] {
                    [0x1a, 0x2b, 0x3c, 0x4d] => true,
                    [0x4d, 0x3c, 0x2b, 0x1a] => false,
                    _ => return Err(RecordError::Damaged("a section of no byte order")),
                };
            }
            let len = word(self.big_endian, [l0, l1, l2, l3]) as usize;
            if len < BLOCK_EDGES || !len.is_multiple_of(4) || len > MAX_RECORD {
                return Err(RecordError::Damaged("a block's length"));
            }
            if !buffer.fill(len)? {
                return Err(RecordError::Torn);
            }
            let block = buffer.ahead().get(..len).unwrap_or_default();
            let Some((block, again)) = block.split_last_chunk::<4>() else {
                return Err(RecordError::Torn);
            };
            if word(self.big_endian, *again) as usize != len {
                return Err(RecordError::Damaged("a block of two lengths"));
            }
            let body = block.get(8..).unwrap_or_default();
            let mut fields = Fields {
                bytes: body,
                big_endian: self.big_endian,
            };
            let mut record = None;
            match kind {
                SECTION => {
                    self.dropped = self.drops();
                    self.interfaces.clear();
                }
                INTERFACE => self.interface(&mut fields)?,
                STATISTICS => self.statistics(&mut fields)?,
                ENHANCED_PACKET | OBSOLETE_PACKET => {
                    let interface = match kind {
                        ENHANCED_PACKET => fields.u32()?,
                        _ => {
                            let number = fields.u16()?;
                            // Packets dropped before it: the statistics say it better.
                            fields.u16()?;
                            number.into()
                        }
                    };
                    let units = fields.u64_by_halves()?;
                    let (captured, wire_len) = (fields.u32()?, fields.u32()?);
                    let packet = fields.take(captured as usize)?.len();
                    let interface = self.find(interface)?;
                    let at = interface.resolution.nanos(units);
                    record = Some(Record {
                        at: Timestamp(at.saturating_add(interface.offset)),
                        link_type: interface.link_type,
                        wire_len,
                        len: packet,
                        tail: fields.bytes.len() + 4,
                    });
                }
                SIMPLE_PACKET => {
                    let wire_len = fields.u32()?;
                    let interface = self.find(0)?;
                    let kept = match interface.snaplen {
                        0 => wire_len,
                        snaplen => wire_len.min(snaplen),
                    };
                    let packet = fields.take(kept as usize)?.len();
                    record = Some(Record {
                        // It has no time of its own.
                        at: self.last_at,
                        link_type: interface.link_type,
                        wire_len,
                        len: packet,
                        tail: fields.bytes.len() + 4,
                    });
                }
                _ => {}
            }
            buffer.consume(len);
            if let Some(record) = record {
                self.last_at = record.at;
                return Ok(Some(record));
            }
        }
    }

    fn find(&self, number: u32) -> Result<&Interface, RecordError> {
        self.interfaces
            .get(number as usize)
            .ok_or(RecordError::Damaged("a packet of an unknown interface"))
    }

    fn interface(&mut self, fields: &mut Fields<'_>) -> Result<(), RecordError> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(RecordError::Damaged("more than 65,536 interfaces"));
        }
        let link_type = u32::from(fields.u16()?);
        fields.u16()?;
        let snaplen = fields.u32()?;
        let mut interface = Interface {
            link_type,
            snaplen,
            resolution: Resolution::Unit(1000),
            offset: 0,
            dropped: (0, 0),
        };
        while let Some((code, value)) = fields.option() {
            match (code, value) {
                (9, [byte, ..]) => {
                    interface.resolution = Resolution::parse(*byte)
                        .ok_or(RecordError::Damaged("a resolution of times"))?;
                }
                (14, value) => {
                    let seconds = Fields::u64(value, fields.big_endian).unwrap_or(0);
                    interface.offset = (seconds as i64).saturating_mul(1_000_000_000);
                }
                _ => {}
            }
        }
        if snaplen > 0 {
            self.snaplen = Some(self.snaplen.map_or(snaplen, |known| known.min(snaplen)));
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// Counters since the interface was opened: the last block of each stands.
    fn statistics(&mut self, fields: &mut Fields<'_>) -> Result<(), RecordError> {
        let number = fields.u32()?;
        fields.u64_by_halves()?;
        let mut dropped = (0, 0);
        while let Some((code, value)) = fields.option() {
            let count = Fields::u64(value, fields.big_endian).unwrap_or(0);
            match code {
                5 => dropped.1 = count,
                7 => dropped.0 = count,
                _ => {}
            }
        }
        if let Some(interface) = self.interfaces.get_mut(number as usize) {
            interface.dropped = dropped;
        }
        Ok(())
    }
}
