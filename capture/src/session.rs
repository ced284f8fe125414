use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::{Decoder, Limits, Opening, PROBE_NAME, Side, Strangers};
use recording::{Account, Exchange, Kind, Ledger, Notes, SessionInfo, Timestamp};

use crate::choice::{Assumed, Only};
use crate::flow::{Delivery, Inserted};
use crate::options::Options;
use crate::ports::Spoken;
use crate::probe::Findings;

/// Statements whose text was not learnt.
const STRANGERS: &str = "prepared before the capture";
/// Sessions of a probe, this capture's or another's.
const OWN_PROBE: &str = "own probe";

/// The middle of something, on a port that several protocols may be spoken on.
const UNTOLD: &str = "protocol not told";

/// What sessions give: rows, and the accounts of what did not become one.
#[derive(Debug)]
pub struct Output {
    pub rows: Vec<Exchange>,
    /// Captured payload.
    pub bytes: Account,
    /// The streams, captured or not.
    pub stream: Account,
    pub sessions: Account,
    /// Requests that decoders gave; what became of them is the writer's to count.
    pub requests: u64,
    /// Bytes that decoders hold.
    pub held: usize,
    pub limits: Limits,
    pub only: Only,
    pub assumed: Assumed,
    /// What the server told last.
    pub findings: Option<Arc<Findings>>,
    pub strangers: Strangers,
    /// Shared by the workers, so that each session has a number of its own.
    pub last_session: Arc<AtomicU64>,
}

impl Output {
    pub fn new(options: &Options, last_session: Arc<AtomicU64>) -> Output {
        Output {
            rows: Vec::new(),
            bytes: Account::default(),
            stream: Account::default(),
            sessions: Account::default(),
            requests: 0,
            held: 0,
            limits: options.limits,
            only: options.only.clone(),
            assumed: options.assumed.clone(),
            findings: None,
            strangers: Strangers::default(),
            last_session,
        }
    }

    pub fn add_to(&self, ledger: &mut Ledger) {
        *ledger.account_mut("bytes") = self.bytes.clone();
        *ledger.account_mut("stream") = self.stream.clone();
        *ledger.account_mut("sessions") = self.sessions.clone();
        ledger.account_mut("requests").seen = self.requests;
        let Strangers {
            learnt,
            lacking,
            lost,
        } = self.strangers;
        if learnt + lacking + lost > 0 {
            let statements = ledger.account_mut("statements");
            statements.seen = learnt + lacking + lost;
            statements.kept = learnt;
            statements.lose(STRANGERS, lacking + lost);
        }
    }
}

/// One connection's bytes on their way to its decoder.
#[derive(Debug)]
pub struct Session {
    spoken: Spoken,
    /// Known when something came that tells it.
    protocol: &'static str,
    client: SocketAddr,
    server: SocketAddr,
    opened_at: Timestamp,
    mid_stream: bool,
    /// Something came before the protocol was told.
    untold: bool,
    number: u64,
    decoding: Decoding,
    /// Bytes that the decoder took, to be counted as lost if it finds that they are not its.
    taken: u64,
    held: usize,
    last_at: Timestamp,
    notes: Notes,
    stepping: bool,
    /// The number of the findings that the decoder knows.
    informed: u64,
    /// Are findings of its server?
    asked: Option<bool>,
    strangers: Strangers,
}

#[derive(Debug)]
enum Decoding {
    /// Nothing came yet that tells the protocol: a decoder is made when something does.
    Waiting,
    Reading(Box<dyn Decoder>),
    /// Nothing more can be read; the decoder stays for the end of its session.
    Opaque(Box<dyn Decoder>, Arc<str>),
    Over(Arc<str>),
}

impl Session {
    pub fn new(
        spoken: Spoken,
        client: SocketAddr,
        server: SocketAddr,
        opened_at: Timestamp,
        mid_stream: bool,
    ) -> Session {
        Session {
            spoken,
            protocol: "",
            client,
            server,
            opened_at,
            mid_stream,
            untold: false,
            number: 0,
            decoding: Decoding::Waiting,
            taken: 0,
            held: 0,
            last_at: opened_at,
            notes: Notes::default(),
            stepping: false,
            informed: 0,
            asked: None,
            strangers: Strangers::default(),
        }
    }

    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Is there nothing in the session yet?
    pub fn is_silent(&self) -> bool {
        matches!(self.decoding, Decoding::Waiting)
    }

