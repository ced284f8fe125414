use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use xxhash_rust::xxh3::xxh3_64;

use super::batch::{self, Batch};
use super::error::StoreError;
use super::files::{self, Access, Lock};
use super::leisure::Leisure;
use super::manifest::{FORMAT, Manifest, SegmentInfo};
use super::open::{Columns, OpenSegment, OpenWriter};
use super::priority;
use super::seal::seal;
use crate::{Exchange, Timestamp};

/// When the open segment is flushed, and when it is sealed and the next begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Rows that may wait for a flush, and their bytes.
    pub flush_rows: usize,
    pub flush_bytes: usize,
    /// Time that a row may wait for a flush, as told by [`Writer::tick`]. At the most this is lost
    /// by a crash.
    pub flush_after: Duration,
    /// Bytes that a segment may have before it is sealed, of [`WriterOptions::SEGMENTS_HELD`].
    pub rotate_bytes: usize,
    pub rotate_rows: usize,
    pub rotate_after: Option<Duration>,
    /// Seal when nobody else needs the processor. Up to 256 segments then wait for it, on disk.
    pub leisurely: bool,
    /// Beside the server that is watched, and for as long as it goes on: what waits leaves the page cache
    /// to it, and is sealed in what little time there is. Otherwise sealing waits for as long as the
    /// process has no processor to spare.
    pub beside_server: bool,
    /// Bytes that the directory may have at any moment.
    pub max_bytes: Option<u64>,
}

/// Parts of [`WriterOptions::max_bytes`] that a segment, and what waits for a flush, may have.
const SEGMENTS_AT_MOST: u64 = 8;
/// Rows that are not worth a batch on disk.
const FEW_ROWS: usize = 512;
/// Segments that may wait to be sealed.
const MAX_UNSEALED: usize = 256;
/// The latest of them, which are still on their way from the page cache to the disk.
const LEAVING: usize = 3;
/// On disk beside the rows: two manifests, the frame of a batch, the footer of a segment.
const FRAME: u64 = 64 << 10;
/// Of a segment in a manifest.
const LISTED: u64 = 320;
/// How old the manifest on disk may be, while something changes; more where it is so long that it would
/// be more bytes a second than these.
const MANIFEST_AFTER: Duration = Duration::from_secs(2);
const MANIFEST_RATE: u64 = 256 << 10;

impl Default for WriterOptions {
    fn default() -> WriterOptions {
        WriterOptions {
            flush_rows: 8_192,
            flush_bytes: 1 << 20,
            flush_after: Duration::from_millis(250),
            rotate_bytes: 16 << 20,
            rotate_rows: 1 << 20,
            rotate_after: None,
            leisurely: false,
            beside_server: false,
            max_bytes: None,
        }
    }
}

impl WriterOptions {
    /// How often a segment's bytes may be held in memory: of the open one, of the one that is being
    /// sealed, and of one that is sealed at once where sealing lags behind.
    pub const SEGMENTS_HELD: usize = 3;

    fn segment_bytes(&self) -> usize {
        let part = self.max_bytes.map(|max| max / SEGMENTS_AT_MOST);
        let part = part.and_then(|part| usize::try_from(part).ok());
        self.rotate_bytes.min(part.unwrap_or(usize::MAX))
    }

    pub(super) fn batch_bytes(&self) -> usize {
        self.flush_bytes.min(self.segment_bytes())
    }

