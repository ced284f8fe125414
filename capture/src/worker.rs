use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use recording::{Exchange, Ledger, Timestamp};

use crate::flow::{Class, Connection, FlowKey, Place, State, Table};
use crate::options::Options;
use crate::packet::{Endpoint, Segment};
use crate::ports::Ports;
use crate::probe::Board;
use crate::session::{Output, Reading, Session};

pub const OTHER_PORT: &str = "other port";

/// Servers that are remembered by address.
const MAX_SERVERS: usize = 4096;

/// What a worker may hold, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections with data, and then those without and those that are over.
    pub open_flows: usize,
    pub silent_flows: usize,
    pub closed_flows: usize,
    /// Bytes in segments that wait and in decoders.
    pub held: usize,
    /// How long a connection may be quiet before it is taken for dead.
    pub idle: Duration,
    pub silent_idle: Duration,
    pub closed_idle: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            open_flows: 200_000,
            silent_flows: 1 << 16,
            closed_flows: 1 << 15,
            held: 96 << 20,
            idle: Duration::from_secs(48 * 3600),
            silent_idle: Duration::from_secs(600),
            closed_idle: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
struct Flow {
    client: Endpoint,
    connection: Connection,
    session: Session,
    over: bool,
}

impl Flow {
    fn side(&self, source: Endpoint) -> protocol::Side {
        if source == self.client {
            protocol::Side::Client
        } else {
            protocol::Side::Server
        }
    }
}

/// Segments to rows, for the flows that hash to it.
#[derive(Debug)]
pub struct Worker {
    ports: Ports,
    bounds: Bounds,
    table: Table<Flow>,
    out: Output,
    /// Bytes in segments that wait.
    waiting: usize,
    packets: u64,
    other_port: u64,
    servers: BTreeSet<SocketAddr>,
    board: Option<Arc<Board>>,
    /// How many statements it said to lack.
    confided: u64,
}

impl Worker {
    /// `bounds` are its own part of what all workers may hold.
    pub fn new(
        options: &Options,
        bounds: Bounds,
        last_session: Arc<AtomicU64>,
        board: Option<Arc<Board>>,
    ) -> Worker {
        Worker {
            ports: options.ports.clone(),
            bounds,
            table: Table::new(),
            out: Output::new(options, last_session),
            board,
            confided: 0,
            waiting: 0,
            packets: 0,
            other_port: 0,
            servers: BTreeSet::new(),
        }
    }

    /// Takes what the server told since.
    pub fn consult(&mut self) {
        let number = self.out.findings.as_ref().map_or(0, |it| it.number);
        if let Some(news) = self.board.as_ref().and_then(|board| board.news(number)) {
            self.out.findings = Some(news);
        }
    }

    /// Says what the server should be asked for.
    pub fn confide(&mut self) {
        if let Some(board) = &self.board {
            let lacking = self.out.strangers.lacking;
            board.lacks(self.confided, lacking);
            self.confided = lacking;
        }
    }

    /// Rows since the last call.
    pub fn rows(&mut self) -> &mut Vec<Exchange> {
        &mut self.out.rows
    }

    pub fn servers(&self) -> &BTreeSet<SocketAddr> {
        &self.servers
    }

    /// Connections that are not over.
    pub fn flows(&self) -> usize {
        self.table.len(Class::Open) + self.table.len(Class::Silent)
    }

    /// Bytes in segments that wait and in decoders.
    pub fn held(&self) -> usize {
        self.waiting + self.out.held
    }

