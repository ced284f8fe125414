use crossbeam_channel::{Receiver, SendError, Sender};
use recording::{Exchange, Ledger, Timestamp};

use crate::choice::Sample;
use crate::flow::FlowKey;
use crate::packet::{Dissected, Dissector, FRAGMENT_INCOMPLETE, Segment};
use crate::ports::Ports;
use crate::source::Packet;
use crate::worker::{OTHER_PORT, Worker};

/// Of a batch: enough that waking a worker costs little for each.
const BATCH_SEGMENTS: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// Memory of a batch, with the last payload, which may go beyond by a whole --snaplen.
pub const SEGMENTS_SIZE: usize = BATCH_SEGMENTS * size_of::<Entry>() + 2 * BATCH_BYTES;
/// A batch goes on its way when its first packet is that old.
const BATCH_NS: u64 = 100_000_000;

/// Segments for one worker. Their payloads stand in one piece of memory, which is used again.
#[derive(Debug)]
pub struct Segments {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    key: FlowKey,
    segment: Segment,
    at: Timestamp,
    /// Captured bytes of the payload.
    len: usize,
}

impl Default for Segments {
    /// With all the room it may need: what grows doubles, beyond that.
    fn default() -> Segments {
        Segments {
            entries: Vec::with_capacity(BATCH_SEGMENTS),
            bytes: Vec::with_capacity(2 * BATCH_BYTES),
        }
    }
}

impl Segments {
    fn push(&mut self, key: FlowKey, segment: Segment, payload: &[u8], at: Timestamp) {
        self.bytes.extend_from_slice(payload);
        self.entries.push(Entry {
            key,
            segment,
            at,
            len: payload.len(),
        });
    }

    fn due(&self, now: Timestamp) -> bool {
        let first = self.entries.first().map_or(now, |entry| entry.at);
        self.entries.len() >= BATCH_SEGMENTS
            || self.bytes.len() >= BATCH_BYTES
            || now.since(first) >= BATCH_NS
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// Hands the segments to a worker, and at once the rows that come of each to `take`, while they
    /// are in the processor's cache. Empties the batch.
    pub fn work(&mut self, worker: &mut Worker, mut take: impl FnMut(&Exchange)) {
        if let Some(first) = self.entries.first() {
            // What is forgotten by then is no part of what comes now.
            worker.expire(first.at);
        }
        let mut rest = self.bytes.as_slice();
        for entry in &self.entries {
            let (payload, after) = rest.split_at_checked(entry.len).unwrap_or_default();
            rest = after;
            worker.segment(entry.key, &entry.segment, payload, entry.at);
            give(worker.rows(), &mut take);
        }
        self.clear();
    }
}

fn give(rows: &mut Vec<Exchange>, take: &mut impl FnMut(&Exchange)) {
    rows.iter().for_each(take);
    rows.clear();
}

/// A worker's end of the channels, as a reader sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    pub full: Sender<Segments>,
    pub empty: Receiver<Segments>,
}

/// Packets to batches of segments, by the worker that has their flow.
#[derive(Debug)]
pub struct Splitter {
    ports: Ports,
    /// Of the flows' hashes; the same in all readers.
    seed: u64,
    sample: Option<Sample>,
    dissector: Dissector,
    lanes: Vec<(Lane, Segments)>,
    packets: u64,
    last_at: Timestamp,
    ledger: Ledger,
}

impl Splitter {
    pub fn new(ports: Ports, sample: Option<Sample>, seed: u64, lanes: Vec<Lane>) -> Splitter {
        Splitter {
            ports,
            sample,
            seed,
            dissector: Dissector::new(),
            lanes: lanes
                .into_iter()
                .map(|lane| (lane, Segments::default()))
                .collect(),
            packets: 0,
            last_at: Timestamp::default(),
            ledger: Ledger::default(),
        }
    }

