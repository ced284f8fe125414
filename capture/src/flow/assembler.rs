//! One direction of a TCP connection: segments in any order to bytes in theirs.

use std::collections::VecDeque;

use recording::Timestamp;

/// Bytes and segments that one direction holds while it waits for what comes before them.
const MAX_HELD_BYTES: usize = 4 << 20;
const MAX_HELD_SEGMENTS: usize = 4096;
/// Delivered bytes that are remembered, to tell a retransmission from other data.
const HISTORY: usize = 256;
/// How far back a sequence number may lie and still be an old one: the largest window that TCP has
/// (RFC 7323, 2.3). Beyond, it is a new one after a loss of gigabytes.
const OLDEST: u32 = 1 << 30;

/// A segment that waits, or the part of one that is new.
#[derive(Debug)]
pub struct Held {
    pub start: i64,
    pub bytes: Vec<u8>,
    /// Bytes after `bytes` that were on the wire but not captured.
    pub cut: u32,
    /// How much of the other direction its sender had received.
    pub after: i64,
    pub seen_at: Timestamp,
}

impl Held {
    pub fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64 + i64::from(self.cut)
    }
}

/// What became of the captured bytes of a segment that are not new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Bytes that came before, with the same contents as far as is remembered.
    pub retransmitted: u64,
    /// Bytes that came before with other contents: the first copy won.
    pub overlapped: u64,
    /// The byte of a keep-alive probe.
    pub keep_alive: u64,
}

/// Places are offsets in the stream: 0 is the first byte that is expected.
#[derive(Debug)]
pub struct Assembler {
    /// Sequence number of offset 0.
    base: u32,
    /// All bytes before it were delivered, or are known to be lost.
    next: i64,
    /// Sorted, disjoint, nothing before `next`.
    held: VecDeque<Held>,
    held_bytes: usize,
    history: History,
}

impl Assembler {
    /// `seq` is that of the first byte expected.
    pub fn new(seq: u32) -> Assembler {
        Assembler {
            base: seq,
            next: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            history: History::default(),
        }
    }

    pub fn base(&self) -> u32 {
        self.base
    }

    pub fn next(&self) -> i64 {
        self.next
    }

    pub fn is_fresh(&self) -> bool {
        self.next == 0 && self.held.is_empty()
    }

    /// The place of a sequence number, near to `next`.
    pub fn offset(&self, seq: u32) -> i64 {
        let ahead = seq.wrapping_sub(self.base.wrapping_add(self.next as u32));
        let back = ahead.wrapping_neg();
        if back != 0 && back <= OLDEST {
            self.next - i64::from(back)
        } else {
            self.next + i64::from(ahead)
        }
    }

    pub fn front(&self) -> Option<&Held> {
        self.held.front()
    }

    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub fn over_cap(&self) -> bool {
        self.held_bytes > MAX_HELD_BYTES || self.held.len() > MAX_HELD_SEGMENTS
    }

    /// Can a segment be delivered as it comes?
    pub fn expects(&self, start: i64) -> bool {
        start == self.next && self.held.is_empty()
    }

    /// Notes that bytes at `next` are delivered.
    pub fn deliver(&mut self, bytes: &[u8]) {
        self.next += bytes.len() as i64;
        self.history.push(bytes);
    }

    /// Takes the first held segment where it is due.
    pub fn pop(&mut self) -> Option<Held> {
        self.held.front().filter(|held| held.start <= self.next)?;
        let held = self.held.pop_front()?;
        self.held_bytes -= held.bytes.len();
        self.deliver(&held.bytes);
        Some(held)
    }

    /// Gives up what is missing before `offset` and returns how much that is. `offset` must not lie
    /// behind the first held segment.
    pub fn skip_to(&mut self, offset: i64) -> u64 {
        let missing = u64::try_from(offset - self.next).unwrap_or(0);
        if missing > 0 {
            self.next = offset;
            self.history.clear();
        }
        missing
    }