    /// What became of what it was given. `packets` has no `seen`, which is its caller's to count.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.out.add_to(&mut ledger);
        let packets = ledger.account_mut("packets");
        packets.kept = self.packets;
        packets.lose(OTHER_PORT, self.other_port);
        ledger
    }

    pub fn segment(&mut self, key: FlowKey, segment: &Segment, payload: &[u8], at: Timestamp) {
        self.packets += u64::from(segment.packets);
        self.out.bytes.seen += payload.len() as u64;
        let begins = match self.table.get_mut(&key) {
            None => true,
            Some(flow) => {
                let side = flow.side(segment.source);
                let syn = segment.flags.syn() && !segment.flags.rst();
                if syn && flow.connection.place(side, segment) == Place::Next {
                    self.end(&key, "port reused");
                    true
                } else {
                    flow.over && segment.payload_len > 0 && flow.connection.is_far(side, segment)
                }
            }
        };
        if begins && !self.begin(key, segment, payload, at) {
            return;
        }
        self.advance(&key, segment, payload, at);
    }

    /// Makes a flow, where the segment can begin one.
    fn begin(&mut self, key: FlowKey, segment: &Segment, payload: &[u8], at: Timestamp) -> bool {
        let flags = segment.flags;
        if flags.rst() || (!flags.syn() && segment.payload_len == 0) {
            self.out
                .bytes
                .lose("payload of a reset", payload.len() as u64);
            return false;
        }
        let from_client = match (flags.syn(), flags.ack()) {
            (true, false) => true,
            (true, true) => false,
            (false, _) => self.client_sent(segment, payload),
        };
        let (client, server) = if from_client {
            (segment.source, segment.destination)
        } else {
            (segment.destination, segment.source)
        };
        let Some(spoken) = self.ports.get(server.port).cloned() else {
            // A client whose own port is one of ours.
            self.packets -= u64::from(segment.packets);
            self.other_port += u64::from(segment.packets);
            self.out.bytes.lose(OTHER_PORT, payload.len() as u64);
            return false;
        };
        self.make_room();
        self.out.sessions.seen += 1;
        let mid_stream = !flags.syn();
        let flow = Flow {
            client,
            connection: Connection::default(),
            session: Session::new(spoken, client.socket(), server.socket(), at, mid_stream),
            over: false,
        };
        self.table.insert(key, Class::Silent, at, flow);
        true
    }

    /// Who sent a segment of a connection whose beginning was not seen?
    fn client_sent(&self, segment: &Segment, payload: &[u8]) -> bool {
        let (source, destination) = (segment.source.port, segment.destination.port);
        match (self.ports.get(source), self.ports.get(destination)) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(spoken)) => {
                spoken.probes(payload) || (source != destination && source > destination)
            }
        }
    }

    fn advance(&mut self, key: &FlowKey, segment: &Segment, payload: &[u8], at: Timestamp) {
        let Some(flow) = self.table.get_mut(key) else {
            return;
        };
        if flow.over {
            self.out.bytes.lose("after close", payload.len() as u64);
            return;
        }
        let side = flow.side(segment.source);
        let now = flow.session.clock(at);
        let was_silent = flow.session.is_silent();
        let (span, waiting) = (flow.connection.span(), flow.connection.held());
        let mut reading = Reading {
            session: &mut flow.session,
            out: &mut self.out,
        };
        let state = flow
            .connection
            .segment(side, segment, payload, now, &mut reading);
        self.waiting = self.waiting + flow.connection.held() - waiting;
        if self.waiting + self.out.held > self.bounds.held {
            let waiting = flow.connection.held();
            let mut reading = Reading {
                session: &mut flow.session,
                out: &mut self.out,
            };
            flow.connection.shed(now, &mut reading);
            self.waiting = self.waiting + flow.connection.held() - waiting;
            if self.waiting + self.out.held > self.bounds.held {
                flow.session.give_up("memory limit", &mut self.out);
            }
        }
        self.out.stream.seen += flow.connection.span() - span;
        let is_silent = flow.session.is_silent();
        if was_silent && !is_silent && self.servers.len() < MAX_SERVERS {
            self.servers.insert(flow.session.server());
        }
        match state {
            State::Open => {
                let class = if flow.connection.is_ending() {
                    Class::Closed
                } else if is_silent {
                    Class::Silent
                } else {
                    Class::Open
                };
                self.table.touch(key, class, at);
            }
            State::Closed(reason) => {
                flow.session.close(reason, &mut self.out);
                flow.over = true;
                self.table.touch(key, Class::Closed, at);
            }
        }
    }

    /// Ends a flow and forgets it.
    fn end(&mut self, key: &FlowKey, reason: &'static str) {
        let Some(mut flow) = self.table.remove(key) else {
            return;
        };
        if flow.over {
            return;
        }
        let (span, waiting) = (flow.connection.span(), flow.connection.held());
        let at = flow.session.last_at();
        let mut reading = Reading {
            session: &mut flow.session,
            out: &mut self.out,
        };
        flow.connection.flush(at, &mut reading);
        self.waiting -= waiting;
        self.out.stream.seen += flow.connection.span() - span;
        let ending = flow.connection.is_ending();
        flow.session
            .close(if ending { "fin" } else { reason }, &mut self.out);
    }

    fn make_room(&mut self) {
        for (class, most, reason) in [
            (
                Class::Closed,
                self.bounds.closed_flows,
                "too many connections",
            ),
            (
                Class::Silent,
                self.bounds.silent_flows,
                "too many connections",
            ),
            (Class::Open, self.bounds.open_flows, "too many connections"),
        ] {
            while self.table.len(class) >= most.max(1) {
                let Some((key, _)) = self.table.oldest(class) else {
                    break;
                };
                self.end(&key, reason);
            }
        }
    }

    /// Ends what has been quiet for too long.
    pub fn expire(&mut self, now: Timestamp) {
        for (class, patience) in [
            (Class::Closed, self.bounds.closed_idle),
            (Class::Silent, self.bounds.silent_idle),
            (Class::Open, self.bounds.idle),
        ] {
            while let Some((key, at)) = self.table.oldest(class) {
                if now - at < patience {
                    break;
                }
                self.end(&key, "idle");
            }
        }
    }

    /// Ends all.
    pub fn finish(&mut self) {
        for class in [Class::Closed, Class::Silent, Class::Open] {
            while let Some((key, _)) = self.table.oldest(class) {
                self.end(&key, "capture ended");
            }
        }
    }
}
