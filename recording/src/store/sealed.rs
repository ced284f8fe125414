//! Reading sealed segments, block by block.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::Schema;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::decode::{Decoder, Wanted};
use super::error::StoreError;
use super::files;
use super::manifest::{FORMAT, SegmentInfo};
use super::pages;
use super::rows::Step;
use super::schema::SCHEMA;
use super::seal::{BLOCK_ROWS, BLOCKS_KEY, Block, FORMAT_KEY, checksum};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 4_096;
const TRAILER: usize = 8;

/// A sealed segment's footer.
#[derive(Debug)]
pub struct Sealed {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    pub blocks: Vec<Block>,
    pub bytes: u64,
    pub footer_checksum: String,
}

impl Sealed {
    /// Reads the footer. With `info`, checks it against what the manifest says.
    pub fn open(path: &Path, info: Option<&SegmentInfo>) -> Result<Sealed, StoreError> {
        let file = files::open_file(path).map_err(StoreError::io("open", path))?;
        let bytes = file.metadata().map_err(StoreError::io("read", path))?.len();
        let damaged = StoreError::damaged(path);
        let footer = match read_footer(&file, bytes).map_err(StoreError::io("read", path))? {
            Ok(footer) => footer,
            Err(reason) => return Err(damaged(reason)),
        };
        let footer_checksum = checksum(&footer);
        if info.is_some_and(|info| info.checksum != footer_checksum) {
            return Err(damaged("the footer's checksum is wrong".to_owned()));
        }
        let (metadata, blocks) = guarded(|| parse_footer(&footer)).map_err(damaged)?;
        Ok(Sealed {
            path: path.to_owned(),
            metadata,
            blocks,
            bytes,
            footer_checksum,
        })
    }

    pub fn info(&self, file: String) -> SegmentInfo {
        let first = self.blocks.iter().map(|block| block.first).min();
        let last = self.blocks.iter().map(|block| block.last).max();
        SegmentInfo {
            file,
            rows: self.blocks.iter().map(|block| block.rows).sum(),
            bytes: self.bytes,
            first: first.unwrap_or_default(),
            last: last.unwrap_or_default(),
            checksum: self.footer_checksum.clone(),
        }
    }

    /// Reads one block and checks it, before anything of it is decoded.
    fn read(&self, index: usize, block: &Block, wanted: Wanted) -> Result<Reader, StoreError> {
        let damaged = |reason: String| self.damaged(block, &reason);
        let within = block.offset.checked_add(block.bytes);
        let length = usize::try_from(block.bytes).ok();
        let Some(length) = length.filter(|_| within.is_some_and(|end| end <= self.bytes)) else {
            return Err(damaged("it lies outside of the file".to_owned()));
        };
        let file = files::open_file(&self.path).map_err(StoreError::io("open", &self.path))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, block.offset)
            .map_err(StoreError::io("read", &self.path))?;
        // A fuzzer would never come past it.
        if checksum(&bytes) != block.checksum && !cfg!(fuzzing) {
            return Err(damaged("its checksum is wrong".to_owned()));
        }
        let window = Window {
            offset: block.offset,
            file_len: self.bytes,
            bytes: bytes.into(),
        };
        guarded(|| self.decoder(index, block, window, wanted)).map_err(damaged)
    }

    fn damaged(&self, block: &Block, reason: &str) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            offset: Some(block.offset),
            reason: format!(
                "block at offset {} of {} bytes and {} rows: {reason}",
                block.offset, block.bytes, block.rows
            ),
        }
    }

    fn decoder(
        &self,
        index: usize,
        block: &Block,
        window: Window,
        wanted: Wanted,
    ) -> Result<Reader, String> {
        let wanted = |name: &str| {
            wanted.has(name)
                && SCHEMA.field_with_name(name).is_ok()
                && !block.absent.iter().any(|absent| absent == name)
        };
        for column in self.metadata.metadata().row_group(index).columns() {
            let path = column.column_path().parts();
            if !path.first().is_some_and(|name| wanted(name)) {
                continue;
            }
            let (start, length) = column.byte_range();
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let chunk = window
                .get_bytes(start, length)
                .map_err(|error| error.to_string())?;
            pages::check(&chunk, block.rows)?;
        }
        let schema = self.metadata.parquet_schema();
        let fields = schema.root_schema().get_fields().iter().enumerate();
        let wanted = fields
            .filter(|(_, field)| wanted(field.name()))
            .map(|(index, _)| index);
        ParquetRecordBatchReaderBuilder::new_with_metadata(window, self.metadata.clone())
            .with_projection(ProjectionMask::roots(schema, wanted))
            .with_row_groups(vec![index])
            .with_batch_size(BATCH_ROWS)
            .build()
            .map(Reader)
            .map_err(|error| error.to_string())
    }
}

/// Reads a sealed segment block by block. A block that is damaged is passed over.
#[derive(Debug)]
pub struct SealedReader {
    sealed: Sealed,
    wanted: Wanted,
    index: usize,
    reader: Option<Reader>,
    /// Rows of the block that were read.
    read: u64,
}

impl SealedReader {
    pub fn new(sealed: Sealed, wanted: Wanted) -> SealedReader {
        SealedReader {
            sealed,
            wanted,
            index: 0,
            reader: None,
            read: 0,
        }
    }