    /// Holds what is new in a segment of `len` bytes, of which `bytes` were captured.
    pub fn insert(
        &mut self,
        start: i64,
        bytes: &[u8],
        len: u32,
        after: i64,
        seen_at: Timestamp,
    ) -> Inserted {
        let mut inserted = Inserted::default();
        if len <= 1 && start == self.next - 1 {
            inserted.keep_alive = bytes.len() as u64;
            return inserted;
        }
        let end = start + i64::from(len);
        let part = |from: i64, to: i64| {
            let from = usize::try_from(from - start).unwrap_or(0).min(bytes.len());
            let to = usize::try_from(to - start).unwrap_or(0).min(bytes.len());
            bytes.get(from..to).unwrap_or_default()
        };
        let old = part(start, self.next.min(end));
        if self.history.differs(self.next - start, old) {
            inserted.overlapped += old.len() as u64;
        } else {
            inserted.retransmitted += old.len() as u64;
        }
        let mut at = start.max(self.next);
        let mut index = self.held.partition_point(|held| held.end() <= at);
        while at < end {
            let (held_start, held_end) = self.held.get(index).map_or((end, end), |held| {
                (held.start.min(end), held.end().min(end))
            });
            if at < held_start {
                let new = part(at, held_start);
                let cut = held_start - at - new.len() as i64;
                self.held_bytes += new.len();
                let piece = Held {
                    start: at,
                    bytes: new.to_vec(),
                    cut: u32::try_from(cut).unwrap_or(0),
                    after,
                    seen_at,
                };
                self.held.insert(index, piece);
                index += 1;
                at = held_start;
            }
            if at < held_end {
                let again = part(at, held_end);
                if self.held.get(index).is_some_and(|it| it.differs(at, again)) {
                    inserted.overlapped += again.len() as u64;
                } else {
                    inserted.retransmitted += again.len() as u64;
                }
                at = held_end;
            }
            index += 1;
        }
        inserted
    }

    /// Forgets what is held, and frees it.
    pub fn clear(&mut self) {
        self.held = VecDeque::new();
        self.held_bytes = 0;
        self.history = History::default();
    }
}

impl Held {
    /// Compares as far as both were captured.
    fn differs(&self, at: i64, bytes: &[u8]) -> bool {
        let skip = usize::try_from(at - self.start).unwrap_or(0);
        let mine = self.bytes.get(skip..).unwrap_or_default();
        mine.iter().zip(bytes).any(|(a, b)| a != b)
    }
}

/// The last bytes that were delivered.
#[derive(Debug, Default)]
struct History {
    ring: Option<Box<[u8; HISTORY]>>,
    /// Where the next byte goes.
    at: usize,
    len: usize,
}

impl History {
    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let ring = self.ring.get_or_insert_with(|| Box::new([0; HISTORY]));
        let kept = bytes.len().min(HISTORY);
        let (_, last) = bytes.split_at(bytes.len() - kept);
        let (head, tail) = last.split_at(kept.min(HISTORY - self.at));
        if let Some(place) = ring.get_mut(self.at..self.at + head.len()) {
            place.copy_from_slice(head);
        }
        if let Some(place) = ring.get_mut(..tail.len()) {
            place.copy_from_slice(tail);
        }
        self.at = (self.at + kept) % HISTORY;
        self.len = (self.len + kept).min(HISTORY);
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    /// Do `bytes`, which begin `back` bytes before the end, differ from what is remembered?
    fn differs(&self, back: i64, bytes: &[u8]) -> bool {
        let (Some(ring), Ok(back)) = (&self.ring, usize::try_from(back)) else {
            return false;
        };
        let unknown = back.saturating_sub(self.len);
        let known = bytes.get(unknown..).unwrap_or_default();
        let start = self.at + HISTORY - (back - unknown);
        known
            .iter()
            .zip(start..)
            .any(|(byte, place)| ring.get(place % HISTORY) != Some(byte))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(0);

    /// Delivers what is due, as the connection does.
    fn drain(assembler: &mut Assembler, out: &mut Vec<u8>) {
        while let Some(held) = assembler.pop() {
            out.extend_from_slice(&held.bytes);
            assembler.skip_to(held.end());
        }
    }

    /// The first copy of each byte, by the simplest means.
    fn oracle(len: usize, segments: &[(usize, Vec<u8>)]) -> Vec<Option<u8>> {
        let mut stream = vec![None; len];
        for (start, bytes) in segments {
            for (place, byte) in stream.iter_mut().skip(*start).zip(bytes) {
                place.get_or_insert(*byte);
            }
        }
        stream
    }

    fn segments() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
        let one = (0..400_usize, prop::collection::vec(any::<u8>(), 0..60));
        prop::collection::vec(one, 0..80)
    }

