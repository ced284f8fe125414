//! What capture and the decoder make of a conversation of which packets are lost.

use std::ops::Range;

use capture::{Connection, Delivery, Endpoint, Flags, Inserted, Segment};
use proptest::prelude::*;
use protocol::{Decoder, Limits, Opening, Side};
use recording::{Exchange, SessionInfo, Timestamp};

use super::{Conversation, PAUSE, Packet, Random};

/// So many packets are seen, then so many lost, and so on.
pub type Losses = Vec<(usize, usize)>;

pub fn losses(seen: Range<usize>) -> impl Strategy<Value = Losses> {
    prop::collection::vec((seen, 1..30_usize), 0..8)
}

/// What was lost of both streams.
#[derive(Default)]
pub struct Loss {
    places: [Vec<Range<usize>>; 2],
    /// How many bytes, and when: as they came by, and as they were given up.
    lost: Vec<(i64, u64)>,
    told: Vec<(i64, u64)>,
}

impl Loss {
    pub fn twentieth(seed: u64) -> Losses {
        let mut random = Random(seed);
        (0..1000)
            .map(|_| {
                (
                    1 + random.below(379) as usize,
                    1 + random.below(19) as usize,
                )
            })
            .collect()
    }

    /// Was all of an exchange seen?
    pub fn spared(&self, conversation: &Conversation, id: usize) -> bool {
        (0..2).all(|side| self.spares(side, &conversation.places[id][side]))
    }

    fn spares(&self, side: usize, place: &Range<usize>) -> bool {
        let hits = |lost: &Range<usize>| lost.start < place.end && place.start < lost.end;
        !self.places[side].iter().any(hits)
    }

    /// Was all that is lost before a request known long before it?
    pub fn known_in_the_pause(&self, conversation: &Conversation, id: usize) -> bool {
        let begin = conversation.places[id][0].start;
        let of_it = |packet: &Packet| packet.side == 0 && packet.bytes.end > begin;
        let mut packets = conversation.packets.iter();
        let (asked_at, _) = packets.find(|(_, packet)| of_it(packet)).unwrap();
        let until = |list: &[(i64, u64)], end: i64| -> u64 {
            let list = list.iter().filter(|(at, _)| *at <= end);
            list.map(|(_, len)| len).sum()
        };
        until(&self.lost, *asked_at) == until(&self.told, asked_at - PAUSE)
    }
}

struct Listener<'a> {
    decoder: &'a mut dyn Decoder,
    rows: Vec<Exchange>,
    told: Vec<(i64, u64)>,
}

impl Delivery for Listener<'_> {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp) {
        self.decoder.data(from, bytes, at, &mut self.rows);
    }

    fn gap(&mut self, from: Side, len: u64, _: bool, at: Timestamp) {
        self.told.push((at.0, len));
        self.decoder.gap(from, len, at, &mut self.rows);
    }

    fn again(&mut self, inserted: Inserted) {
        assert_eq!(inserted.overlapped, 0);
    }

    fn ignored(&mut self, _: &'static str, _: u64) {}
}

fn segment(packet: &Packet, syn: bool) -> Segment {
    const FIRST: [u32; 2] = [u32::MAX - 5000, 7000];
    let end = Endpoint {
        address: [0; 16],
        port: 0,
    };
    let seq = FIRST[packet.side].wrapping_add(packet.bytes.start as u32);
    Segment {
        source: end,
        destination: end,
        network: 0,
        seq: if syn { seq.wrapping_sub(1) } else { seq },
        ack: FIRST[1 - packet.side].wrapping_add(packet.ack as u32),
        flags: Flags(Flags::ACK | if syn { Flags::SYN } else { 0 }),
        payload_len: packet.bytes.len() as u32,
        packets: 1,
    }
}

/// Rows, what was lost, and whether it was given up. `from`: the packets before were not seen, nor was
/// the handshake.
pub fn listen(
    conversation: &Conversation,
    losses: &Losses,
    from: Option<usize>,
) -> (Vec<Exchange>, Loss, Option<&'static str>) {
    let opening = Opening {
        at: Timestamp(from.map_or(0, |from| conversation.seen_from(from))),
        mid_stream: from.is_some(),
        info: SessionInfo {
            protocol: "http".into(),
            client: ([127, 0, 0, 1], 40_000).into(),
            server: ([127, 0, 0, 1], 80).into(),
            user: None,
            database: None,
            application: None,
            backend: None,
        },
    };
    let mut decoder = protocol::by_name("http")
        .unwrap()
        .decoder(opening, Limits::default());
    let mut listener = Listener {
        decoder: decoder.as_mut(),
        rows: Vec::new(),
        told: Vec::new(),
    };
    let mut connection = Connection::default();
    let sides = [Side::Client, Side::Server];
    if from.is_none() {
        for side in [0, 1] {
            let syn = Packet {
                sent: 0,
                side,
                bytes: 0..0,
                ack: 0,
            };
            connection.segment(
                sides[side],
                &segment(&syn, true),
                b"",
                Timestamp(0),
                &mut listener,
            );
        }
    }
    // What is lost of a client that is not known to pipeline is taken as that of one that waits.
    let shown = match conversation.waits {
        true => 0,
        false => conversation.until_it_shows(),
    };
    let mut fates = losses
        .iter()
        .flat_map(|(seen, lost)| (0..*seen).map(|_| true).chain((0..*lost).map(|_| false)))
        .chain(std::iter::repeat(true));
    let mut loss = Loss::default();
    let mut met = from.is_none();
    let mut last = Timestamp(0);
    for (place, (at, packet)) in conversation.packets.iter().enumerate() {
        met |= from.is_some_and(|from| place >= from) && !packet.bytes.is_empty();
        if !met || place >= shown && !fates.next().unwrap_or(true) {
            if !packet.bytes.is_empty() {
                loss.places[packet.side].push(packet.bytes.clone());
                loss.lost.push((*at, packet.bytes.len() as u64));
            }
            continue;
        }
        last = Timestamp(*at);
        let payload = &conversation.streams[packet.side][packet.bytes.clone()];
        connection.segment(
            sides[packet.side],
            &segment(packet, false),
            payload,
            last,
            &mut listener,
        );
    }
    connection.flush(last, &mut listener);
    let mut rows = listener.rows;
    loss.told = listener.told;
    let opaque = decoder.opaque();
    decoder.close("capture ended", last, &mut rows);
    (rows, loss, opaque)
}