    pub fn packet(&mut self, packet: Packet<'_>) {
        self.packets += 1;
        self.last_at = packet.at;
        let dissected =
            self.dissector
                .dissect(packet.link_type, packet.bytes, packet.wire_len, packet.at);
        match dissected {
            Dissected::Segment(segment, payload) => {
                let (from, to) = (segment.source.port, segment.destination.port);
                if self.ports.get(from).is_none() && self.ports.get(to).is_none() {
                    let packets = u64::from(segment.packets);
                    self.ledger.account_mut("packets").lose(OTHER_PORT, packets);
                    return;
                }
                let key = FlowKey::new(&segment, self.seed);
                if self.sample.is_some_and(|it| !it.takes(key.stable_hash())) {
                    let packets = u64::from(segment.packets);
                    leave_out(&mut self.ledger, "sampled out", packets, payload.len());
                    return;
                }
                // The table uses the lower bits.
                let lane = (key.hash() >> 48) as usize % self.lanes.len().max(1);
                let Some((lane, batch)) = self.lanes.get_mut(lane) else {
                    return;
                };
                batch.push(key, segment, payload, packet.at);
                if batch.due(packet.at) {
                    send(lane, batch, &mut self.ledger);
                }
            }
            Dissected::Waiting => {}
            Dissected::Lost { reason, packets } => {
                self.ledger
                    .account_mut("packets")
                    .lose(reason, packets.into());
            }
        }
    }

    /// Sends what there is.
    pub fn flush(&mut self) {
        for (lane, batch) in &mut self.lanes {
            if !batch.entries.is_empty() {
                send(lane, batch, &mut self.ledger);
            }
        }
    }

    /// Waits for the workers, and gives up the fragments that wait.
    pub fn finish(&mut self) {
        self.flush();
        let incomplete = self.dissector.finish();
        self.ledger
            .account_mut("packets")
            .lose(FRAGMENT_INCOMPLETE, incomplete);
    }

    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// What it has seen, and what of that went to no worker. `drops` are packets that were lost
    /// before: by the kernel, and by the interface.
    pub fn ledger(&mut self, drops: (u64, u64)) -> Ledger {
        let incomplete = self.dissector.take_incomplete();
        self.ledger
            .account_mut("packets")
            .lose(FRAGMENT_INCOMPLETE, incomplete);
        let mut ledger = self.ledger.clone();
        let packets = ledger.account_mut("packets");
        packets.seen = self.packets + drops.0 + drops.1;
        packets.lose("kernel drop", drops.0);
        packets.lose("interface drop", drops.1);
        ledger
    }
}

/// Waits where the worker is too slow: what comes meanwhile waits in the kernel's ring, and what has no
/// room there is dropped by the kernel, which costs the least, and counts.
fn send(lane: &Lane, batch: &mut Segments, ledger: &mut Ledger) {
    let empty = lane.empty.try_recv().unwrap_or_default();
    let full = std::mem::replace(batch, empty);
    if let Err(SendError(refused)) = lane.full.send(full) {
        let packets = refused.entries.iter();
        let packets = packets.map(|entry| u64::from(entry.segment.packets)).sum();
        leave_out(ledger, "worker lost", packets, refused.bytes.len());
    }
}

/// Counts what no worker sees.
fn leave_out(ledger: &mut Ledger, reason: &str, packets: u64, payload: usize) {
    ledger.account_mut("packets").lose(reason, packets);
    let bytes = ledger.account_mut("bytes");
    bytes.seen += payload as u64;
    bytes.lose(reason, payload as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Endpoint, Flags};

    #[test]
    fn a_full_batch_is_no_larger_than_it_says() {
        let end = |port| Endpoint {
            address: [7; 16],
            port,
        };
        let segment = Segment {
            source: end(40_000),
            destination: end(5432),
            network: 0,
            seq: 1,
            ack: 1,
            flags: Flags(Flags::ACK),
            payload_len: 0,
            packets: 1,
        };
        let key = FlowKey::new(&segment, 0);
        let at = Timestamp::default();
        let largest = vec![0; 262_144];
        for first in [0, 1, 100, 513, 1448, 9000, 65_535, 262_144] {
            let mut batch = Segments::default();
            let mut len = first;
            while !batch.due(at) {
                batch.push(key, segment, &largest[..len], at);
                // The last may come where there is just no room.
                if batch.bytes.len() + first >= BATCH_BYTES {
                    len = largest.len();
                }
            }
            let held = batch.entries.capacity() * size_of::<Entry>() + batch.bytes.capacity();
            assert!(held <= SEGMENTS_SIZE, "{held} of payloads of {first}");
        }
    }
}
