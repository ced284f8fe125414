//! Keep-alive conversations of HTTP as packets, seen somewhere on their way, some of them lost.

mod listen;

use std::ops::Range;

pub use listen::{Loss, listen, losses};
use proptest::prelude::*;

const MSS: usize = 1448;
const MS: i64 = 1_000_000;
/// After which a client that pipelines is taken to have all its answers.
const PAUSE: i64 = 5000 * MS;
/// What an application that writes no lines would send by chance, at the beginning of each packet.
const TRAP: [&str; 2] = [
    "GET /id/fake/ HTTP/1.1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-Id: fake/\r\nContent-Length: 0\r\n\r\n",
];

/// When a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// When it has its answer.
    Waits,
    /// So many, and more when it has all answers. `joined`: in as few packets as they take.
    Bursts { size: usize, joined: bool },
    /// As long as no more than so many are unanswered.
    Window(usize),
}

pub fn asks() -> impl Strategy<Value = Asks> {
    prop_oneof![
        (2..9_usize, any::<bool>()).prop_map(|(size, joined)| Asks::Bursts { size, joined }),
        (2..9_usize).prop_map(Asks::Window),
    ]
}

#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// 0..10
    kind: u8,
    request: usize,
    response: usize,
    chunked: [bool; 2],
    /// Packets of its bodies begin like messages.
    pub trap: bool,
    interim: bool,
    /// Before it is asked, and before it is answered.
    thinks: [i64; 2],
}

#[derive(Clone, Debug)]
pub struct Talk {
    asks: Asks,
    pub exchanges: Vec<Ask>,
    /// From end to end.
    delay: i64,
    at_server: bool,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 6 => 1..3000_usize, 2 => 1..200_000_usize]
}

fn ask() -> impl Strategy<Value = Ask> {
    let thinks = [
        prop_oneof![20 => 0..30 * MS, 2 => 30 * MS..1000 * MS, 3 => Just(6000 * MS)],
        prop_oneof![20 => 0..30 * MS, 1 => 30 * MS..1000 * MS, 0 => Just(0)],
    ];
    let oddly = || prop::bool::weighted(0.1);
    (
        0..10_u8,
        size(),
        size(),
        any::<[bool; 2]>(),
        oddly(),
        oddly(),
        thinks,
    )
        .prop_map(
            |(kind, request, response, chunked, trap, interim, thinks)| Ask {
                kind,
                request,
                response,
                chunked,
                trap,
                interim,
                thinks,
            },
        )
}

pub fn talk(asks: impl Strategy<Value = Asks>) -> impl Strategy<Value = Talk> {
    let exchanges = prop::collection::vec(ask(), 1..40);
    (asks, exchanges, 1000..5 * MS, any::<bool>()).prop_map(
        |(asks, exchanges, delay, at_server)| Talk {
            asks,
            exchanges,
            delay,
            at_server,
        },
    )
}

impl Talk {
    /// One of a client that waits.
    pub fn made_up(len: usize, seed: u64) -> Talk {
        let mut random = Random(seed);
        let exchanges = (0..len).map(|_| Ask {
            kind: random.below(10) as u8,
            request: random.size(),
            response: random.size(),
            chunked: [random.below(2) == 0, random.below(2) == 0],
            trap: false,
            interim: random.below(20) == 0,
            thinks: [random.below(40) as i64 * MS, random.below(40) as i64 * MS],
        });
        Talk {
            asks: Asks::Waits,
            exchanges: exchanges.collect(),
            delay: MS / 5,
            at_server: true,
        }
    }
}

/// The same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn size(&mut self) -> usize {
        let most = [1, 3000, 3000, 20_000][self.below(4) as usize];
        self.below(most) as usize
    }
}

#[derive(Clone, Debug)]
struct Packet {
    sent: i64,
    side: usize,
    bytes: Range<usize>,
    ack: usize,
}

