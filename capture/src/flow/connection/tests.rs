#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::packet::{Endpoint, Flags};

const BASE: [u32; 2] = [u32::MAX - 50, 7000];

/// A segment as it was sent.
#[derive(Clone, Debug)]
struct Sent {
    side: usize,
    start: usize,
    len: usize,
    /// What its sender had received.
    after: usize,
}

/// What came out: bytes or a gap, of a side, from an offset on.
#[derive(Debug, Default)]
struct Recorder {
    out: Vec<(usize, usize, Option<Vec<u8>>)>,
    next: [usize; 2],
    again: u64,
}

fn number(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

impl Delivery for Recorder {
    fn data(&mut self, from: Side, bytes: &[u8], _: Timestamp) {
        let side = number(from);
        self.out.push((side, self.next[side], Some(bytes.to_vec())));
        self.next[side] += bytes.len();
    }

    fn gap(&mut self, from: Side, len: u64, _: bool, _: Timestamp) {
        let side = number(from);
        self.out.push((side, self.next[side], None));
        self.next[side] += len as usize;
    }

    fn again(&mut self, inserted: Inserted) {
        assert_eq!(inserted.overlapped, 0);
        self.again += inserted.retransmitted + inserted.keep_alive;
    }

    fn ignored(&mut self, _: &'static str, _: u64) {
        unreachable!("nothing was reset")
    }
}

fn byte(side: usize, place: usize) -> u8 {
    (place * 31 + side * 7 + (place >> 8)) as u8
}

/// A conversation as it was sent, cut into segments of some bytes.
fn conversation(turns: &[(usize, usize)]) -> Vec<Sent> {
    let mut next = [0, 0];
    let mut sent = Vec::new();
    for (number, (len, mss)) in turns.iter().enumerate() {
        let side = number % 2;
        let end = next[side] + len;
        while next[side] < end {
            let len = (*mss).min(end - next[side]);
            sent.push(Sent {
                side,
                start: next[side],
                len,
                after: next[1 - side],
            });
            next[side] += len;
        }
    }
    sent
}

fn segment(sent: &Sent) -> (Segment, Vec<u8>) {
    let end = Endpoint {
        address: [0; 16],
        port: 0,
    };
    let segment = Segment {
        source: end,
        destination: end,
        network: 0,
        seq: BASE[sent.side].wrapping_add(sent.start as u32),
        ack: BASE[1 - sent.side].wrapping_add(sent.after as u32),
        flags: Flags(Flags::ACK),
        payload_len: sent.len as u32,
        packets: 1,
    };
    let payload = (sent.start..sent.start + sent.len)
        .map(|at| byte(sent.side, at))
        .collect();
    (segment, payload)
}

/// Two answers are lost, and what was said in between is not: it comes in between.
#[test]
fn a_gap_ends_where_the_other_end_went_on() {
    let mut connection = Connection::default();
    connection.client.begin(BASE[0]);
    connection.server.begin(BASE[1]);
    connection.client.seen = true;
    connection.server.seen = true;
    let mut recorder = Recorder::default();
    for (millis, start, after) in [(0, 0, 0), (10, 10, 50), (20, 20, 90), (110, 30, 90)] {
        let (segment, payload) = segment(&Sent {
            side: 0,
            start,
            len: 10,
            after,
        });
        let at = Timestamp(millis * 1_000_000);
        connection.segment(Side::Client, &segment, &payload, at, &mut recorder);
    }
    let came: Vec<_> = recorder
        .out
        .iter()
        .map(|(side, at, _)| (*side, *at))
        .collect();
    let expected = [(0, 0), (1, 0), (0, 10), (1, 50), (0, 20), (0, 30)];
    assert_eq!(came, expected);
}

proptest! {
    /// Segments that are lost, repeated and out of order: each captured byte comes once and in
    /// its place, gaps are exactly what no segment had, and nothing comes before what its sender
    /// had received.
    #[test]
    fn against_the_conversation_as_it_was(
        turns in prop::collection::vec((1..300_usize, 2..120_usize), 1..20),
        fates in prop::collection::vec((0..10_u8, 0..6_usize), 400),
    ) {
        let sent = conversation(&turns);
        let mut captured: Vec<(usize, Sent)> = Vec::new();
        for (place, (one, (fate, shift))) in sent.iter().zip(&fates).enumerate() {
            let copies = match fate { 0 => 0, 1 => 2, _ => 1 };
            for copy in 0..copies {
                captured.push((place + shift * (1 + copy * 3), one.clone()));
            }
        }
        captured.sort_by_key(|(place, _)| *place);

        let mut connection = Connection::default();
        // The handshake tells where the streams begin.
        connection.client.begin(BASE[0]);
        connection.server.begin(BASE[1]);
        connection.client.seen = true;
        connection.server.seen = true;
        let mut recorder = Recorder::default();
        let mut captured_bytes = 0;
        for (place, (_, sent)) in captured.iter().enumerate() {
            let side = [Side::Client, Side::Server][sent.side];
            let (segment, payload) = segment(sent);
            captured_bytes += payload.len() as u64;
            let at = Timestamp(place as i64 * 1000);
            prop_assert_eq!(
                connection.segment(side, &segment, &payload, at, &mut recorder),
                State::Open
            );
        }
        connection.flush(Timestamp(i64::MAX), &mut recorder);
        prop_assert_eq!(connection.held(), 0);

        let mut delivered_bytes = 0;
        let mut done = [0, 0];
        for (side, start, bytes) in &recorder.out {
            let covered = |place: usize| captured.iter().any(|(_, it)| {
                it.side == *side && (it.start..it.start + it.len).contains(&place)
            });
            prop_assert_eq!(*start, done[*side]);
            match bytes {
                Some(bytes) => {
                    delivered_bytes += bytes.len() as u64;
                    for (place, got) in bytes.iter().enumerate() {
                        prop_assert_eq!(*got, byte(*side, start + place));
                    }
                    let of = sent.iter().find(|it| it.side == *side && it.start == *start);
                    if let Some(of) = of {
                        let cause = of.after <= done[1 - side];
                        prop_assert!(cause, "{of:?} came before its cause: {:?}", recorder.out);
                    }
                    done[*side] += bytes.len();
                }
                None => {
                    let len = recorder
                        .out
                        .iter()
                        .filter(|(s, at, _)| s == side && at > start)
                        .map(|(_, at, _)| *at)
                        .min()
                        .unwrap_or(recorder.next[*side]) - start;
                    for place in *start..start + len {
                        prop_assert!(!covered(place), "a gap over a captured byte");
                    }
                    done[*side] += len;
                }
            }
        }
        prop_assert_eq!(captured_bytes, delivered_bytes + recorder.again);
        prop_assert_eq!(connection.span() as usize, recorder.next[0] + recorder.next[1]);
    }

    /// Whatever the numbers and flags say.
    #[test]
    fn any_segments_balance(
        segments in prop::collection::vec(
            (any::<bool>(), 0..3_u8, any::<u32>(), any::<u32>(), any::<u8>(), 0..40_usize, 0..40_u32, 0..2000_i64),
            0..60,
        ),
    ) {
        #[derive(Default)]
        struct Sum { bytes: u64, stream: u64 }
        impl Delivery for Sum {
            fn data(&mut self, _: Side, bytes: &[u8], _: Timestamp) {
                self.bytes += bytes.len() as u64;
                self.stream += bytes.len() as u64;
            }
            fn gap(&mut self, _: Side, len: u64, _: bool, _: Timestamp) {
                self.stream += len;
            }
            fn again(&mut self, it: Inserted) {
                self.bytes += it.retransmitted + it.overlapped + it.keep_alive;
            }
            fn ignored(&mut self, _: &'static str, bytes: u64) {
                self.bytes += bytes;
            }
        }
        let mut connection = Connection::default();
        let mut sum = Sum::default();
        let (mut seen, mut now) = (0, 0);
        for (client, near, seq, ack, flags, captured, cut, later) in segments {
            let end = Endpoint { address: [0; 16], port: 0 };
            let near = |number: u32| match near { 0 => number, 1 => number % 100, _ => number % 5000 };
            let one = Segment {
                source: end,
                destination: end,
                network: 0,
                seq: near(seq),
                ack: near(ack),
                flags: Flags(flags),
                payload_len: captured as u32 + cut,
                packets: 1,
            };
            now += later * 1_000_000;
            seen += captured as u64;
            let side = if client { Side::Client } else { Side::Server };
            let payload = vec![7; captured];
            if let State::Closed(_) = connection.segment(side, &one, &payload, Timestamp(now), &mut sum) {
                break;
            }
        }
        connection.flush(Timestamp(now), &mut sum);
        prop_assert_eq!(connection.held(), 0);
        prop_assert_eq!(sum.bytes, seen);
        prop_assert_eq!(sum.stream, connection.span());
    }
}
