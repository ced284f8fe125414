use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Packet;
use super::buffer::Buffer;
use super::classic::Classic;
use super::pcapng::Pcapng;

/// A record longer than any link's packet: the file is damaged.
pub const MAX_RECORD: usize = 16 << 20;

/// A packet's snap length below which TCP's largest segment is cut: its payload, the longest
/// headers and some tags.
pub const FULL_SNAPLEN: u32 = 65_549;

/// How files that are read begin: pcapng, pcap, and what is compressed.
const MAGICS: [&[u8]; 7] = [
    &[0x0a, 0x0d, 0x0d, 0x0a],
    &[0xa1, 0xb2, 0xc3, 0xd4],
    &[0xd4, 0xc3, 0xb2, 0xa1],
    &[0xa1, 0xb2, 0x3c, 0x4d],
    &[0x4d, 0x3c, 0xb2, 0xa1],
    &[0x1f, 0x8b, 8],
    &[0x28, 0xb5, 0x2f],
];

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("failed to open {path}: {source}")]
    Open { path: String, source: io::Error },
    #[error("failed to read {name} at byte {offset}: {source}")]
    Read {
        name: String,
        offset: u64,
        source: io::Error,
    },
    /// What was read before it stands.
    #[error("{name} is damaged at byte {offset} ({what}): what follows in it was not read")]
    Damaged {
        name: String,
        offset: u64,
        what: &'static str,
    },
    #[error("{name} is neither pcap nor pcapng (it begins with {magic:02x?})")]
    Unknown { name: String, magic: Vec<u8> },
    #[error("{name} is empty")]
    Empty { name: String },
    #[error("{name} is cut off before its first packet, in its header")]
    Cut { name: String },
}

/// How reading a record failed.
#[derive(Debug)]
pub enum RecordError {
    Io(io::Error),
    /// The bytes can't be what the format says.
    Damaged(&'static str),
    /// The input ends inside a record.
    Torn,
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> RecordError {
        RecordError::Io(error)
    }
}

/// Where a packet's bytes are: the last `len` before the buffer's place.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub at: recording::Timestamp,
    pub link_type: u32,
    pub wire_len: u32,
    pub len: usize,
    /// Bytes of padding and trailer between the packet and the buffer's place.
    pub tail: usize,
}

/// A pcap or pcapng file, plain or compressed by gzip or zstd.
#[derive(Debug)]
pub struct PacketFile {
    name: String,
    buffer: Buffer,
    format: Format,
    left_out: Option<String>,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Pcapng(Pcapng),
}

impl PacketFile {
    pub fn open(path: &Path) -> Result<PacketFile, FileError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| FileError::Open {
            path: name.clone(),
            source,
        })?;
        PacketFile::new(name, Box::new(file))
    }

    /// `name` is for people.
    pub fn new(name: String, input: Box<dyn Read + Send>) -> Result<PacketFile, FileError> {
        let fail = |name: &str, buffer: &Buffer, source| FileError::Read {
            name: name.to_owned(),
            offset: buffer.offset(),
            source,
        };
        let mut buffer = Buffer::new(input);
        buffer.fill(4).map_err(|e| fail(&name, &buffer, e))?;
        match buffer.ahead().first_chunk::<4>() {
            Some([0x1f, 0x8b, ..]) => {
                let inner = flate2::read::MultiGzDecoder::new(Rest(buffer));
                buffer = Buffer::new(Box::new(inner));
            }
            Some([0x28, 0xb5, 0x2f, 0xfd]) => {
                let inner = zstd::stream::read::Decoder::new(Rest(buffer)).map_err(|source| {
                    FileError::Read {
                        name: name.clone(),
                        offset: 0,
                        source,
                    }
                })?;
                buffer = Buffer::new(Box::new(inner));
            }
            _ => {}
        }
        buffer.fill(24).map_err(|e| fail(&name, &buffer, e))?;
        let format = match buffer.ahead() {
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Some(Format::Pcapng(Pcapng::default())),
            _ => Classic::open(&mut buffer).map(Format::Classic),
        };
        let Some(format) = format else {
            let ahead = buffer.ahead();
            return Err(match ahead.get(..4).unwrap_or(ahead) {
                [] if !buffer.is_torn() => FileError::Empty { name },
                begun if MAGICS.iter().any(|magic| magic.starts_with(begun)) => {
                    FileError::Cut { name }
                }
                other => FileError::Unknown {
                    name,
                    magic: other.to_vec(),
                },
            });
        };
        Ok(PacketFile {
            name,
            buffer,
            format,
            left_out: None,
        })
    }

    /// The next packet; `None` at the end, which may be torn: see [`PacketFile::left_out`].
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, FileError> {
        if self.left_out.is_some() {
            return Ok(None);
        }
        let record = match &mut self.format {
            Format::Classic(classic) => classic.next_record(&mut self.buffer),
            Format::Pcapng(pcapng) => pcapng.next_record(&mut self.buffer),
        };
        let offset = self.buffer.offset();
        let record = match record {
            Ok(None) if self.buffer.is_torn() => Err(RecordError::Torn),
            record => record,
        };
        match record {
            Ok(Some(record)) => {
                let behind = self.buffer.behind(record.len + record.tail);
                Ok(Some(Packet {
                    at: record.at,
                    link_type: record.link_type,
                    bytes: behind.get(..record.len).unwrap_or_default(),
                    wire_len: record.wire_len,
                }))
            }
            Ok(None) => Ok(None),
            Err(RecordError::Torn) => {
                self.left_out = Some(format!(
                    "{} is torn off at byte {offset}: its last packet is left out",
                    self.name
                ));
                Ok(None)
            }
            Err(RecordError::Damaged(what)) => Err(FileError::Damaged {
                name: self.name.clone(),
                offset,
                what,
            }),
            Err(RecordError::Io(source)) => Err(FileError::Read {
                name: self.name.clone(),
                offset,
                source,
            }),
        }
    }

    /// Must the input be read for the next packet?
    pub fn is_drained(&self) -> bool {
        self.buffer.ahead().is_empty()
    }

    /// What a torn tail cost, for people.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// The smallest snap length that the file declares so far.
    pub fn snaplen(&self) -> Option<u32> {
        match &self.format {
            Format::Classic(classic) => classic.snaplen(),
            Format::Pcapng(pcapng) => pcapng.snaplen(),
        }
    }

    /// Packets that the capturing kernel and its interfaces dropped, where the file tells.
    pub fn drops(&self) -> (u64, u64) {
        match &self.format {
            Format::Classic(_) => (0, 0),
            Format::Pcapng(pcapng) => pcapng.drops(),
        }
    }
}

/// What is left of a buffer and its input.
struct Rest(Buffer);

impl Read for Rest {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.fill(1)?;
        let mut ahead = self.0.ahead();
        let len = ahead.read(out)?;
        self.0.consume(len);
        Ok(len)
    }
}
