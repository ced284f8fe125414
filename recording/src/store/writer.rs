use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;

use super::encode::{self, Encoder};
use super::error::StoreError;
use super::files::{self, Access, Lock};
use super::manifest::{FORMAT, Manifest, SegmentInfo};
use super::open::OpenWriter;
use super::seal::seal;
use crate::{Exchange, Timestamp};

/// When the open segment is flushed, and when it is sealed and the next begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Rows that may wait for a flush.
    pub flush_rows: usize,
    /// Time that a row may wait for a flush, as told by [`Writer::tick`]. At the most this is lost
    /// by a crash.
    pub flush_after: Duration,
    /// Bytes in memory that a segment may have. Twice as much is held while one is being sealed.
    pub rotate_bytes: usize,
    pub rotate_rows: usize,
    pub rotate_after: Option<Duration>,
    /// Bytes that the directory may have at any moment.
    pub max_bytes: Option<u64>,
}

/// Bytes that may wait for a flush.
const FLUSH_BYTES: usize = 4 << 20;
/// Parts of [`WriterOptions::max_bytes`] that a segment, and what waits for a flush, may have.
const SEGMENTS_AT_MOST: u64 = 8;
/// On disk beside the rows: two manifests, the frame of a batch, the footer of a segment.
const FRAME: u64 = 64 << 10;
/// Bytes that one row may have.
const MAX_ROW: usize = 256 << 20;

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions {
            flush_rows: 8_192,
            flush_after: Duration::from_millis(250),
            rotate_bytes: 32 << 20,
            rotate_rows: 1 << 20,
            rotate_after: None,
            max_bytes: None,
        }
    }
}

/// Writes a recording or a run, with bounded memory. Dropped without [`Writer::finish`] it leaves
/// what a crash would: everything up to the last flush.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    manifest: Manifest,
    options: WriterOptions,
    /// Number of the open segment.
    number: u32,
    open: OpenWriter,
    waiting: Encoder,
    /// What the open segment has on disk.
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// The latest `started_at` of all rows, and as it was when the open segment was begun.
    latest: Timestamp,
    horizon: Timestamp,
    flushed_at: Option<Instant>,
    rotated_at: Option<Instant>,
    sealing: Option<JoinHandle<Result<SegmentInfo, StoreError>>>,
    /// On disk: sealed segments, and the open form of the one that is being sealed.
    sealed_bytes: u64,
    sealing_bytes: u64,
    failed: bool,
    /// The directory's, which tells others that a writer is at work; also held by what seals. `None`
    /// where the file system has no locks.
    lock: Option<Arc<Lock>>,
}

impl Writer {
    /// Makes the directory `dir`, which may exist if it is empty.
    pub fn create(
        dir: &Path,
        manifest: Manifest,
        options: WriterOptions,
    ) -> Result<Writer, StoreError> {
        files::create_directory(dir)?;
        let lock = match files::lock(dir, Access::Alone) {
            Err(error @ StoreError::InUse(_)) => return Err(error),
            lock => lock.ok().map(Arc::new),
        };
        let manifest = Manifest {
            format: FORMAT,
            complete: false,
            segments: Vec::new(),
            ..manifest
        };
        write_manifest(dir, &manifest)?;
        Ok(Writer {
            open: OpenWriter::create(dir, 0)?,
            dir: dir.to_owned(),
            manifest,
            options,
            number: 0,
            waiting: Encoder::default(),
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            latest: Timestamp(i64::MIN),
            horizon: Timestamp(i64::MIN),
            flushed_at: None,
            rotated_at: None,
            sealing: None,
            sealed_bytes: 0,
            sealing_bytes: 0,
            failed: false,
            lock,
        })
    }

    /// Rows come in any order, best in about that of time. After an error every later call fails,
    /// but for [`StoreError::RowTooLarge`] and [`StoreError::OverLimit`]: these rows are not taken.
    pub fn push(&mut self, row: Exchange) -> Result<(), StoreError> {
        self.check()?;
        let bytes = encode::size(&row);
        if bytes > MAX_ROW {
            return Err(StoreError::RowTooLarge {
                session: row.session,
                seq: row.seq,
                bytes,
                limit: MAX_ROW,
            });
        }
        if let Some(limit) = self.options.max_bytes
            && self.peak_with(bytes) > limit
        {
            return Err(StoreError::OverLimit {
                path: self.dir.clone(),
                limit,
            });
        }
        self.waiting.push(&row);
        self.latest = self.latest.max(row.started_at);
        let rotate_bytes = self.rotate_bytes();
        let flush_bytes = FLUSH_BYTES.min(rotate_bytes);
        if self.waiting.rows() >= self.options.flush_rows || self.waiting.bytes() >= flush_bytes {
            self.flush()?;
            if self.bytes >= rotate_bytes || self.rows >= self.options.rotate_rows {
                self.rotate()?;
            }
        }
        Ok(())
    }

