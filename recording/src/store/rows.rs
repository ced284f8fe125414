use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::damage::Damage;
use super::decode::{Decoder, Measure, Order, Wanted};
use super::error::StoreError;
use super::manifest::SegmentInfo;
use super::open::OpenSegment;
use super::recording::Recording;
use super::sealed::{Sealed, SealedReader};
use super::sort::Sorted;
use crate::{Exchange, Timestamp};

/// The rows of a recording, merged lazily: a block is read when the merge comes to its first row.
///
/// What is damaged is passed over and told by [`Recording::left_out`]. An error is one of the
/// system, say too many open files; the rows that it stood before are then not seen.
#[derive(Debug)]
pub struct Rows {
    sources: Vec<Source>,
    /// The next row of each source, or a bound below it where its block is not read yet.
    next: BinaryHeap<Reverse<(Order, usize)>>,
    left_out: Arc<Mutex<Vec<Damage>>>,
    wanted: Wanted,
}

impl Rows {
    pub(super) fn new(recording: &Recording) -> Rows {
        let sealed = recording.manifest().segments.iter().map(|info| {
            let path = recording.dir().join(&info.file);
            (info.first, Source::new(path, Unread::Sealed(info.clone())))
        });
        let open = recording.open_segments.iter().map(|segment| {
            let unread = Unread::Open(Arc::clone(segment));
            (segment.first, Source::new(segment.path.clone(), unread))
        });
        let mut sources = Vec::new();
        let mut next = BinaryHeap::new();
        for (index, (first, source)) in sealed.chain(open).enumerate() {
            next.push(Reverse((bound(first), index)));
            sources.push(source);
        }
        Rows {
            sources,
            next,
            left_out: Arc::clone(&recording.left_out),
            wanted: Wanted::All,
        }
    }

    /// The rows as they are needed to be asked again: of each response's body nothing, or as many bytes as
    /// `measure` tells, and neither its columns nor its digests.
    pub fn to_ask(self, measure: Option<Measure>) -> Rows {
        Rows {
            wanted: Wanted::ToAsk(measure),
            ..self
        }
    }

    fn leave_out(&self, what: Damage) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        // Rows may be read more than once.
        if !left_out.contains(&what) {
            left_out.push(what);
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Exchange, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut top = self.next.peek_mut()?;
            let Reverse((order, index)) = &mut *top;
            let source = self.sources.get_mut(*index)?;
            if let Some(row) = source.take(order, self.wanted) {
                return Some(Ok(row));
            }
            match source.load(*order, self.wanted) {
                Ok(Some(next)) => *order = next,
                Ok(None) => {
                    PeekMut::pop(top);
                }
                Err(error @ StoreError::Damaged { .. }) => {
                    let damage = error.into_damage(&source.path);
                    drop(top);
                    self.leave_out(damage);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// One segment.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    unread: Option<Unread>,
    feed: Feed,
    batch: Option<(Box<Decoder>, usize)>,
    /// Rows whose values this version does not know.
    unreadable: u64,
}

#[derive(Debug)]
enum Unread {
    Sealed(SegmentInfo),
    Open(Arc<OpenSegment>),
}

#[derive(Debug)]
enum Feed {
    Sealed(SealedReader),
    Open(Sorted),
    Ended,
}

/// What a segment has next.
#[derive(Debug)]
pub enum Step {
    Batch(Box<Decoder>),
    /// Nothing that begins before this.
    Later(Timestamp),
    End,
}

impl Source {
    fn new(path: PathBuf, unread: Unread) -> Source {
        Source {
            path,
            unread: Some(unread),
            feed: Feed::Ended,
            batch: None,
            unreadable: 0,
        }
    }

    /// The next row that is in memory. Moves `order` to the one behind it, or a bound below that.
    fn take(&mut self, order: &mut Order, wanted: Wanted) -> Option<Exchange> {
        let (batch, at) = self.batch.as_mut()?;
        while *at < batch.rows() {
            let row = batch.row(*at, wanted);
            *at += 1;
            *order = batch.order(*at).unwrap_or(*order);
            match row {
                Some(row) => return Some(row),
                None => self.unreadable += 1,
            }
        }
        self.batch = None;
        None
    }

    /// Takes the next step towards the next row, and tells its order or a bound below it. `None` at
    /// the segment's end. After an error it goes on behind what could not be read.
    fn load(&mut self, order: Order, wanted: Wanted) -> Result<Option<Order>, StoreError> {
        if let Some(unread) = self.unread.take() {
            self.feed = match unread {
                Unread::Sealed(info) => {
                    let sealed = Sealed::open(&self.path, Some(&info))?;
                    Feed::Sealed(SealedReader::new(sealed, wanted))
                }
                Unread::Open(segment) => Feed::Open(segment.load()?),
            };
        }
        let step = match &mut self.feed {
            Feed::Sealed(sealed) => sealed.step()?,
            Feed::Open(sorted) => sorted.step().map_err(StoreError::damaged(&self.path))?,
            Feed::Ended => Step::End,
        };
        match step {
            Step::Batch(batch) => {
                let order = batch.order(0).unwrap_or(order);
                self.batch = Some((batch, 0));
                Ok(Some(order))
            }
            Step::Later(first) => Ok(Some(bound(first))),
            Step::End => {
                self.feed = Feed::Ended;
                if self.unreadable == 0 {
                    return Ok(None);
                }
                let reason = format!("{} rows have values not known here", self.unreadable);
                self.unreadable = 0;
                Err(StoreError::damaged(&self.path)(reason))
            }
        }
    }
}

fn bound(first: Timestamp) -> Order {
    (first, 0, 0)
}