pub struct Conversation {
    streams: [Vec<u8>; 2],
    /// In the order in which they come by.
    packets: Vec<(i64, Packet)>,
    /// Where requests and responses are in their streams.
    places: Vec<[Range<usize>; 2]>,
    pauses: Vec<bool>,
    waits: bool,
}

impl Ask {
    fn method(&self) -> &'static str {
        match self.kind {
            0 => "HEAD",
            1..6 => "GET",
            _ => "POST",
        }
    }

    fn request(&self, id: usize, asks: Asks) -> Vec<u8> {
        // Who offers another protocol waits for what comes of it.
        let upgrade = if self.kind == 1 && asks == Asks::Waits {
            "Connection: Upgrade\r\nUpgrade: h2c\r\n"
        } else {
            ""
        };
        let start = format!(
            "{} /id/{id}/ HTTP/1.1\r\nHost: x\r\n{upgrade}",
            self.method()
        );
        if self.method() != "POST" {
            return format!("{start}\r\n").into_bytes();
        }
        self.message(0, &start, self.request)
    }

    fn response(&self, id: usize) -> Vec<u8> {
        let (status, len) = match self.kind {
            2 => ("404 Not Found", self.response),
            3 => return format!("HTTP/1.1 304 Not Modified\r\nX-Id: {id}/\r\n\r\n").into_bytes(),
            _ => ("200 OK", self.response),
        };
        let start = format!("HTTP/1.1 {status}\r\nX-Id: {id}/\r\n");
        let mut message = self.message(1, &start, len);
        if self.method() == "HEAD" {
            let end = message.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
            message.truncate(end);
        }
        message
    }

    /// `side` is that which sends it.
    fn message(&self, side: usize, start: &str, len: usize) -> Vec<u8> {
        let framing = match self.chunked[side] {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {len}"),
        };
        // Traps lie at the beginning of packets.
        let head_len = start.len() + framing.len() + "\r\nPad: \r\n\r\n".len();
        let pad = if self.trap { MSS - head_len } else { 0 };
        let head = format!("{start}{framing}\r\nPad: {}\r\n\r\n", "x".repeat(pad));
        let filler = match self.trap {
            true => format!("{:MSS$}", TRAP[side]),
            false => "Some words and LINES\nof a body ".to_owned(),
        };
        let body: Vec<u8> = filler.into_bytes().into_iter().cycle().take(len).collect();
        if !self.chunked[side] {
            return [head.into_bytes(), body].concat();
        }
        let mut message = head.into_bytes();
        for chunk in body.chunks(4000) {
            message.extend(format!("{:x}\r\n", chunk.len()).bytes());
            message.extend(chunk);
            message.extend(b"\r\n");
        }
        message.extend(b"0\r\n\r\n");
        message
    }
}

impl Conversation {
    pub fn of(talk: &Talk) -> Conversation {
        let mut it = Conversation {
            streams: [Vec::new(), Vec::new()],
            packets: Vec::new(),
            places: Vec::new(),
            pauses: Vec::new(),
            waits: talk.asks == Asks::Waits,
        };
        let mut sent: [Vec<Packet>; 2] = [Vec::new(), Vec::new()];
        let mut done: Vec<i64> = Vec::new();
        // When each side is free to send.
        let mut free = [0, 0];
        for (id, ask) in talk.exchanges.iter().enumerate() {
            let last_done = done.last().copied().unwrap_or(0);
            let [asks_after, answers_after] = ask.thinks;
            let (joins, asked_at) = match talk.asks {
                Asks::Waits => (false, last_done + asks_after),
                Asks::Bursts { size, joined } if id % size > 0 => (joined, free[0] + MS / 10),
                Asks::Bursts { .. } => (false, last_done + asks_after),
                Asks::Window(_) if asks_after > PAUSE => (false, last_done + asks_after),
                Asks::Window(size) => {
                    let room = id.checked_sub(size).map_or(0, |id| done[id]);
                    (false, free[0].max(room) + MS / 10)
                }
            };
            it.pauses.push(asked_at - last_done > PAUSE);
            let request = it.say(
                &mut sent,
                0,
                ask.request(id, talk.asks),
                asked_at.max(free[0]),
                joins,
            );
            free[0] = sent[0].last().unwrap().sent;
            let mut answered_at = (free[0] + talk.delay).max(free[1]) + answers_after;
            let mut begins = it.streams[1].len();
            if ask.interim {
                let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
                begins = it.say(&mut sent, 1, interim, answered_at, false).start;
                answered_at += MS;
            }
            let response = it.say(&mut sent, 1, ask.response(id), answered_at, false);
            free[1] = sent[1].last().unwrap().sent;
            done.push(free[1] + talk.delay);
            it.places.push([request, begins..response.end]);
        }
        it.acknowledge(&sent, talk);
        it
    }