    /// Flushes and rotates where it is time to. To be called several times a second, also when
    /// nothing is pushed.
    pub fn tick(&mut self, now: Instant) -> Result<(), StoreError> {
        self.check()?;
        let waited = |since| now.saturating_duration_since(since);
        if self
            .flushed_at
            .is_none_or(|since| waited(since) >= self.options.flush_after)
        {
            self.flushed_at = Some(now);
            self.flush()?;
        }
        let rotated_at = *self.rotated_at.get_or_insert(now);
        if let Some(after) = self.options.rotate_after
            && waited(rotated_at) >= after
        {
            self.rotated_at = Some(now);
            self.flush()?;
            self.rotate()?;
        }
        if self.sealing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.sealed()?;
        }
        Ok(())
    }

    /// What is changed here is on disk after the next rotation, or at the end.
    pub fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Seals what is open and marks the recording complete.
    pub fn finish(self) -> Result<Manifest, StoreError> {
        self.end(true)
    }

    /// Seals what is open. The recording stays incomplete: what it is of was cut short.
    pub fn finish_incomplete(self) -> Result<Manifest, StoreError> {
        self.end(false)
    }

    fn end(mut self, complete: bool) -> Result<Manifest, StoreError> {
        self.check()?;
        self.flush()?;
        self.sealed()?;
        if !self.batches.is_empty() {
            let info = seal(&self.dir, self.number, &self.batches, self.horizon)?;
            self.manifest.segments.push(info);
        }
        self.manifest.complete = complete;
        write_manifest(&self.dir, &self.manifest)?;
        files::remove(self.open.path())?;
        Ok(self.manifest)
    }

    fn rotate_bytes(&self) -> usize {
        let part = self.options.max_bytes.map(|max| max / SEGMENTS_AT_MOST);
        let part = part.and_then(|part| usize::try_from(part).ok());
        self.options.rotate_bytes.min(part.unwrap_or(usize::MAX))
    }

    /// What the directory has at the most, until a row of `bytes` is sealed: what is not sealed yet is
    /// there in both forms for a moment.
    fn peak_with(&self, bytes: usize) -> u64 {
        let waiting = (self.waiting.bytes() + bytes) as u64;
        let unsealed = self.sealing_bytes + self.open.written() + waiting;
        self.sealed_bytes + 2 * unsealed + FRAME
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed(self.dir.clone()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.waiting.rows() == 0 {
            return Ok(());
        }
        self.failed = true;
        self.rows += self.waiting.rows();
        let batch = self
            .waiting
            .finish()
            .map_err(StoreError::encode(self.open.path()))?;
        self.open.write(&batch)?;
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        self.failed = false;
        Ok(())
    }

    /// Begins the next segment and seals this one beside it. Waits while the one before is still
    /// being sealed, so that no more than two are in memory.
    fn rotate(&mut self) -> Result<(), StoreError> {
        if self.batches.is_empty() {
            return Ok(());
        }
        self.sealed()?;
        self.failed = true;
        let number = self.number;
        self.number += 1;
        self.sealing_bytes = self.open.written();
        self.open = OpenWriter::create(&self.dir, self.number)?;
        let batches = std::mem::take(&mut self.batches);
        let (dir, horizon, lock) = (self.dir.clone(), self.horizon, self.lock.clone());
        let sealing = thread::Builder::new()
            .name("seal".to_owned())
            .spawn(move || {
                let _lock = lock;
                seal(&dir, number, &batches, horizon)
            })
            .map_err(StoreError::io("start a thread to seal", &self.dir))?;
        self.sealing = Some(sealing);
        self.rows = 0;
        self.bytes = 0;
        self.horizon = self.latest;
        self.failed = false;
        Ok(())
    }

    /// Waits for the segment that is being sealed, names it in the manifest, and only then removes
    /// its open form.
    fn sealed(&mut self) -> Result<(), StoreError> {
        let Some(sealing) = self.sealing.take() else {
            return Ok(());
        };
        self.failed = true;
        let info = sealing
            .join()
            .map_err(|_| StoreError::Failed(self.dir.clone()))??;
        self.sealed_bytes += info.bytes;
        self.sealing_bytes = 0;
        self.manifest.segments.push(info);
        write_manifest(&self.dir, &self.manifest)?;
        files::remove(&self.dir.join(files::open_name(self.number - 1)))?;
        self.failed = false;
        Ok(())
    }
}

pub fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(StoreError::encode(&dir.join(files::MANIFEST)))?;
    files::write_bytes(dir, files::MANIFEST, &json)
}
