//! The open segment: an Arrow IPC stream whose record batches end with a checksum.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamEncoder;
use arrow_ipc::{Message, MessageHeader, root_as_message};
use arrow_schema::ArrowError;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::damage::Damage;
use super::decode::column;
use super::error::StoreError;
use super::files;
use super::schema::SCHEMA;
use super::sealed::guarded;
use super::sort::Sorted;
use crate::Timestamp;

/// Marks the begin of a message.
const CONTINUATION: u32 = 0xffff_ffff;
const PREFIX: usize = 8;
const CHECKSUM: usize = 8;
/// A batch's own metadata is a few KiB.
const MAX_METADATA: usize = 1 << 20;

/// No writer makes a segment of more bytes.
const MAX_SEGMENT: u64 = 1 << 30;

/// Columns of [`SCHEMA`], by a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns(u64);

impl Columns {
    /// Those that a row must have, and what others have a value in the batch.
    fn needed(batch: &RecordBatch) -> Columns {
        let columns = SCHEMA.fields().iter().zip(batch.columns());
        let needed = columns.map(|(field, column)| {
            u64::from(!field.is_nullable() || column.null_count() < column.len())
        });
        Columns((0..).zip(needed).fold(0, |all, (at, bit)| all | bit << at))
    }

    fn with(self, others: Columns) -> Columns {
        Columns(self.0 | others.0)
    }

    fn indices(self) -> Vec<usize> {
        (0..SCHEMA.fields().len())
            .filter(|at| self.0 >> at & 1 == 1)
            .collect()
    }
}

/// Writes each batch as it stands in memory, but for columns that have no value in any.
pub struct OpenWriter {
    path: PathBuf,
    file: File,
    columns: Columns,
    /// Begun by the first batch.
    stream: Option<StreamEncoder>,
    written: u64,
}