    pub fn step(&mut self) -> Result<Step, StoreError> {
        let Some(block) = self.sealed.blocks.get(self.index) else {
            return Ok(Step::End);
        };
        let Some(reader) = &mut self.reader else {
            match self.sealed.read(self.index, block, self.wanted) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => {
                    self.index += 1;
                    return Err(error);
                }
            }
            return Ok(Step::Later(block.first));
        };
        let reason = match reader.next() {
            Ok(Some(batch)) => {
                self.read += batch.rows() as u64;
                return Ok(Step::Batch(Box::new(batch)));
            }
            Ok(None) if self.read == block.rows => None,
            Ok(None) => Some("it has another number of rows".to_owned()),
            Err(reason) => Some(reason),
        };
        let damage = reason.map(|reason| {
            let reason = format!("{} rows of it were read, then {reason}", self.read);
            self.sealed.damaged(block, &reason)
        });
        self.reader = None;
        self.read = 0;
        self.index += 1;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let next = self.sealed.blocks.get(self.index);
        Ok(next.map_or(Step::End, |block| Step::Later(block.first)))
    }
}

/// What the footer's checksum covers: metadata, its length and the magic number.
fn read_footer(file: &File, len: u64) -> io::Result<Result<Vec<u8>, String>> {
    let cut = || Ok(Err("the file is cut, or no Parquet".to_owned()));
    let Some(trailer_at) = len.checked_sub(TRAILER as u64) else {
        return cut();
    };
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, trailer_at)?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = trailer else {
        return cut();
    };
    let length = u32::from_le_bytes([a, b, c, d]);
    let Some(footer_at) = trailer_at.checked_sub(u64::from(length)) else {
        return cut();
    };
    let mut footer = vec![0; length as usize + TRAILER];
    file.read_exact_at(&mut footer, footer_at)?;
    Ok(Ok(footer))
}

fn parse_footer(footer: &[u8]) -> Result<(ArrowReaderMetadata, Vec<Block>), String> {
    let thrift = footer
        .split_last_chunk::<TRAILER>()
        .ok_or("the footer is short")?
        .0;
    let text = |error: ParquetError| error.to_string();
    let metadata = ParquetMetaDataReader::decode_metadata(thrift).map_err(text)?;
    let format = value(&metadata, FORMAT_KEY)
        .and_then(|format| format.parse::<u32>().ok())
        .ok_or("the footer does not say its format")?;
    if format > FORMAT {
        return Err(format!("it is of format {format}, newer than this build"));
    }
    let blocks = value(&metadata, BLOCKS_KEY).ok_or("the footer lists no blocks")?;
    let blocks: Vec<Block> = serde_json::from_str(blocks).map_err(|error| error.to_string())?;
    let row_groups = metadata.row_groups();
    let same = |(block, group): (&Block, &RowGroupMetaData)| {
        i64::try_from(block.rows) == Ok(group.num_rows()) && block.rows <= BLOCK_ROWS as u64
    };
    if blocks.len() != row_groups.len() || !blocks.iter().zip(row_groups).all(same) {
        return Err("the footer's list of blocks is wrong".to_owned());
    }
    // Text columns as dictionaries, so that each text is allocated once and not once a row.
    let metadata = Arc::new(metadata);
    let plain = ArrowReaderMetadata::try_new(
        Arc::clone(&metadata),
        ArrowReaderOptions::new().with_skip_arrow_metadata(true),
    )
    .map_err(text)?;
    let fields: Vec<_> = plain
        .schema()
        .fields()
        .iter()
        .map(|field| match SCHEMA.field_with_name(field.name()) {
            Ok(known) => Arc::new(
                field
                    .as_ref()
                    .clone()
                    .with_data_type(known.data_type().clone()),
            ),
            Err(_) => Arc::clone(field),
        })
        .collect();
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_schema(Arc::new(Schema::new(fields)));
    let metadata = ArrowReaderMetadata::try_new(metadata, options).map_err(text)?;
    Ok((metadata, blocks))
}

fn value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let pair = pairs.iter().find(|pair| pair.key == key)?;
    pair.value.as_deref()
}

/// The Parquet decoder of others asserts some things of its input: a panic of it is damage as well.
/// Checksums have caught what comes by chance; this is for what was made with intent.
pub fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err("the decoder gave up on it".to_owned()))
}

/// Decodes one block.
struct Reader(ParquetRecordBatchReader);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// The next rows; `None` at the block's end.
    fn next(&mut self) -> Result<Option<Decoder>, String> {
        guarded(|| {
            let Some(batch) = self.0.next() else {
                return Ok(None);
            };
            let batch = batch.map_err(|error| error.to_string())?;
            Decoder::new(&batch).map(Some)
        })
    }
}

/// One block's bytes, under their offsets in the file.
struct Window {
    offset: u64,
    file_len: u64,
    bytes: Bytes,
}

impl Window {
    fn at(&self, start: u64) -> Result<Bytes, ParquetError> {
        let outside = || ParquetError::EOF("outside of the block".to_owned());
        let start = start.checked_sub(self.offset).ok_or_else(outside)?;
        let start = usize::try_from(start).map_err(|_| outside())?;
        if start > self.bytes.len() {
            return Err(outside());
        }
        Ok(self.bytes.slice(start..))
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.file_len
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.at(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.at(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF("outside of the block".to_owned()));
        }
        Ok(bytes.slice(..length))
    }
}