    /// Bytes that its decoder holds.
    pub fn held(&self) -> usize {
        self.held
    }

    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The time of a packet as the session sees it: never before the one before.
    pub fn clock(&mut self, at: Timestamp) -> Timestamp {
        /// Packets of several receive queues may be swapped by less.
        const STEP_NS: u64 = 1_000_000;
        self.stepping = self.last_at.since(at) > STEP_NS;
        self.last_at = self.last_at.max(at);
        self.last_at
    }

    /// Ends the session: the rows that were open, and its end.
    pub fn close(&mut self, reason: &'static str, out: &mut Output) {
        let at = self.last_at;
        match &mut self.decoding {
            Decoding::Waiting if self.untold => out.sessions.lose(UNTOLD, 1),
            Decoding::Waiting => out.sessions.lose("no data", 1),
            Decoding::Reading(decoder) | Decoding::Opaque(decoder, _) => {
                let rows = out.rows.len();
                decoder.close(reason, at, &mut out.rows);
                let refused = self.sign(rows, out);
                match refused.or_else(|| self.rejection()) {
                    Some(reason) => self.reject(&reason, out),
                    None => {
                        self.count_strangers(true, out);
                        out.sessions.kept += 1;
                    }
                }
            }
            Decoding::Over(_) => {}
        }
        out.held -= std::mem::take(&mut self.held);
        self.decoding = Decoding::Over(Arc::from("after close"));
    }

    /// Ends the session where going on would take too much memory.
    pub fn give_up(&mut self, reason: &'static str, out: &mut Output) {
        if let Decoding::Reading(_) = self.decoding {
            self.close(reason, out);
            self.decoding = Decoding::Over(Arc::from(reason));
        }
    }

    /// Makes the rows that just came the session's own; or drops them, where their opening tells
    /// that it is one to leave out.
    fn sign(&mut self, from: usize, out: &mut Output) -> Option<Arc<str>> {
        for row in out.rows.iter_mut().skip(from) {
            out.assumed.complete(row);
        }
        let mut infos = out
            .rows
            .iter()
            .skip(from)
            .filter_map(|row| row.info.as_deref());
        let own = |info: &SessionInfo| {
            (info.application.as_deref() == Some(PROBE_NAME)).then_some(OWN_PROBE)
        };
        if let Some(reason) = infos.find_map(|info| own(info).or_else(|| out.only.refuses(info))) {
            out.rows.truncate(from);
            return Some(Arc::from(reason));
        }
        for row in out.rows.iter_mut().skip(from) {
            row.session = self.number;
            row.notes.add(self.notes);
            if self.stepping {
                row.notes.add(Notes::CLOCK_STEP);
            }
            if matches!(row.kind, Kind::Request | Kind::Cancel) {
                out.requests += 1;
            }
        }
        None
    }

    /// Makes the decoder, where the bytes tell which; those of a gap are not known.
    fn start(&mut self, from: Side, bytes: &[u8], out: &mut Output) {
        let first = !self.mid_stream && !self.untold;
        let Some(protocol) = self.spoken.told_by(from, bytes, first) else {
            self.untold = true;
            return;
        };
        self.protocol = protocol.name();
        self.number = out.last_session.fetch_add(1, Ordering::Relaxed) + 1;
        let info = SessionInfo {
            protocol: Arc::from(self.protocol),
            client: self.client,
            server: self.server,
            user: None,
            database: None,
            application: None,
            backend: None,
        };
        let opening = Opening {
            at: self.opened_at,
            mid_stream: self.mid_stream || self.untold,
            info,
        };
        self.decoding = Decoding::Reading(protocol.decoder(opening, out.limits));
    }

    /// Looks at the decoder after each call.
    fn after(&mut self, rows: usize, out: &mut Output) {
        let mut refused = None;
        if out.rows.len() > rows {
            self.count_strangers(false, out);
            refused = self.sign(rows, out);
        }
        let Decoding::Reading(decoder) = &self.decoding else {
            return;
        };
        let held = decoder.held();
        out.held = out.held + held - std::mem::replace(&mut self.held, held);
        if let Some(reason) = refused.or_else(|| self.rejection()) {
            self.reject(&reason, out);
        } else if let Some(reason) = decoder.opaque() {
            let over = Decoding::Over(Arc::from(reason));
            if let Decoding::Reading(decoder) = std::mem::replace(&mut self.decoding, over) {
                self.decoding = Decoding::Opaque(decoder, Arc::from(reason));
            }
        }
    }

