//! IP fragments to datagrams, under caps.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use recording::Timestamp;

/// Datagrams that wait at once.
const MAX_DATAGRAMS: usize = 1024;
/// Pieces of one datagram.
const MAX_PIECES: usize = 128;
const MAX_DATAGRAM: usize = 65_535;
/// How long the first fragment waits for the last (RFC 791 says 15 s at least).
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct FragmentHead {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub protocol: u8,
    pub id: u32,
    pub network: u64,
    pub tunnels: u8,
    pub offset: u16,
    pub more: bool,
}

type Key = ([u8; 16], [u8; 16], u8, u32, u64);

#[derive(Debug)]
struct Datagram {
    first_at: Timestamp,
    packets: u32,
    /// Sorted, disjoint.
    pieces: Vec<(usize, Vec<u8>)>,
    len: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Fragments {
    waiting: HashMap<Key, Datagram>,
    /// In order of `first_at`; some are done already.
    order: VecDeque<(Timestamp, Key)>,
    incomplete: u64,
}

impl Fragments {
    /// Returns the datagram's payload and the number of frames that it came in, once whole. The
    /// first copy of a byte wins.
    pub fn insert(
        &mut self,
        head: &FragmentHead,
        payload: &[u8],
        packets: u32,
        at: Timestamp,
    ) -> Option<(Vec<u8>, u32)> {
        self.expire(at);
        let key = (
            head.source,
            head.destination,
            head.protocol,
            head.id,
            head.network,
        );
        if !self.waiting.contains_key(&key) {
            self.order.push_back((at, key));
        }
        let datagram = self.waiting.entry(key).or_insert_with(|| Datagram {
            first_at: at,
            packets: 0,
            pieces: Vec::new(),
            len: None,
        });
        datagram.packets += packets;
        let start = usize::from(head.offset);
        let end = start + payload.len();
        if end > MAX_DATAGRAM || datagram.pieces.len() >= MAX_PIECES {
            self.give_up(&key);
            return None;
        }
        if !head.more {
            datagram.len.get_or_insert(end);
        }
        datagram.add(start, payload);
        if !datagram.whole() {
            return None;
        }
        let datagram = self.waiting.remove(&key)?;
        let len = datagram.len.unwrap_or(0);
        let mut whole: Vec<u8> = Vec::with_capacity(len);
        for (_, piece) in &datagram.pieces {
            whole.extend_from_slice(piece);
        }
        whole.truncate(len);
        Some((whole, datagram.packets))
    }

    pub fn take_incomplete(&mut self) -> u64 {
        std::mem::take(&mut self.incomplete)
    }

    pub fn finish(&mut self) -> u64 {
        while let Some((_, key)) = self.order.pop_front() {
            self.give_up(&key);
        }
        self.take_incomplete()
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.order.front().copied() {
            if self.order.len() < MAX_DATAGRAMS && now - at < PATIENCE {
                break;
            }
            self.order.pop_front();
            if self.waiting.get(&key).is_some_and(|it| it.first_at == at) {
                self.give_up(&key);
            }
        }
    }

    fn give_up(&mut self, key: &Key) {
        if let Some(datagram) = self.waiting.remove(key) {
            self.incomplete += u64::from(datagram.packets);
        }
    }
}

impl Datagram {
    fn add(&mut self, start: usize, payload: &[u8]) {
        let mut at = start;
        let end = start + payload.len();
        let mut index = self.pieces.partition_point(|(s, p)| s + p.len() <= at);
        while at < end {
            let (held_start, held_end) = self
                .pieces
                .get(index)
                .map_or((end, end), |(s, p)| (*s, s + p.len()));
            let hole_end = held_start.min(end);
            if at < hole_end {
                let piece = payload.get(at - start..hole_end - start);
                self.pieces
                    .insert(index, (at, piece.unwrap_or_default().to_vec()));
                index += 1;
            }
            at = held_end.max(hole_end);
            index += 1;
        }
    }

    fn whole(&self) -> bool {
        let Some(len) = self.len else { return false };
        let mut next = 0;
        for (start, piece) in &self.pieces {
            if *start > next {
                return false;
            }
            next = start + piece.len();
        }
        next >= len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(offset: u16, more: bool) -> FragmentHead {
        FragmentHead {
            source: [1; 16],
            destination: [2; 16],
            protocol: 6,
            id: 7,
            network: 0,
            tunnels: 0,
            offset,
            more,
        }
    }

    #[test]
    fn any_order_makes_the_whole_and_the_first_copy_wins() {
        let mut fragments = Fragments::default();
        let at = Timestamp(0);
        assert_eq!(fragments.insert(&head(16, false), b"tail", 1, at), None);
        assert_eq!(fragments.insert(&head(8, true), b"bbbbbbbb", 1, at), None);
        assert_eq!(fragments.insert(&head(8, true), b"XXXXXXXX", 1, at), None);
        assert_eq!(
            fragments.insert(&head(0, true), b"aaaaaaaa", 1, at),
            Some((b"aaaaaaaabbbbbbbbtail".to_vec(), 4))
        );
        assert_eq!(fragments.finish(), 0);
    }

    #[test]
    fn what_never_completes_is_counted() {
        let mut fragments = Fragments::default();
        fragments.insert(&head(0, true), b"aaaaaaaa", 1, Timestamp(0));
        let mut other = head(0, true);
        other.id = 8;
        let late = Timestamp(0) + PATIENCE;
        fragments.insert(&other, b"aaaaaaaa", 1, late);
        assert_eq!(fragments.take_incomplete(), 1);
        assert_eq!(fragments.finish(), 1);
        assert_eq!(fragments.take_incomplete(), 0);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut fragments = Fragments::default();
        for id in 0..5000 {
            let mut one = head(0, true);
            one.id = id;
            fragments.insert(&one, b"aaaaaaaa", 1, Timestamp(0));
        }
        assert!(fragments.waiting.len() <= MAX_DATAGRAMS);
        assert_eq!(
            fragments.take_incomplete() as usize + fragments.waiting.len(),
            5000
        );
    }
}