impl OpenWriter {
    /// It will have those columns at least.
    pub fn create(dir: &Path, number: u32, columns: Columns) -> Result<OpenWriter, StoreError> {
        let path = dir.join(files::open_name(number));
        let file = files::create_file(&path)?;
        Ok(OpenWriter {
            path,
            file,
            columns,
            stream: None,
            written: 0,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn columns(&self) -> Columns {
        self.columns
    }

    /// Or must the batch go to the next segment, since this one lacks columns for it?
    pub fn takes(&self, batch: &RecordBatch) -> bool {
        let columns = self.columns.with(Columns::needed(batch));
        self.stream.is_none() || columns == self.columns
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.columns = self.columns.with(Columns::needed(batch));
        let mut pieces = self.encode(batch).map_err(StoreError::encode(&self.path))?;
        seal_batch(&mut pieces).ok_or_else(|| StoreError::Damaged {
            path: self.path.clone(),
            offset: None,
            reason: "the batch just encoded does not end in a record batch".to_owned(),
        })?;
        write_all(&self.file, &pieces).map_err(StoreError::io("write", &self.path))?;
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.written += len as u64;
        Ok(())
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Buffer>, ArrowError> {
        let batch = batch.project(&self.columns.indices())?;
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => StreamEncoder::try_new(batch.schema_ref())?,
        };
        self.stream.insert(stream).encode(&batch)
    }

    /// Length of the file.
    pub fn written(&self) -> u64 {
        self.written
    }
}

fn write_all(mut file: &File, pieces: &[Buffer]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl fmt::Debug for OpenWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenWriter({})", self.path.display())
    }
}

/// Lengthens the body of the last message, a record batch, by a checksum of all pieces. Readers
/// that do not know of it take it for padding.
fn seal_batch(pieces: &mut Vec<Buffer>) -> Option<()> {
    pieces.retain(|piece| !piece.is_empty());
    let mut at = 0;
    let (last, body) = loop {
        let metadata = at + 1;
        let message = root_as_message(pieces.get(metadata)?).ok()?;
        let prefix = pieces.get(at)?.split_last_chunk()?.1;
        let padded = usize::try_from(u32::from_le_bytes(*prefix)).ok()?;
        let body = usize::try_from(message.bodyLength()).ok()?;
        at = metadata;
        let mut left = padded + body;
        while left > 0 {
            left = left.checked_sub(pieces.get(at)?.len())?;
            at += 1;
        }
        if at == pieces.len() {
            break (metadata, body);
        }
    };
    let mut metadata = pieces.get(last)?.to_vec();
    let message = root_as_message(&metadata).ok()?;
    if message.header_type() != MessageHeader::RecordBatch {
        return None;
    }
    let field = body_length_at(&message);
    let length = i64::try_from(body + CHECKSUM).ok()?.to_le_bytes();
    metadata
        .get_mut(field..)?
        .first_chunk_mut::<8>()?
        .copy_from_slice(&length);
    *pieces.get_mut(last)? = Buffer::from_vec(metadata);
    let mut checksum = Xxh3Default::new();
    for piece in pieces.iter() {
        checksum.update(piece);
    }
    pieces.push(Buffer::from_vec(checksum.digest().to_le_bytes().to_vec()));
    Some(())
}

/// Offset in the metadata of the field that says how long the body is.
fn body_length_at(message: &Message<'_>) -> usize {
    let field = message._tab.vtable().get(Message::VT_BODYLENGTH);
    message._tab.loc() + usize::from(field)
}

/// One message of the stream, by where it lies.
struct Framed {
    header: MessageHeader,
    /// Bytes of the body.
    body: usize,
    end: usize,
}

impl Framed {
    /// `None` where there is no whole message at that offset.
    fn read(bytes: &[u8], at: usize) -> Option<Framed> {
        let rest = bytes.get(at..)?;
        let (marker, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if u32::from_le_bytes(*marker) != CONTINUATION || length > MAX_METADATA {
            return None;
        }
        let message = root_as_message(rest.get(..length)?).ok()?;
        let body = usize::try_from(message.bodyLength()).ok()?;
        let end = (at + PREFIX + length).checked_add(body)?;
        (end <= bytes.len()).then_some(Framed {
            header: message.header_type(),
            body,
            end,
        })
    }
}

/// Where the whole batches in the stream end: what lies behind the last is torn or damaged.
pub fn whole_batches(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(message) = Framed::read(bytes, at) {
        at = message.end;
        if message.header != MessageHeader::RecordBatch {
            continue;
        }
        let batch = bytes.get(begin..at).unwrap_or_default();
        let Some((covered, checksum)) = batch.split_last_chunk::<CHECKSUM>() else {
            break;
        };
        // A fuzzer would never come past it.
        let right = xxh3_64(covered) == u64::from_le_bytes(*checksum) || cfg!(fuzzing);
        if message.body < CHECKSUM || !right {
            break;
        }
        ends.push(at);
        begin = at;
    }
    ends
}

/// An open segment as it was found.
#[derive(Debug)]
pub struct OpenSegment {
    pub path: PathBuf,
    /// Kept, so that a writer that seals the segment does not take it from under its reader.
    file: File,
    /// Of the whole batches.
    bytes: usize,
    /// The earliest `started_at`.
    pub first: Timestamp,
    /// What stands behind the whole batches, if anything.
    pub left_out: Option<Damage>,
}

impl OpenSegment {
    pub fn read(path: &Path) -> Result<OpenSegment, StoreError> {
        OpenSegment::read_all(path).map(|(segment, _)| segment)
    }

    /// With its whole batches.
    pub fn read_all(path: &Path) -> Result<(OpenSegment, Vec<RecordBatch>), StoreError> {
        let file = files::open_file(path).map_err(StoreError::io("open", path))?;
        let len = file.metadata().map_err(StoreError::io("read", path))?.len();
        let readable = usize::try_from(len.min(MAX_SEGMENT)).unwrap_or_default();
        let bytes = read(&file, readable).map_err(StoreError::io("read", path))?;
        let ends = whole_batches(&bytes);
        let (batches, trouble) = decode(bytes, &ends);
        let bytes = batches.len().checked_sub(1).and_then(|last| ends.get(last));
        let bytes = bytes.copied().unwrap_or_default();
        let first = batches.iter().filter_map(|batch| {
            let started_at = batch["started_at"].as_primitive::<TimestampNanosecondType>();
            started_at.values().iter().min().copied()
        });
        let lost = len - bytes as u64;
        let segment = OpenSegment {
            path: path.to_owned(),
            file,
            bytes,
            first: Timestamp(first.min().unwrap_or(i64::MAX)),
            left_out: (lost > 0).then(|| {
                let trouble = trouble.unwrap_or_else(|| "not a whole batch".to_owned());
                StoreError::Damaged {
                    path: path.to_owned(),
                    offset: Some(bytes as u64),
                    reason: format!("the last {lost} bytes, from offset {bytes}: {trouble}"),
                }
                .into_damage(path)
            }),
        };
        Ok((segment, batches))
    }

    /// The rows of the whole batches.
    pub fn load(&self) -> Result<Sorted, StoreError> {
        Sorted::new(&self.batches()?).map_err(StoreError::encode(&self.path))
    }

    /// The whole batches.
    pub fn batches(&self) -> Result<Vec<RecordBatch>, StoreError> {
        let bytes = read(&self.file, self.bytes).map_err(StoreError::io("read", &self.path))?;
        let ends = whole_batches(&bytes);
        Ok(decode(bytes, &ends).0)
    }
}

fn read(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Decodes batches up to the first that cannot be.
fn decode(bytes: Vec<u8>, ends: &[usize]) -> (Vec<RecordBatch>, Option<String>) {
    let bytes = Buffer::from_vec(bytes);
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    let mut begin = 0;
    for &end in ends {
        let mut batch = bytes.slice_with_length(begin, end - begin);
        begin = end;
        let decoded = guarded(|| match decoder.decode(&mut batch) {
            Ok(Some(batch)) => in_schema(&batch),
            Ok(None) => Err("a batch is not whole".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        match decoded {
            Ok(batch) => batches.push(batch),
            Err(trouble) => return (batches, Some(trouble)),
        }
    }
    (batches, None)
}

/// The columns of this version, in their order.
fn in_schema(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let columns = SCHEMA.fields().iter().map(|field| {
        let column = column(batch, field.name())?;
        if column.data_type() != field.data_type() {
            let wrong = column.data_type();
            return Err(format!("column {} is {wrong}", field.name()));
        }
        Ok(column)
    });
    let columns = columns.collect::<Result<_, String>>()?;
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns).map_err(|error| error.to_string())
}