    /// Tells the decoder what is new.
    fn inform(&mut self, out: &Output) {
        if let Some(findings) = &out.findings
            && findings.number != self.informed
            && let Decoding::Reading(decoder) = &mut self.decoding
        {
            self.informed = findings.number;
            if let Some(known) = findings.of(self.client) {
                let asked = &mut self.asked;
                if *asked.get_or_insert_with(|| findings.are_of(self.server)) {
                    decoder.learn(known);
                }
            }
        }
    }

    /// Counts statements that the client named and that nobody saw it prepare.
    fn count_strangers(&mut self, over: bool, out: &mut Output) {
        let (Decoding::Reading(decoder) | Decoding::Opaque(decoder, _)) = &self.decoding else {
            return;
        };
        let mut now = decoder.strangers();
        if over {
            now.lost += std::mem::take(&mut now.lacking);
        }
        let before = std::mem::replace(&mut self.strangers, now);
        let sum = &mut out.strangers;
        sum.learnt += now.learnt - before.learnt;
        sum.lacking = sum.lacking + now.lacking - before.lacking;
        sum.lost += now.lost - before.lost;
    }

    fn rejection(&self) -> Option<Arc<str>> {
        let (Decoding::Reading(decoder) | Decoding::Opaque(decoder, _)) = &self.decoding else {
            return None;
        };
        let reason = decoder.rejected()?;
        Some(Arc::from(format!("not {}: {reason}", self.protocol)))
    }

    fn reject(&mut self, reason: &Arc<str>, out: &mut Output) {
        let taken = std::mem::take(&mut self.taken);
        for account in [&mut out.bytes, &mut out.stream] {
            account.kept -= taken;
            account.lose(reason, taken);
        }
        out.sessions.lose(reason, 1);
        let counted = std::mem::take(&mut self.strangers);
        out.strangers.learnt -= counted.learnt;
        out.strangers.lacking -= counted.lacking;
        out.strangers.lost -= counted.lost;
        out.held -= std::mem::take(&mut self.held);
        self.decoding = Decoding::Over(Arc::clone(reason));
    }
}

/// A session with the place for what it gives.
#[derive(Debug)]
pub struct Reading<'a> {
    pub session: &'a mut Session,
    pub out: &'a mut Output,
}

impl Delivery for Reading<'_> {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp) {
        let len = bytes.len() as u64;
        if self.session.is_silent() {
            self.session.start(from, bytes, self.out);
        }
        self.session.inform(self.out);
        match &mut self.session.decoding {
            Decoding::Reading(decoder) => {
                let rows = self.out.rows.len();
                decoder.data(from, bytes, at, &mut self.out.rows);
                self.session.taken += len;
                self.out.bytes.kept += len;
                self.out.stream.kept += len;
                self.session.after(rows, self.out);
            }
            Decoding::Opaque(_, reason) | Decoding::Over(reason) => {
                self.out.bytes.lose(reason, len);
                self.out.stream.lose(reason, len);
            }
            Decoding::Waiting => {
                self.out.bytes.lose(UNTOLD, len);
                self.out.stream.lose(UNTOLD, len);
            }
        }
    }

    fn gap(&mut self, from: Side, len: u64, cut: bool, at: Timestamp) {
        let reason = if cut { "snap length" } else { "not captured" };
        self.out.stream.lose(reason, len);
        if self.session.is_silent() {
            self.session.start(from, &[], self.out);
        }
        if let Decoding::Reading(decoder) = &mut self.session.decoding {
            let rows = self.out.rows.len();
            decoder.gap(from, len, at, &mut self.out.rows);
            self.session.after(rows, self.out);
        }
    }

    fn end(&mut self, from: Side, at: Timestamp) {
        if let Decoding::Reading(decoder) = &mut self.session.decoding {
            let rows = self.out.rows.len();
            decoder.end(from, at, &mut self.out.rows);
            self.session.after(rows, self.out);
        }
    }

    fn again(&mut self, inserted: Inserted) {
        if inserted.overlapped > 0 {
            self.session.notes.add(Notes::OVERLAP);
        }
        for (reason, bytes) in [
            ("retransmission", inserted.retransmitted),
            ("overlap", inserted.overlapped),
            ("keep-alive", inserted.keep_alive),
        ] {
            self.out.bytes.lose(reason, bytes);
        }
    }

    fn ignored(&mut self, reason: &'static str, bytes: u64) {
        self.out.bytes.lose(reason, bytes);
    }
}
