//! Packets to order, a protocol that writes down what it is given, and a sink in memory.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use capture::{Options, Ports, Progress, Sink, Source};
use protocol::{
    Answer, Decoder, Difference, Driver, Limits, Login, Opening, Probe, Protocol, Shown, Side,
    Terms,
};
use recording::{Batch, Exchange, Kind, Notes, Request, Status, StoreError, Timestamp};

pub const PORT: u16 = 5432;

/// Gives a row for each call.
#[derive(Debug)]
pub struct Scribe;

#[derive(Debug)]
struct ScribeDecoder {
    opening: Opening,
    seq: u32,
    rejected: Option<&'static str>,
    opaque: Option<&'static str>,
}

impl Protocol for Scribe {
    fn name(&self) -> &'static str {
        "scribe"
    }

    fn default_port(&self) -> u16 {
        PORT
    }

    fn url_schemes(&self) -> &'static [&'static str] {
        &["scribe"]
    }

    fn probe(&self, client: &[u8]) -> Probe {
        match client.first() {
            Some(b'c') => Probe::Yes,
            Some(_) => Probe::No,
            None => Probe::More,
        }
    }

    fn decoder(&self, opening: Opening, _: Limits) -> Box<dyn Decoder> {
        Box::new(ScribeDecoder {
            opening,
            seq: 0,
            rejected: None,
            opaque: None,
        })
    }

    fn driver(&self, _: Login, _: Limits) -> Box<dyn Driver> {
        unreachable!("a capture drives nothing")
    }

    fn password_from_file(&self, _: &str, _: &str, _: u16, _: &Login) -> Option<String> {
        None
    }

    fn password_sources(&self) -> Option<(&'static str, &'static str, &'static str)> {
        None
    }

    fn compare(&self, _: &Exchange, _: &Exchange, _: &Terms) -> Vec<Difference> {
        Vec::new()
    }

    fn show_request(&self, _: &Exchange) -> Shown {
        Shown::default()
    }

    fn show_response(&self, _: &Exchange, _: usize) -> Answer {
        Answer::default()
    }
}

impl ScribeDecoder {
    fn row(
        &mut self,
        kind: Kind,
        command: &str,
        bytes: &[u8],
        len: u64,
        at: Timestamp,
    ) -> Exchange {
        let seq = self.seq;
        self.seq += 1;
        Exchange {
            session: 0,
            seq,
            kind,
            started_at: at,
            request: Request {
                command: Arc::from(command),
                bytes: bytes.to_vec(),
                wire_len: len,
                ..Request::default()
            },
            status: Status::Ok,
            reason: None,
            response: None,
            notes: Notes::default(),
            info: (kind == Kind::Open).then(|| Box::new(self.opening.info.clone())),
            pacing: None,
        }
    }

    fn begin(&mut self, out: &mut Vec<Exchange>) {
        if self.seq == 0 {
            let at = self.opening.at;
            let mut row = self.row(Kind::Open, "open", b"", 0, at);
            if self.opening.mid_stream {
                row.notes.add(Notes::MID_STREAM);
            }
            out.push(row);
        }
    }
}

impl Decoder for ScribeDecoder {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp, out: &mut Vec<Exchange>) {
        if bytes.starts_with(b"BAD") {
            self.rejected = Some("bad");
            return;
        }
        if bytes.starts_with(b"TLS") {
            self.opaque = Some("encrypted (TLS)");
        }
        if let Some(login) = bytes.strip_prefix(b"user:") {
            let login = String::from_utf8_lossy(login);
            let (user, database) = login.split_once('/').unwrap();
            self.opening.info.user = Some(user.into());
            self.opening.info.database = Some(database.into());
        }
        self.begin(out);
        let name = if from == Side::Client { "C" } else { "S" };
        let row = self.row(Kind::Request, name, bytes, bytes.len() as u64, at);
        out.push(row);
    }

    fn gap(&mut self, from: Side, len: u64, at: Timestamp, out: &mut Vec<Exchange>) {
        self.begin(out);
        let name = if from == Side::Client {
            "C gap"
        } else {
            "S gap"
        };
        let row = self.row(Kind::Request, name, b"", len, at);
        out.push(row);
    }

    fn close(&mut self, reason: &'static str, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.seq > 0 {
            let row = self.row(Kind::Close, reason, b"", 0, at);
            out.push(row);
        }
    }

    fn rejected(&self) -> Option<&'static str> {
        self.rejected
    }

    fn held(&self) -> usize {
        0
    }

    fn opaque(&self) -> Option<&'static str> {
        self.opaque
    }
}