    /// `joins`: with what was said before.
    fn say(
        &mut self,
        sent: &mut [Vec<Packet>; 2],
        side: usize,
        bytes: Vec<u8>,
        mut at: i64,
        joins: bool,
    ) -> Range<usize> {
        let stream = &mut self.streams[side];
        let place = stream.len()..stream.len() + bytes.len();
        stream.extend(bytes);
        let mut begin = place.start;
        if joins {
            let last = sent[side].pop().unwrap();
            (begin, at) = (last.bytes.start, last.sent);
        }
        while begin < place.end {
            let end = place.end.min(begin + MSS);
            sent[side].push(Packet {
                sent: at,
                side,
                bytes: begin..end,
                ack: 0,
            });
            begin = end;
            at += 10_000;
        }
        place
    }

    fn acknowledge(&mut self, sent: &[Vec<Packet>; 2], talk: &Talk) {
        let received = |side: usize, at: i64| {
            let sent = &sent[1 - side];
            let count = sent.partition_point(|packet| packet.sent + talk.delay <= at);
            count.checked_sub(1).map_or(0, |last| sent[last].bytes.end)
        };
        for side in [0, 1] {
            let said = sent[side].iter().cloned();
            let acks = sent[1 - side]
                .iter()
                .skip(1)
                .step_by(2)
                .map(|packet| Packet {
                    sent: packet.sent + talk.delay + 1,
                    side,
                    bytes: 0..0,
                    ack: 0,
                });
            for mut packet in said.chain(acks) {
                packet.ack = received(side, packet.sent);
                if packet.bytes.is_empty() {
                    let before = sent[side].partition_point(|it| it.sent <= packet.sent);
                    let next = before
                        .checked_sub(1)
                        .map_or(0, |it| sent[side][it].bytes.end);
                    packet.bytes = next..next;
                }
                let at_once = (side == 1) == talk.at_server;
                let seen = packet.sent + if at_once { 0 } else { talk.delay };
                self.packets.push((seen, packet));
            }
        }
        self.packets
            .sort_by_key(|(seen, packet)| (*seen, packet.bytes.end));
    }

    /// When the first data come, from a packet on.
    fn seen_from(&self, from: usize) -> i64 {
        let mut packets = self.packets.iter().skip(from);
        let first = packets.find(|(_, packet)| !packet.bytes.is_empty());
        first.map_or(0, |(at, _)| *at)
    }

    /// How many packets show that the client does not wait.
    fn until_it_shows(&self) -> usize {
        let ends = |side: usize, end: usize| {
            self.packets
                .iter()
                .position(|(_, it)| it.side == side && it.bytes.end >= end)
                .unwrap()
        };
        self.places
            .windows(2)
            .map(|pair| (ends(0, pair[1][0].start + 1), ends(1, pair[0][1].end)))
            .find(|(asks, answered)| asks < answered)
            .map_or(usize::MAX, |(_, answered)| answered + 1)
    }

    /// Was nothing under way for long before a request?
    pub fn paused(&self, id: usize) -> bool {
        self.pauses[id]
    }
}