    /// Where the directory has a limit, there is no room to wait.
    fn max_unsealed(&self) -> usize {
        match self.max_bytes {
            None if self.leisurely => MAX_UNSEALED,
            _ => 0,
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
    waiting: Batch,
    /// What the open segment has.
    batches: Vec<RecordBatch>,
    rows: usize,
    /// The latest `started_at` of all rows, and as it was when the open segment was begun.
    latest: Timestamp,
    horizon: Timestamp,
    flushed_at: Option<Instant>,
    rotated_at: Option<Instant>,
    /// Segments that are full, the oldest first.
    unsealed: VecDeque<Unsealed>,
    sealing: Option<Sealing>,
    leisure: Leisure,
    description: Description,
    /// On disk, of sealed segments.
    sealed_bytes: u64,
    failed: bool,
    /// The directory's, which tells others that a writer is at work; also held by what seals. `None`
    /// where the file system has no locks.
    lock: Option<Arc<Lock>>,
}

/// A segment that is written in its open form.
#[derive(Debug)]
struct Unsealed {
    number: u32,
    /// On disk.
    bytes: u64,
    horizon: Timestamp,
    rows: usize,
    /// Empty where it is to be read again.
    batches: Vec<RecordBatch>,
}

/// A segment that is being sealed.
#[derive(Debug)]
struct Sealing {
    number: u32,
    /// On disk.
    bytes: u64,
    thread: JoinHandle<Result<SegmentInfo, StoreError>>,
}

/// The manifest on disk, while at work: when it was last looked at, its length and its hash.
#[derive(Debug, Default)]
struct Description {
    at: Option<Instant>,
    bytes: u64,
    hash: u64,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Unsealed {
    fn seal(mut self, dir: &Path) -> Result<SegmentInfo, StoreError> {
        if self.batches.is_empty() {
            let path = dir.join(files::open_name(self.number));
            self.batches = OpenSegment::read_all(&path)?.1;
            let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
            if rows != self.rows {
                return Err(StoreError::Damaged {
                    path,
                    offset: None,
                    reason: format!("{rows} of the {} rows written can be read", self.rows),
                });
            }
        }
        seal(dir, self.number, &self.batches, self.horizon)
    }
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
            open: OpenWriter::create(dir, 0, Columns::default())?,
            dir: dir.to_owned(),
            manifest,
            options,
            number: 0,
            waiting: Batch::new(&options),
            batches: Vec::new(),
            rows: 0,
            latest: Timestamp(i64::MIN),
            horizon: Timestamp(i64::MIN),
            flushed_at: None,
            rotated_at: None,
            unsealed: VecDeque::new(),
            sealing: None,
            leisure: Leisure::default(),
            description: Description::default(),
            sealed_bytes: 0,
            failed: false,
            lock,
        })
    }

    /// Takes a row, to be written with others. After an error every later call fails, but for
    /// [`StoreError::RowTooLarge`] and [`StoreError::OverLimit`]: these rows are not taken.
    pub fn push(&mut self, row: &Exchange) -> Result<(), StoreError> {
        self.check()?;
        self.check_room(self.waiting.bytes() + batch::size(row))?;
        self.waiting.push(row)?;
        if self.waiting.is_full() {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes rows; where they are few they are written with others, for a batch on disk has some KiB
    /// beside its rows. Fails as [`Writer::push`] does, and may have taken some of them then.
    pub fn gather(&mut self, batch: Batch) -> Result<(), StoreError> {
        if batch.rows() >= FEW_ROWS {
            // What came before is never written after it.
            self.flush()?;
            return self.write(batch);
        }
        let rows = batch
            .into_rows()
            .map_err(StoreError::encode(self.open.path()))?;
        rows.iter().try_for_each(|row| self.push(row))
    }

    /// Writes rows at once. Fails as [`Writer::push`] does.
    pub fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.check()?;
        if batch.rows() == 0 {
            return Ok(());
        }
        self.check_room(batch.bytes())?;
        self.failed = true;
        let latest = batch.latest();
        let batch = batch
            .finish()
            .map_err(StoreError::encode(self.open.path()))?;
        if !self.open.takes(&batch) {
            self.rotate()?;
        }
        self.failed = true;
        self.rows += batch.num_rows();
        self.latest = self.latest.max(latest);
        self.open.write(&batch)?;
        self.batches.push(batch);
        self.failed = false;
        let full = self.open.written() >= self.options.segment_bytes() as u64;
        if full || self.rows >= self.options.rotate_rows {
            self.rotate()?;
        }
        Ok(())
    }

    /// Flushes, rotates and writes the manifest where it is time to. To be called several times a
    /// second, also when nothing is pushed.
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
        self.leisure.look(now);
        let finished = |it: &Sealing| it.thread.is_finished();
        if self.sealing.as_ref().is_some_and(finished) {
            self.sealed()?;
        }
        self.seal_next()?;
        self.describe(now)
    }

