#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::packet::{Endpoint, Flags};

const BASE: [u32; 2] = [u32::MAX - 50, 7000];
const SIDES: [Side; 2] = [Side::Client, Side::Server];
const MS: i64 = 1_000_000;

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
    /// When each of `out` was seen.
    times: Vec<i64>,
    next: [usize; 2],
    again: u64,
}

impl Recorder {
    /// Side, start and time of what is no gap.
    fn data(&self) -> Vec<(usize, usize, i64)> {
        let came = self.out.iter().zip(&self.times);
        let data = came.filter(|((_, _, bytes), _)| bytes.is_some());
        data.map(|((side, start, _), at)| (*side, *start, *at))
            .collect()
    }
}

fn number(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

impl Delivery for Recorder {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp) {
        let side = number(from);
        self.out.push((side, self.next[side], Some(bytes.to_vec())));
        self.times.push(at.0);
        self.next[side] += bytes.len();
    }

    fn gap(&mut self, from: Side, len: u64, _: bool, at: Timestamp) {
        let side = number(from);
        self.out.push((side, self.next[side], None));
        self.times.push(at.0);
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

/// After a handshake.
fn open() -> Connection {
    let mut connection = Connection::default();
    connection.client.begin(BASE[0]);
    connection.server.begin(BASE[1]);
    connection.client.seen = true;
    connection.server.seen = true;
    connection
}

/// Segments by millisecond, side, start, length and what the sender had received: what came, by side
/// and start, and its time.
fn deliver(segments: &[(i64, usize, usize, usize, usize)]) -> Vec<(usize, usize, i64)> {
    let mut connection = open();
    let mut recorder = Recorder::default();
    for &(at, side, start, len, after) in segments {
        let sent = Sent {
            side,
            start,
            len,
            after,
        };
        let (segment, payload) = segment(&sent);
        let at = Timestamp(at * MS);
        connection.segment(SIDES[side], &segment, &payload, at, &mut recorder);
    }
    let places = recorder.out.iter().map(|(side, start, _)| (*side, *start));
    let times = recorder.times.iter().map(|at| at / MS);
    let came = places.zip(times);
    came.map(|((side, start), at)| (side, start, at)).collect()
}

/// Two answers are lost, and what was said in between is not: it comes in between.
#[test]
fn a_gap_ends_where_the_other_end_went_on() {
    let came = deliver(&[
        (0, 0, 0, 10, 0),
        (10, 0, 10, 10, 50),
        (20, 0, 20, 10, 90),
        (120, 0, 30, 10, 90),
    ]);
    let expected = [
        (0, 0, 0),
        (1, 0, 10),
        (0, 10, 10),
        (1, 50, 20),
        (0, 20, 20),
        (0, 30, 120),
    ];
    assert_eq!(came, expected);
}

/// The first request is lost: what waits behind it was seen when it was, and the loss was noticed with
/// the first of it.
#[test]
fn what_waits_behind_a_loss_has_its_own_time() {
    let came = deliver(&[
        (1, 1, 0, 50, 10),
        (4, 0, 10, 10, 50),
        (5, 1, 50, 50, 20),
        (8, 0, 20, 10, 100),
        (101, 1, 100, 50, 30),
    ]);
    let expected = [
        (0, 0, 1),
        (1, 0, 1),
        (0, 10, 4),
        (1, 50, 5),
        (0, 20, 8),
        (1, 100, 101),
    ];
    assert_eq!(came, expected);
}

/// Each loss is waited for from when it was noticed, not from when the one before was given up.
#[test]
fn losses_do_not_wait_for_each_other() {
    let came = deliver(&[
        (0, 0, 10, 10, 0),
        (4, 0, 30, 10, 0),
        (5, 1, 0, 50, 40),
        (104, 0, 40, 10, 50),
    ]);
    let expected = [
        (0, 0, 0),
        (0, 10, 0),
        (0, 20, 4),
        (0, 30, 4),
        (1, 0, 5),
        (0, 40, 104),
    ];
    assert_eq!(came, expected);
}

/// Nobody could read it before.
#[test]
fn what_came_out_of_order_was_seen_with_what_comes_before_it() {
    let came = deliver(&[(1, 0, 10, 10, 0), (5, 0, 0, 10, 0), (6, 0, 20, 10, 0)]);
    assert_eq!(came, [(0, 0, 5), (0, 10, 5), (0, 20, 6)]);
}

/// The other end had it when it answered, whenever it was captured.
#[test]
fn nothing_was_seen_after_an_answer_to_it() {
    let came = deliver(&[(1, 1, 0, 50, 10), (4, 0, 10, 10, 50), (50, 0, 0, 10, 0)]);
    assert_eq!(came, [(0, 0, 1), (1, 0, 1), (0, 10, 4)]);
}

/// The server goes on with what it had to say before.
#[test]
fn a_loss_takes_no_time_of_the_other_direction() {
    let came = deliver(&[
        (0, 0, 0, 10, 0),
        (2, 0, 20, 10, 0),
        (3, 1, 0, 50, 10),
        (90, 1, 50, 50, 10),
        (91, 1, 100, 50, 30),
        (102, 0, 30, 10, 150),
    ]);
    let expected = [
        (0, 0, 0),
        (1, 0, 3),
        (1, 50, 90),
        (0, 10, 2),
        (0, 20, 2),
        (1, 100, 91),
        (0, 30, 102),
    ];
    assert_eq!(came, expected);
}

proptest! {
    /// Packets that are lost and come again by no means: each other one has the time at which it was
    /// seen.
    #[test]
    fn a_loss_takes_no_time(
        turns in prop::collection::vec((1..300_usize, 2..120_usize), 1..20),
        fates in prop::collection::vec((prop::bool::weighted(0.2), 0..40_i64), 400),
    ) {
        let (mut connection, mut recorder) = (open(), Recorder::default());
        let mut at = 0;
        let mut seen = BTreeMap::new();
        for (sent, (lost, pause)) in conversation(&turns).iter().zip(&fates) {
            at += pause * MS;
            if !lost {
                seen.insert((sent.side, sent.start), at);
                let (segment, payload) = segment(sent);
                connection.segment(SIDES[sent.side], &segment, &payload, Timestamp(at), &mut recorder);
            }
        }
        connection.flush(Timestamp(at), &mut recorder);
        let came = recorder.data();
        prop_assert!(came.is_sorted_by_key(|(.., at)| *at), "{:?}", came);
        let came = came.into_iter().map(|(side, start, at)| ((side, start), at));
        prop_assert_eq!(BTreeMap::from_iter(came), seen);
    }

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

        let (mut connection, mut recorder) = (open(), Recorder::default());
        let mut captured_bytes = 0;
        for (place, (_, sent)) in captured.iter().enumerate() {
            let side = SIDES[sent.side];
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

        let came = recorder.data();
        prop_assert!(came.iter().filter(|it| it.0 == 0).is_sorted_by_key(|it| it.2));
        prop_assert!(came.iter().filter(|it| it.0 == 1).is_sorted_by_key(|it| it.2));
        let mut delivered_bytes = 0;
        let mut done = [0, 0];
        for ((side, start, bytes), at) in recorder.out.iter().zip(&recorder.times) {
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
                        let causes = came.iter().filter(|(of_side, place, ..)| {
                            *of_side == 1 - side && *place < of.after
                        });
                        let asked = causes.map(|(.., at)| *at).max();
                        prop_assert!(Some(*at) >= asked, "{of:?} was seen before its cause: {came:?}");
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