/// Keeps the rows.
#[derive(Debug, Default)]
pub struct Memory(pub Vec<Exchange>);

impl Sink for Memory {
    fn write(&mut self, rows: Batch) -> Result<(), StoreError> {
        self.0.extend(rows.into_rows().unwrap());
        Ok(())
    }

    fn tick(&mut self, _: Instant, _: &Progress) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a capture gave.
pub struct Captured {
    pub rows: Vec<Exchange>,
    pub progress: Progress,
}

impl Captured {
    /// Each session in one line, by number: `C:hello S:world fin`. Data of one side in a row stands
    /// together.
    pub fn sessions(&self) -> Vec<String> {
        let mut sessions: BTreeMap<u64, (String, String)> = BTreeMap::new();
        for row in &self.rows {
            let (line, last) = sessions.entry(row.session).or_default();
            let command = row.request.command.to_string();
            let text: String = row.request.bytes.escape_ascii().to_string();
            match row.kind {
                Kind::Open if row.notes.contains(Notes::MID_STREAM) => line.push('~'),
                Kind::Open => {}
                Kind::Close => write!(line, " {command}").unwrap(),
                _ if command.ends_with("gap") => {
                    write!(line, " {command} {}", row.request.wire_len).unwrap();
                }
                _ if *last == command => line.push_str(&text),
                _ => write!(line, " {command}:{text}").unwrap(),
            }
            *last = command;
        }
        sessions
            .into_values()
            .map(|(line, _)| line.trim_start().to_owned())
            .collect()
    }

    pub fn lost(&self, account: &str, reason: &str) -> u64 {
        let account = self.progress.ledger.account(account);
        account
            .and_then(|it| it.lost.get(reason))
            .copied()
            .unwrap_or(0)
    }

