//! Sealing: the batches of a segment, sorted, as a Parquet file of blocks with checksums.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::error::StoreError;
use super::files;
use super::manifest::{FORMAT, SegmentInfo};
use super::schema::{SCHEMA, properties};
use super::sort::{CHUNK_BYTES, CHUNK_ROWS, Place, Sorted, cut};
use crate::Timestamp;

pub const FORMAT_KEY: &str = "rehearsal.format";
pub const BLOCKS_KEY: &str = "rehearsal.blocks";

/// Rows of a block, a Parquet row group: what one damaged byte can cost.
pub const BLOCK_ROWS: usize = 65_536;
/// Bytes of their requests and responses: a block is in memory until it is whole.
const BLOCK_BYTES: u64 = 16 << 20;

/// One row group: as the footer lists it under [`BLOCKS_KEY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Of its first byte in the file.
    pub offset: u64,
    pub bytes: u64,
    pub rows: u64,
    /// The earliest `started_at`, which is the first row's.
    pub first: Timestamp,
    /// The latest `started_at`, which is the last row's.
    pub last: Timestamp,
    /// XXH3-64 of its bytes in hexadecimal.
    pub checksum: String,
    /// Columns that are null in every row: there is no need to decode them.
    #[serde(default)]
    pub absent: Vec<String>,
}

pub fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Writes the rows in order, as `requests-NNNNN.parquet`. Rows that began before `horizon`, when the
/// segment before was still the open one, get blocks of their own: so a reader that merges the
/// segments need not hold this one open from the moment its longest request began.
pub fn seal(
    dir: &Path,
    number: u32,
    batches: &[RecordBatch],
    horizon: Timestamp,
) -> Result<SegmentInfo, StoreError> {
    let name = files::sealed_name(number);
    let path = dir.join(&name);
    let sorted = Sorted::new(batches).map_err(StoreError::encode(&path))?;
    let order = sorted.order();
    let late = order.partition_point(|row| row.started_at < horizon);
    let (late, timely) = order.split_at(late);
    let mut info = SegmentInfo {
        file: name.clone(),
        rows: order.len() as u64,
        bytes: 0,
        first: order
            .first()
            .map_or(Timestamp::default(), |row| row.started_at),
        last: order
            .last()
            .map_or(Timestamp::default(), |row| row.started_at),
        checksum: String::new(),
    };
    files::write_whole(dir, &name, |file, path| {
        let blocks = [late, timely].into_iter();
        let blocks = blocks.flat_map(|rows| cut(rows, BLOCK_ROWS, BLOCK_BYTES));
        let (bytes, checksum) =
            write_parquet(file, &sorted, blocks).map_err(StoreError::encode(path))?;
        info.bytes = bytes;
        info.checksum = checksum;
        Ok(())
    })?;
    Ok(info)
}

/// Returns the file's length and its footer's checksum.
fn write_parquet<'a>(
    file: &mut File,
    sorted: &Sorted,
    blocks: impl Iterator<Item = &'a [Place]>,
) -> Result<(u64, String), ParquetError> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties(&sorted.absent()))
        .with_skip_arrow_metadata(true);
    let file = Hashed::new(file);
    let mut writer = ArrowWriter::try_new_with_options(file, Arc::clone(&SCHEMA), options)?;
    writer.sync()?;
    let mut listed = Vec::new();
    for rows in blocks {
        writer.inner_mut().begin();
        let offset = writer.inner().written;
        let mut absent = vec![true; SCHEMA.fields().len()];
        for rows in cut(rows, CHUNK_ROWS, CHUNK_BYTES) {
            let batch = sorted.gather(rows)?;
            for (absent, column) in absent.iter_mut().zip(batch.columns()) {
                *absent &= column.null_count() == column.len();
            }
            writer.write(&batch)?;
        }
        writer.flush()?;
        writer.sync()?;
        listed.push(Block {
            offset,
            bytes: writer.inner().written - offset,
            rows: rows.len() as u64,
            first: rows
                .first()
                .map_or(Timestamp::default(), |row| row.started_at),
            last: rows
                .last()
                .map_or(Timestamp::default(), |row| row.started_at),
            checksum: writer.inner().checksum(),
            absent: absent
                .into_iter()
                .zip(SCHEMA.fields())
                .filter(|(absent, _)| *absent)
                .map(|(_, field)| field.name().clone())
                .collect(),
        });
    }
    writer.inner_mut().begin();
    let listed =
        serde_json::to_string(&listed).map_err(|error| ParquetError::External(error.into()))?;
    for (key, value) in [(FORMAT_KEY, FORMAT.to_string()), (BLOCKS_KEY, listed)] {
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }
    writer.finish()?;
    writer.sync()?;
    Ok((writer.inner().written, writer.inner().checksum()))
}

/// Counts and hashes what goes by.
struct Hashed<W> {
    inner: W,
    written: u64,
    since: Xxh3Default,
}

impl<W: Write> Hashed<W> {
    fn new(inner: W) -> Hashed<W> {
        Hashed {
            inner,
            written: 0,
            since: Xxh3Default::new(),
        }
    }

    /// Starts the next checksum here.
    fn begin(&mut self) {
        self.since.reset();
    }

    fn checksum(&self) -> String {
        format!("{:016x}", self.since.digest())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.since.update(bytes.get(..count).unwrap_or_default());
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