    /// What is changed here is on disk some seconds later, or at the end.
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
        self.described()?;
        while !self.unsealed.is_empty() {
            self.seal_oldest()?;
        }
        if self.rows > 0 {
            let info = self.take_open().seal(&self.dir)?;
            self.list(info);
        }
        self.manifest.complete = complete;
        write_manifest(&self.dir, &self.manifest)?;
        files::remove(self.open.path())?;
        Ok(self.manifest)
    }

    /// The open segment, which is written no further.
    fn take_open(&mut self) -> Unsealed {
        Unsealed {
            number: self.number,
            bytes: self.open.written(),
            horizon: self.horizon,
            rows: self.rows,
            batches: std::mem::take(&mut self.batches),
        }
    }

    /// What the directory has at the most, until rows of `bytes` are sealed: what is not sealed yet is
    /// there in both forms for a moment.
    fn peak_with(&self, bytes: usize) -> u64 {
        let sealing = self.sealing.iter().map(|it| it.bytes);
        let waiting = self.unsealed.iter().map(|segment| segment.bytes);
        let unsealed = sealing.chain(waiting).sum::<u64>() + self.open.written() + bytes as u64;
        let manifests = 2 * LISTED * self.manifest.segments.len() as u64;
        self.sealed_bytes + 2 * unsealed + manifests + FRAME
    }

    fn check_room(&self, bytes: usize) -> Result<(), StoreError> {
        match self.options.max_bytes {
            Some(limit) if self.peak_with(bytes) > limit => Err(StoreError::OverLimit {
                path: self.dir.clone(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed(self.dir.clone()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let batch = self.waiting.take();
        self.write(batch)
    }

    /// Begins the next segment and leaves this one to be sealed beside it.
    fn rotate(&mut self) -> Result<(), StoreError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.failed = true;
        let mut full = self.take_open();
        if self.options.leisurely && !self.may_seal() {
            full.batches = Vec::new();
        }
        self.unsealed.push_back(full);
        self.number += 1;
        self.open = OpenWriter::create(&self.dir, self.number, self.open.columns())?;
        self.rows = 0;
        self.horizon = self.latest;
        self.failed = false;
        if !self.options.leisurely {
            self.sealed()?;
        }
        self.seal_next()?;
        // What seals at leisure may never get the processor.
        while self.unsealed.len() > self.options.max_unsealed() {
            self.seal_oldest()?;
        }
        if self.options.beside_server {
            self.leave_cache();
        }
        Ok(())
    }

    /// Each segment is asked several times: first it is written to the disk, and then it can leave.
    fn leave_cache(&self) {
        for segment in self.unsealed.iter().rev().take(LEAVING) {
            files::leave_cache(&self.dir.join(files::open_name(segment.number)));
        }
    }

    /// Full segments that wait to be sealed, which [`Writer::finish`] does.
    pub fn unsealed(&self) -> usize {
        self.unsealed.len()
    }

    /// Seals the first of them, at once.
    pub fn seal_oldest(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if let Some(segment) = self.unsealed.pop_front() {
            self.failed = true;
            let number = segment.number;
            let info = segment.seal(&self.dir)?;
            self.enter(number, info)?;
            self.failed = false;
        }
        Ok(())
    }

    /// May another thread begin to seal?
    fn may_seal(&self) -> bool {
        let may_wait = self.options.max_unsealed() > 0 && !self.options.beside_server;
        self.sealing.is_none() && !(may_wait && self.leisure.is_busy())
    }

    #[cfg(test)]
    pub(super) fn pretend_busy(&mut self, busy: bool) {
        self.leisure.pretend(busy);
    }

    /// Has the oldest segment sealed, where it may be.
    fn seal_next(&mut self) -> Result<(), StoreError> {
        if !self.may_seal() {
            return Ok(());
        }
        let Some(segment) = self.unsealed.pop_front() else {
            return Ok(());
        };
        self.failed = true;
        let (number, bytes) = (segment.number, segment.bytes);
        let (dir, lock) = (self.dir.clone(), self.lock.clone());
        let leisurely = self.options.leisurely;
        let thread = thread::Builder::new()
            .name("seal".to_owned())
            .spawn(move || {
                let _lock = lock;
                if leisurely {
                    priority::lowest();
                }
                segment.seal(&dir)
            })
            .map_err(StoreError::io("start a thread to seal", &self.dir))?;
        self.sealing = Some(Sealing {
            number,
            bytes,
            thread,
        });
        self.failed = false;
        Ok(())
    }

    /// Waits for the segment that is being sealed.
    fn sealed(&mut self) -> Result<(), StoreError> {
        let Some(sealing) = self.sealing.take() else {
            return Ok(());
        };
        self.failed = true;
        let info = sealing
            .thread
            .join()
            .map_err(|_| StoreError::Failed(self.dir.clone()))??;
        self.enter(sealing.number, info)?;
        self.failed = false;
        Ok(())
    }

    /// Writes the manifest where it has changed. A thread does that: the disk may let it wait for long.
    fn describe(&mut self, now: Instant) -> Result<(), StoreError> {
        let description = &mut self.description;
        let since = *description.at.get_or_insert(now);
        let patience = Duration::from_secs(description.bytes / MANIFEST_RATE).max(MANIFEST_AFTER);
        if now.saturating_duration_since(since) < patience {
            return Ok(());
        }
        description.at = Some(now);
        if matches!(&description.thread, Some(thread) if !thread.is_finished()) {
            return Ok(());
        }
        self.described()?;
        self.failed = true;
        let json = to_json(&self.dir, &self.manifest)?;
        let hash = xxh3_64(&json);
        if hash != self.description.hash {
            self.description.hash = hash;
            self.description.bytes = json.len() as u64;
            let (dir, lock) = (self.dir.clone(), self.lock.clone());
            let thread = thread::Builder::new()
                .name("manifest".to_owned())
                .spawn(move || {
                    let _lock = lock;
                    files::write_bytes(&dir, files::MANIFEST, &json)
                })
                .map_err(StoreError::io("start a thread to write", &self.dir))?;
            self.description.thread = Some(thread);
        }
        self.failed = false;
        Ok(())
    }

    /// Waits for the manifest that is being written.
    fn described(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.description.thread.take() else {
            return Ok(());
        };
        self.failed = true;
        thread
            .join()
            .map_err(|_| StoreError::Failed(self.dir.clone()))??;
        self.failed = false;
        Ok(())
    }

    /// Lists a sealed segment and removes its open form.
    fn enter(&mut self, number: u32, info: SegmentInfo) -> Result<(), StoreError> {
        self.list(info);
        files::remove(&self.dir.join(files::open_name(number)))
    }

    fn list(&mut self, info: SegmentInfo) {
        self.sealed_bytes += info.bytes;
        let segments = &mut self.manifest.segments;
        let place = segments
            .partition_point(|it| (it.file.len(), &it.file) < (info.file.len(), &info.file));
        segments.insert(place, info);
    }
}

pub fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    files::write_bytes(dir, files::MANIFEST, &to_json(dir, manifest)?)
}

fn to_json(dir: &Path, manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
    let path = dir.join(files::MANIFEST);
    manifest.to_file().map_err(StoreError::encode(&path))
}
