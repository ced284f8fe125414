use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use recording::{Exchange, Ledger, Timestamp};

use crate::flow::{Class, Connection, FlowKey, Handle, Place, State, Table};
use crate::options::Options;
use crate::packet::{Endpoint, Segment};
use crate::ports::Ports;
use crate::probe::Board;
use crate::session::{Output, Reading, Session};

pub const OTHER_PORT: &str = "other port";

/// Servers that are remembered by address.
const MAX_SERVERS: usize = 4096;

/// How long a connection may be quiet before it is taken for dead: one with data, one without, and
/// one that is over.
const OPEN_IDLE: Duration = Duration::from_secs(48 * 3600);
const SILENT_IDLE: Duration = Duration::from_secs(600);
const CLOSED_IDLE: Duration = Duration::from_secs(60);

/// What a connection takes, beside what waits in it and its decoder.
const FLOW_SIZE: usize = size_of::<Flow>() + Table::<Box<Flow>>::SLOT_SIZE;

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
    /// Bytes that it may hold.
    memory: usize,
    table: Table<Box<Flow>>,
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
    /// `memory` is its own part of what all workers may hold.
    pub fn new(
        options: &Options,
        memory: usize,
        last_session: Arc<AtomicU64>,
        board: Option<Arc<Board>>,
    ) -> Worker {
        Worker {
            ports: options.ports.clone(),
            memory,
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

    /// Bytes of connections, of segments that wait in them, and of their decoders.
    pub fn held(&self) -> usize {
        let classes = [Class::Closed, Class::Silent, Class::Open];
        let flows: usize = classes.iter().map(|class| self.table.len(*class)).sum();
        self.waiting + self.out.held + flows * FLOW_SIZE
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
        let known = self.table.find(&key);
        let known = known.filter(|place| !self.is_another(&key, *place, segment));
        let Some(place) = known.or_else(|| self.begin(key, segment, payload, at)) else {
            return;
        };
        self.advance(place, segment, payload, at);
    }

    /// Does the segment belong to another connection between the same ends?
    fn is_another(&mut self, key: &FlowKey, place: Handle, segment: &Segment) -> bool {
        let Some(flow) = self.table.get_mut(place) else {
            return true;
        };
        let side = flow.side(segment.source);
        let syn = segment.flags.syn() && !segment.flags.rst();
        if syn && flow.connection.place(side, segment) == Place::Next {
            self.end(key, "port reused");
            return true;
        }
        flow.over && segment.payload_len > 0 && flow.connection.is_far(side, segment)
    }

    /// Makes a flow, where the segment can begin one.
    fn begin(
        &mut self,
        key: FlowKey,
        segment: &Segment,
        payload: &[u8],
        at: Timestamp,
    ) -> Option<Handle> {
        let flags = segment.flags;
        if flags.rst() || (!flags.syn() && segment.payload_len == 0) {
            self.out
                .bytes
                .lose("payload of a reset", payload.len() as u64);
            return None;
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
            return None;
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
        Some(self.table.insert(key, Class::Silent, at, Box::new(flow)))
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

    fn advance(&mut self, place: Handle, segment: &Segment, payload: &[u8], at: Timestamp) {
        let Some(flow) = self.table.get_mut(place) else {
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
                self.table.touch(place, class, at);
            }
            State::Closed(reason) => {
                flow.session.close(reason, &mut self.out);
                flow.over = true;
                self.table.touch(place, Class::Closed, at);
            }
        }
        if self.held() > self.memory {
            self.relieve(place, now);
        }
    }

    /// Comes back to what it may hold: first by what waits in the connection at `place`, then by the
    /// whole of it where it has more than its part, and then by those that have been quiet for longest.
    fn relieve(&mut self, place: Handle, now: Timestamp) {
        const PART: usize = 8;
        if let Some(flow) = self.table.get_mut(place) {
            let (span, waiting) = (flow.connection.span(), flow.connection.held());
            let mut reading = Reading {
                session: &mut flow.session,
                out: &mut self.out,
            };
            flow.connection.shed(now, &mut reading);
            self.waiting = self.waiting + flow.connection.held() - waiting;
            self.out.stream.seen += flow.connection.span() - span;
            if flow.session.held() > self.memory / PART {
                flow.session.give_up("memory limit", &mut self.out);
            }
        }
        self.end_quietest();
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

    /// Makes room for one more connection. A flood of those without data, or of short ones, has but a
    /// part of the memory.
    fn make_room(&mut self) {
        for (class, part) in [(Class::Closed, 8), (Class::Silent, 4)] {
            let most = self.memory / part / FLOW_SIZE;
            while self.table.len(class) > most && self.end_oldest(class) {}
        }
        self.end_quietest();
    }

    fn end_quietest(&mut self) {
        while self.held() > self.memory
            && (self.end_oldest(Class::Closed)
                || self.end_oldest(Class::Silent)
                || self.end_oldest(Class::Open))
        {}
    }

    fn end_oldest(&mut self, class: Class) -> bool {
        let oldest = self.table.oldest(class);
        if let Some((key, _)) = oldest {
            self.end(&key, "too many connections");
        }
        oldest.is_some()
    }

    /// Ends what has been quiet for too long.
    pub fn expire(&mut self, now: Timestamp) {
        for (class, patience) in [
            (Class::Closed, CLOSED_IDLE),
            (Class::Silent, SILENT_IDLE),
            (Class::Open, OPEN_IDLE),
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
