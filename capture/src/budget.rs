//! What a capture may hold in memory, divided among those that hold it.

use recording::WriterOptions;

use crate::pipeline::MESSAGES;
use crate::splitter::SEGMENTS_SIZE;

/// Beyond it only connections take more.
const ENOUGH: usize = 256 << 20;

/// Nothing gains from larger requests than this.
const LARGEST_REQUEST: usize = 16 << 20;

/// A division of bytes:
///
/// ```text
///  1/16      segments between a reader and the workers
///  3/16      rows between the workers and the writer
///  6/16      recorded rows, until they are sealed
///  2/16      the program itself, and what sealing takes
///  the rest  connections: their segments that wait, and their decoders
/// ```
///
/// Of more than 256 MiB only the last part is more, and the second as far as that lets a request be
/// kept that was cut before. The kernel's buffer is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    workers: usize,
    segments: usize,
    rows: usize,
    recorded: usize,
    overhead: usize,
    /// For all workers together.
    pub connections: usize,
}

impl Budget {
    /// Below it a capture is of little use.
    pub const LEAST: usize = 64 << 20;

    pub fn of(memory: usize, workers: usize) -> Budget {
        let part = memory.min(ENOUGH) / 16;
        let (segments, recorded, overhead) = (part, 6 * part, 2 * part);
        let rows = (memory / 16 * 3).min(LARGEST_REQUEST / 3 * 4 * places(workers));
        Budget {
            workers,
            segments,
            rows,
            recorded,
            overhead,
            connections: memory.saturating_sub(segments + rows + recorded + overhead),
        }
    }

    /// Batches of segments that may wait for each worker.
    pub fn waiting_segments(&self) -> usize {
        (self.segments / SEGMENTS_SIZE / self.workers).max(1)
    }

    /// Bytes of the largest request together with what is kept of its response's body.
    pub fn largest_row(&self) -> usize {
        self.batch() / 4 * 3
    }

    /// Bytes of rows that are collected before they are written: with the largest row on top, and
    /// with room that doubled until then, they are a batch.
    pub fn flush_bytes(&self) -> usize {
        (self.batch() / 4).min(WriterOptions::default().flush_bytes)
    }

    fn batch(&self) -> usize {
        self.rows / places(self.workers)
    }

    /// Bytes that a segment may have.
    pub fn largest_segment(&self) -> usize {
        self.recorded / WriterOptions::SEGMENTS_HELD
    }
}

/// Where a batch of rows can stand: where a worker collects it, in the channel, and where it is written.
fn places(workers: usize) -> usize {
    workers + MESSAGES + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_given_out_once() {
        for memory in [Budget::LEAST, 100 << 20, ENOUGH, 1 << 30, 64 << 30] {
            for workers in 1..=4 {
                let budget = Budget::of(memory, workers);
                let sum = budget.segments
                    + budget.rows
                    + budget.recorded
                    + budget.overhead
                    + budget.connections;
                assert_eq!(sum, memory);
                assert!(budget.connections >= memory / 4, "{budget:?}");
                let segments = budget.waiting_segments() * workers * SEGMENTS_SIZE;
                assert!(segments <= budget.segments, "{budget:?}");
                let (flush, row) = (budget.flush_bytes(), budget.largest_row());
                let batch = (4 * flush).max(flush + row);
                assert!(
                    batch * (workers + MESSAGES + 1) <= budget.rows,
                    "{budget:?}"
                );
                let recorded = budget.largest_segment() * WriterOptions::SEGMENTS_HELD;
                assert!(recorded <= budget.recorded, "{budget:?}");
            }
        }
    }

    #[test]
    fn the_usual_memory_is_enough_for_the_usual_sizes() {
        let budget = Budget::of(ENOUGH, 1);
        assert_eq!(budget.largest_segment(), 32 << 20);
        assert_eq!(budget.connections, 64 << 20);
        assert_eq!(budget.largest_row(), 9 << 20);
        assert_eq!(budget.flush_bytes(), 1 << 20);
        let budget = Budget::of(1 << 30, 1);
        assert!((LARGEST_REQUEST - 4..=LARGEST_REQUEST).contains(&budget.largest_row()));
        assert_eq!(budget.flush_bytes(), WriterOptions::default().flush_bytes);
    }
}
