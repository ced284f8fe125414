//! Any segments as those of one connection: each captured byte has one fate, and the streams are
//! as long as what was delivered and what is missing.
#![no_main]

use capture::{Connection, Delivery, Endpoint, Flags, Inserted, Segment, State};
use libfuzzer_sys::fuzz_target;
use protocol::Side;
use recording::Timestamp;

#[derive(Default)]
struct Sum {
    bytes: u64,
    stream: u64,
}

impl Delivery for Sum {
    fn data(&mut self, _: Side, bytes: &[u8], _: Timestamp) {
        self.bytes += bytes.len() as u64;
        self.stream += bytes.len() as u64;
    }

    fn gap(&mut self, _: Side, len: u64, _: bool, _: Timestamp) {
        self.stream += len;
    }

    fn again(&mut self, inserted: Inserted) {
        self.bytes += inserted.retransmitted + inserted.overlapped + inserted.keep_alive;
    }

    fn ignored(&mut self, _: &'static str, bytes: u64) {
        self.bytes += bytes;
    }
}

/// Flags and side, sequence number, acknowledgement, captured length, what was cut, time.
const RECORD: usize = 8;

fuzz_target!(|data: &[u8]| {
    let end = Endpoint { address: [0; 16], port: 0 };
    let mut connection = Connection::default();
    let mut sum = Sum::default();
    let (mut seen, mut now) = (0, 0);
    for record in data.chunks_exact(RECORD) {
        let &[flags, kind, s0, s1, a0, a1, len, later] = record else {
            continue;
        };
        // Near to each other, or far apart.
        let shift = if kind & 2 == 0 { 0 } else { 16 };
        let cut = u32::from(kind >> 4);
        let segment = Segment {
            source: end,
            destination: end,
            network: 0,
            seq: u32::from(u16::from_be_bytes([s0, s1])) << shift,
            ack: u32::from(u16::from_be_bytes([a0, a1])) << shift,
            flags: Flags(flags),
            payload_len: u32::from(len) + cut,
            packets: 1,
        };
        let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
        now += i64::from(later) * 10_000_000;
        seen += u64::from(len);
        let payload = vec![kind; usize::from(len)];
        let state = connection.segment(side, &segment, &payload, Timestamp(now), &mut sum);
        if state != State::Open {
            break;
        }
    }
    connection.flush(Timestamp(now), &mut sum);
    assert_eq!(connection.held(), 0);
    assert_eq!(sum.bytes, seen);
    assert_eq!(sum.stream, connection.span());
});