    /// All bytes of one side, session by session.
    pub fn bytes(&self, side: &str) -> u64 {
        let rows = self.rows.iter();
        rows.filter(|row| &*row.request.command == side)
            .map(|row| row.request.bytes.len() as u64)
            .sum()
    }
}

pub fn options(file: &Path, ports: &[u16]) -> Options {
    let ports = ports
        .iter()
        .map(|port| (*port, &Scribe as &'static dyn Protocol));
    let mut options = Options::new(vec![Source::File(file.to_owned())], Ports::new(ports));
    options.workers = 1;
    options
}

/// Captures, and holds the ledger to its promise.
pub fn capture_with(options: &Options) -> Captured {
    let mut sink = Memory::default();
    let stop = AtomicBool::new(false);
    let (progress, outcome) = capture::run_into(options, &mut sink, &stop, &|_| {});
    outcome.unwrap();
    assert!(progress.ledger.balanced(), "{:#?}", progress.ledger);
    Captured {
        rows: sink.0,
        progress,
    }
}

pub fn capture_file(file: &Path, ports: &[u16]) -> Captured {
    capture_with(&options(file, ports))
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

#[derive(Clone, Copy)]
pub struct Ends {
    pub client: ([u8; 4], u16),
    pub server: ([u8; 4], u16),
}

pub const ENDS: Ends = Ends {
    client: ([10, 0, 0, 1], 40_000),
    server: ([10, 0, 0, 2], PORT),
};

#[derive(Clone)]
pub struct Frame {
    pub at: i64,
    pub bytes: Vec<u8>,
    pub wire_len: usize,
}

pub fn tcp(from: u16, to: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([5 << 4, flags, 0x20, 0, 0xba, 0xad, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// `fragment` is the field of flags and offset.
pub fn ipv4(from: [u8; 4], to: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 7]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0xba, 0xad]);
    bytes.extend(from);
    bytes.extend(to);
    bytes.extend(payload);
    bytes
}

pub fn ipv6(from: [u8; 16], to: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(from);
    bytes.extend(to);
    bytes.extend(payload);
    bytes
}

pub fn udp(to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 0];
    bytes.extend(to.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// `tags` are pairs of a VLAN protocol and a tag.
pub fn ethernet(tags: &[(u16, u16)], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    for (kind, tag) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A connection's packets, in order: what is sent moves the sequence numbers on.
#[derive(Clone)]
pub struct Talk {
    pub ends: Ends,
    pub at: i64,
    /// Next sequence numbers of client and server.
    pub seq: [u32; 2],
    pub frames: Vec<Frame>,
}

pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;

impl Talk {
    /// Before the handshake.
    pub fn new(ends: Ends) -> Talk {
        Talk {
            ends,
            at: 1_700_000_000_000_000_000,
            seq: [1000, 5000],
            frames: Vec::new(),
        }
    }

    /// After a whole handshake.
    pub fn open(ends: Ends) -> Talk {
        let mut talk = Talk::new(ends);
        talk.handshake();
        talk
    }

    pub fn handshake(&mut self) {
        let [client, server] = self.seq;
        self.raw(CLIENT, client, 0, SYN, b"");
        self.raw(SERVER, server, client.wrapping_add(1), SYN | ACK, b"");
        self.seq = [client.wrapping_add(1), server.wrapping_add(1)];
        self.ack(CLIENT);
    }

    /// A segment of any numbers, a microsecond later.
    pub fn raw(&mut self, side: usize, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> usize {
        let Ends { client, server } = self.ends;
        let (from, to) = if side == CLIENT {
            (client, server)
        } else {
            (server, client)
        };
        let tcp = tcp(from.1, to.1, seq, ack, flags, payload);
        let frame = ethernet(&[], 0x0800, &ipv4(from.0, to.0, 6, 0, &tcp));
        self.frame(frame)
    }

    pub fn frame(&mut self, bytes: Vec<u8>) -> usize {
        self.at += 1000;
        self.frames.push(Frame {
            at: self.at,
            wire_len: bytes.len(),
            bytes,
        });
        self.frames.len() - 1
    }

    pub fn ack(&mut self, side: usize) -> usize {
        let (seq, ack) = (self.seq[side], self.seq[1 - side]);
        self.raw(side, seq, ack, ACK, b"")
    }

    /// Returns the frame's place.
    pub fn say(&mut self, side: usize, text: &str) -> usize {
        self.send(side, text, ACK)
    }

    pub fn send(&mut self, side: usize, text: &str, flags: u8) -> usize {
        let (seq, ack) = (self.seq[side], self.seq[1 - side]);
        let len = text.len() as u32 + u32::from(flags & FIN);
        self.seq[side] = seq.wrapping_add(len);
        self.raw(side, seq, ack, flags, text.as_bytes())
    }

    /// Both ends say that they are done.
    pub fn close(&mut self) {
        self.send(CLIENT, "", FIN | ACK);
        self.send(SERVER, "", FIN | ACK);
        self.ack(CLIENT);
    }

    pub fn wait(&mut self, millis: i64) {
        self.at += millis * 1_000_000;
    }

    pub fn capture(&self) -> Captured {
        capture_frames(&self.frames)
    }
}

pub fn capture_frames(frames: &[Frame]) -> Captured {
    capture_link(1, frames)
}

pub fn capture_link(link_type: u32, frames: &[Frame]) -> Captured {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pcap(link_type, frames)).unwrap();
    file.flush().unwrap();
    capture_file(file.path(), &[PORT])
}

/// A pcap file with nanoseconds, in the byte order of the machine.
pub fn pcap(link_type: u32, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_3c4d_u32, 4 << 16 | 2, 0, 0, 262_144, link_type] {
        bytes.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let (seconds, nanos) = (frame.at / 1_000_000_000, frame.at % 1_000_000_000);
        let words = [
            seconds as u32,
            nanos as u32,
            frame.bytes.len() as u32,
            frame.wire_len as u32,
        ];
        for word in words {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(&frame.bytes);
    }
    bytes
}