    proptest! {
        #[test]
        fn first_copy_of_each_byte_in_order(base: u32, segments in segments()) {
            let mut assembler = Assembler::new(base);
            let mut out = Vec::new();
            let (mut seen, mut again) = (0, 0);
            for (start, bytes) in &segments {
                let place = assembler.offset(base.wrapping_add(*start as u32));
                prop_assert_eq!(place, *start as i64);
                let inserted = assembler.insert(place, bytes, bytes.len() as u32, 0, NOW);
                again += inserted.retransmitted + inserted.overlapped + inserted.keep_alive;
                seen += bytes.len() as u64;
                drain(&mut assembler, &mut out);
                prop_assert_eq!(
                    assembler.held_bytes,
                    assembler.held.iter().map(|held| held.bytes.len()).sum::<usize>()
                );
            }
            let stream = oracle(500, &segments);
            // A probe's byte before the start is not a byte of the stream.
            let prefix: Vec<u8> = stream.iter().map_while(|byte| *byte).collect();
            prop_assert_eq!(&out, &prefix);
            // Then the rest, with gaps of exact lengths.
            let mut all: Vec<Option<u8>> = out.iter().copied().map(Some).collect();
            while let Some(start) = assembler.front().map(|held| held.start) {
                let missing = assembler.skip_to(start);
                all.extend(std::iter::repeat_n(None, missing as usize));
                let mut more = Vec::new();
                drain(&mut assembler, &mut more);
                all.extend(more.into_iter().map(Some));
            }
            let len = stream.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
            prop_assert_eq!(all.as_slice(), &stream[..len]);
            let delivered = all.iter().flatten().count() as u64;
            prop_assert_eq!(seen, delivered + again);
        }

        #[test]
        fn history_tells_the_last_bytes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..8),
            back in 1..300_usize,
            flip: bool,
        ) {
            let mut history = History::default();
            let mut all = Vec::new();
            for chunk in &chunks {
                history.push(chunk);
                all.extend_from_slice(chunk);
            }
            let back = back.min(all.len());
            let mut bytes = all[all.len() - back..].to_vec();
            if let (true, Some(last)) = (flip, bytes.last_mut()) {
                *last ^= 1;
            }
            prop_assert_eq!(history.differs(back as i64, &bytes), flip && back > 0);
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut assembler = Assembler::new(u32::MAX - 1);
        assert_eq!(assembler.offset(1), 3);
        assembler.insert(0, b"abcd", 4, 0, NOW);
        let mut out = Vec::new();
        drain(&mut assembler, &mut out);
        assert_eq!(out, b"abcd");
        assert_eq!(assembler.offset(2), 4);
        assert_eq!(assembler.offset(u32::MAX), 1);
    }

    #[test]
    fn a_cut_segment_has_an_exact_gap() {
        let mut assembler = Assembler::new(0);
        assembler.insert(0, b"abc", 10, 0, NOW);
        let held = assembler.pop().unwrap();
        assert_eq!(
            (held.bytes.as_slice(), held.cut, held.end()),
            (&b"abc"[..], 7, 10)
        );
        assert_eq!(assembler.skip_to(held.end()), 7);
    }

    #[test]
    fn other_data_in_an_overlap_is_told() {
        let mut assembler = Assembler::new(0);
        assembler.insert(0, b"abcdef", 6, 0, NOW);
        while assembler.pop().is_some() {}
        let same = assembler.insert(3, b"defgh", 5, 0, NOW);
        assert_eq!((same.retransmitted, same.overlapped), (3, 0));
        let other = assembler.insert(2, b"cXXf", 4, 0, NOW);
        assert_eq!((other.retransmitted, other.overlapped), (0, 4));
        let held = assembler.insert(6, b"GH", 2, 0, NOW);
        assert_eq!((held.retransmitted, held.overlapped), (0, 2));
    }

    #[test]
    fn probes_of_a_keep_alive_are_no_data() {
        let mut assembler = Assembler::new(0);
        assembler.insert(0, b"abc", 3, 0, NOW);
        while assembler.pop().is_some() {}
        let probe = assembler.insert(2, b"\0", 1, 0, NOW);
        assert_eq!(
            probe,
            Inserted {
                keep_alive: 1,
                ..Inserted::default()
            }
        );
    }
}
