//! Both directions of a TCP connection: bytes in the order in which the ends got them.
//!
//! A segment is delivered when all that comes before it in its own direction is known, and all
//! that its sender had acknowledged of the other. What is missing is waited for, for a while, and
//! then given up as a gap of exact length:
//!
//! ```text
//!                     hole begins                    hole filled
//!   in order ───────────────────────► holding ─────────────────────► in order
//!                                        │
//!                                        │ the other end has it (it was acknowledged) and
//!                                        │ REORDER_WAIT is over; or HOLE_PATIENCE is over;
//!                                        │ or a cap is reached; or the connection ends
//!                                        ▼
//!                                  Gap(exact length) ──────────────► in order
//! ```
//!
//! Each byte counts as seen when its packet was, however long it waited here. Where packets came out of
//! order, that is not before the bytes before it, without which nobody could read it; and not after an
//! answer to it, nor before what it answers. Of what was lost is known only when it was missed.

use std::time::Duration;

use protocol::Side;
use recording::Timestamp;

use super::assembler::{Assembler, Held, Inserted};
use crate::packet::Segment;

/// How far two captured packets may be out of order in time, when the network or several receive
/// queues swap them.
const REORDER_WAIT: Duration = Duration::from_millis(100);
/// How long a hole may wait that nobody has acknowledged: some retransmissions.
const HOLE_PATIENCE: Duration = Duration::from_secs(10);

/// Takes what a connection carried.
pub trait Delivery {
    fn data(&mut self, from: Side, bytes: &[u8], at: Timestamp);

    /// `cut`: the packet was seen, but the capture kept too little of it.
    fn gap(&mut self, from: Side, len: u64, cut: bool, at: Timestamp);

    /// It said all that it had to say, and all of it was delivered or given up. Told once.
    fn end(&mut self, _from: Side, _at: Timestamp) {}

    /// Captured bytes that carried nothing new.
    fn again(&mut self, inserted: Inserted);

    /// Captured bytes of a segment that must not be read.
    fn ignored(&mut self, reason: &'static str, bytes: u64);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Closed(&'static str),
}

#[derive(Debug, Default)]
pub struct Connection {
    client: Direction,
    server: Direction,
}

/// Where a segment stands in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Here,
    /// It opens another connection between the same ends.
    Next,
}

#[derive(Debug, Default)]
struct Direction {
    /// Set by the first segment that tells where the stream begins.
    assembler: Option<Assembler>,
    /// Sequence number of the SYN.
    syn: Option<u32>,
    /// A packet of this direction was captured.
    seen: bool,
    /// The other end has all before it.
    acked: i64,
    fin: Option<i64>,
    /// The end was told.
    over: bool,
    hole_since: Option<Timestamp>,
    /// When what was delivered last counts as seen.
    last_at: Timestamp,
}

impl Direction {
    fn begin(&mut self, seq: u32) -> &mut Assembler {
        self.assembler.get_or_insert_with(|| Assembler::new(seq))
    }

    fn next(&self) -> i64 {
        self.assembler.as_ref().map_or(0, Assembler::next)
    }

    /// Nothing has come that depends on where the stream begins.
    fn is_fresh(&self) -> bool {
        self.assembler.as_ref().is_none_or(Assembler::is_fresh)
    }

    /// Can the stream have begun with a SYN of that number?
    fn begins_after(&self, syn: u32) -> bool {
        const LATE: u32 = 1 << 16;
        self.assembler
            .as_ref()
            .is_none_or(|it| it.base().wrapping_sub(syn.wrapping_add(1)) < LATE)
    }

    /// Is all before `offset` settled? The end itself takes a sequence number.
    fn reached(&self, offset: i64) -> bool {
        offset <= self.next() || self.fin.is_some_and(|fin| self.next() >= fin)
    }

    fn front(&self) -> Option<&Held> {
        self.assembler.as_ref().and_then(Assembler::front)
    }

    /// Is the first held segment the next one?
    fn is_due(&self) -> bool {
        self.front().is_some_and(|held| held.start <= self.next())
    }

    /// What waits of this direction for what is missing at `offset` of the other.
    fn needs(&self, offset: i64) -> Option<&Held> {
        self.front().filter(|held| held.after > offset)
    }

    /// When bytes from `start` on, of a packet that came at `at`, count as seen.
    fn seen(&mut self, start: i64, at: Timestamp, other: &Direction) -> Timestamp {
        let answered = other.needs(start).map(|held| held.seen_at);
        let at = answered.map_or(at, |answered| at.min(answered.max(other.last_at)));
        self.last_at = self.last_at.max(at);
        self.last_at
    }

    /// Is nothing missing, and does nothing wait?
    fn is_settled(&self) -> bool {
        let next = self.next();
        self.front().is_none() && self.acked <= next && self.fin.is_none_or(|fin| fin <= next)
    }

    fn finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next() >= fin)
    }

    /// Where the stream goes on after a hole at `next`, and whether the other end has seen what
    /// was in it. `needed`: something of the other end's waits for it.
    fn hole(&self, needed: bool) -> Option<(i64, bool)> {
        let assembler = self.assembler.as_ref()?;
        let next = assembler.next();
        let start = assembler.front().map(|held| held.start);
        // The byte after the last is the end's.
        let acked = self.fin.map_or(self.acked, |fin| self.acked.min(fin));
        match start {
            Some(start) if start <= next => None,
            Some(start) if acked > next => Some((start.min(acked), true)),
            Some(start) => Some((start, false)),
            // One byte more than is known, and nothing after it: an end that was not captured.
            None if acked == next + 1 && self.fin.is_none() && !needed => None,
            None if acked > next => Some((acked, true)),
            None => self.fin.filter(|fin| *fin > next).map(|fin| (fin, false)),
        }
    }
}

impl Connection {
    fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// The direction of `side`'s bytes, and the other.
    fn directions(&mut self, side: Side) -> (&mut Direction, &mut Direction) {
        match side {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        }
    }

    /// A direction's [`Direction::hole`], no further than to where the other end had received what was
    /// in it when it sent what waits: that comes in between.
    fn hole(&self, side: Side) -> Option<(i64, bool)> {
        let (direction, other) = match side {
            Side::Client => (&self.client, &self.server),
            Side::Server => (&self.server, &self.client),
        };
        let needed = other.needs(direction.next());
        let (end, proven) = direction.hole(needed.is_some())?;
        Some((needed.map_or(end, |held| held.after.min(end)), proven))
    }

    /// When a direction's hole was noticed: something was seen that was sent after what is missing.
    fn noticed(&self, side: Side, at: Timestamp) -> Timestamp {
        let (direction, other) = match side {
            Side::Client => (&self.client, &self.server),
            Side::Server => (&self.server, &self.client),
        };
        let later = direction.front().into_iter();
        let later = later.chain(other.needs(direction.next()));
        let first = later.map(|held| held.seen_at).min();
        direction.hole_since.or(first).unwrap_or(at)
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        let held = |it: &Direction| it.assembler.as_ref().map_or(0, Assembler::held_bytes);
        held(&self.client) + held(&self.server)
    }

    /// Bytes of both streams so far, delivered or given up.
    pub fn span(&self) -> u64 {
        self.client.next().unsigned_abs() + self.server.next().unsigned_abs()
    }

    /// Does a SYN belong to this connection, or does it open the next one?
    pub fn place(&self, from: Side, segment: &Segment) -> Place {
        let direction = self.direction(from);
        match direction.syn {
            Some(syn) if syn == segment.seq => Place::Here,
            // Captured after some of what follows it.
            None if direction.begins_after(segment.seq) => Place::Here,
            // The first answer to the client's SYN was another one's.
            Some(_) if segment.flags.ack() && direction.is_fresh() => Place::Here,
            _ => Place::Next,
        }
    }

    /// Is a segment far from where the connection stands, as one of another connection would be?
    pub fn is_far(&self, from: Side, segment: &Segment) -> bool {
        const NEAR: i64 = 1 << 20;
        match &self.direction(from).assembler {
            Some(assembler) => (assembler.offset(segment.seq) - assembler.next()).abs() > NEAR,
            None => false,
        }
    }

    /// Have both ends said that they are done? A hole may still be waited for.
    pub fn is_ending(&self) -> bool {
        self.client.fin.is_some() && self.server.fin.is_some()
    }

    /// Takes a segment. `at` never steps back.
    pub fn segment(
        &mut self,
        from: Side,
        segment: &Segment,
        payload: &[u8],
        at: Timestamp,
        out: &mut impl Delivery,
    ) -> State {
        if self.client.hole_since.is_some() || self.server.hole_since.is_some() {
            // What has waited long enough comes before this segment.
            self.settle(at, out);
        }
        let flags = segment.flags;
        let (sender, receiver) = self.directions(from);
        sender.seen = true;
        if flags.syn() {
            if sender.syn != Some(segment.seq) && sender.is_fresh() {
                sender.assembler = Some(Assembler::new(segment.seq.wrapping_add(1)));
                sender.acked = 0;
            }
            sender.syn = Some(segment.seq);
        }
        if flags.rst() {
            if !payload.is_empty() {
                out.ignored("payload of a reset", payload.len() as u64);
            }
            let old = sender
                .assembler
                .as_ref()
                .is_some_and(|it| it.offset(segment.seq) < it.next());
            if old {
                return State::Open;
            }
            self.flush(at, out);
            return State::Closed("rst");
        }
        let mut after = i64::MIN;
        if flags.ack() {
            let acknowledged = receiver.begin(segment.ack).offset(segment.ack);
            receiver.acked = receiver.acked.max(acknowledged);
            after = acknowledged;
        }
        if segment.payload_len > 0 || flags.fin() {
            let seq = segment.seq.wrapping_add(flags.syn().into());
            let reached = receiver.reached(after);
            let assembler = sender.assembler.get_or_insert_with(|| Assembler::new(seq));
            let start = assembler.offset(seq);
            if flags.fin() {
                sender
                    .fin
                    .get_or_insert(start + i64::from(segment.payload_len));
            }
            if segment.payload_len > 0 {
                let whole = payload.len() == segment.payload_len as usize;
                if whole && reached && assembler.expects(start) {
                    assembler.deliver(payload);
                    out.data(from, payload, sender.seen(start, at, receiver));
                } else {
                    let len = segment.payload_len;
                    let inserted = assembler.insert(start, payload, len, after, at);
                    if inserted != Inserted::default() {
                        out.again(inserted);
                    }
                }
            }
        }
        self.settle(at, out);
        self.tell_ends(at, out);
        if self.client.finished() && self.server.finished()
            || self.client.finished() && !self.server.seen
            || self.server.finished() && !self.client.seen
        {
            self.flush(at, out);
            return State::Closed("fin");
        }
        State::Open
    }

    fn tell_ends(&mut self, at: Timestamp, out: &mut impl Delivery) {
        for side in [Side::Client, Side::Server] {
            let direction = self.directions(side).0;
            if direction.finished() && !std::mem::replace(&mut direction.over, true) {
                out.end(side, at);
            }
        }
    }

    /// Delivers what is due, and gives up what has been waited for long enough.
    fn settle(&mut self, at: Timestamp, out: &mut impl Delivery) {
        if self.client.is_settled() && self.server.is_settled() {
            self.client.hole_since = None;
            self.server.hole_since = None;
            return;
        }
        loop {
            self.pump(out);
            let given_up =
                self.give_up(Side::Client, at, out) || self.give_up(Side::Server, at, out);
            if !given_up {
                return;
            }
        }
    }

    /// Gives up all that is missing, delivers the rest and frees what was held.
    pub fn flush(&mut self, at: Timestamp, out: &mut impl Delivery) {
        loop {
            self.pump(out);
            let skipped = self.skip(Side::Client, at, out) || self.skip(Side::Server, at, out);
            if !skipped {
                break;
            }
        }
        self.tell_ends(at, out);
        for direction in [&mut self.client, &mut self.server] {
            if let Some(assembler) = &mut direction.assembler {
                assembler.clear();
            }
        }
    }

    /// Gives up memory at once.
    pub fn shed(&mut self, at: Timestamp, out: &mut impl Delivery) {
        while self.held() > 0
            && (self.skip(Side::Client, at, out) || self.skip(Side::Server, at, out))
        {
            self.pump(out);
        }
    }

    fn pump(&mut self, out: &mut impl Delivery) {
        loop {
            // Two that wait for each other can only be forged.
            let knot = self.client.is_due() && self.server.is_due();
            let moved = self.pump_one(Side::Client, false, out)
                || self.pump_one(Side::Server, false, out)
                || knot && self.pump_one(Side::Client, true, out);
            if !moved {
                return;
            }
        }
    }

    fn pump_one(&mut self, side: Side, anyway: bool, out: &mut impl Delivery) -> bool {
        let (sender, receiver) = self.directions(side);
        let Some(assembler) = &mut sender.assembler else {
            return false;
        };
        let Some(front) = assembler.front() else {
            return false;
        };
        let waits =
            !receiver.reached(front.after) && (receiver.hole(true).is_some() || receiver.is_due());
        if waits && !anyway {
            return false;
        }
        let Some(held) = assembler.pop() else {
            return false;
        };
        let cut = assembler.skip_to(held.end());
        let at = sender.seen(held.start, held.seen_at, receiver);
        if !held.bytes.is_empty() {
            out.data(side, &held.bytes, at);
        }
        if cut > 0 {
            out.gap(side, cut, true, at);
        }
        sender.hole_since = None;
        true
    }

    /// Gives up a direction's hole where it is time to.
    fn give_up(&mut self, side: Side, at: Timestamp, out: &mut impl Delivery) -> bool {
        let (hole, since) = (self.hole(side), self.noticed(side, at));
        let direction = self.directions(side).0;
        let Some((_, proven)) = hole else {
            direction.hole_since = None;
            return false;
        };
        direction.hole_since = Some(since);
        let over_cap = [&self.client, &self.server]
            .iter()
            .any(|it| it.assembler.as_ref().is_some_and(Assembler::over_cap));
        let direction = self.direction(side);
        let wait = match (proven, direction.seen) {
            (true, false) => Duration::ZERO,
            (true, true) => REORDER_WAIT,
            (false, _) => HOLE_PATIENCE,
        };
        (over_cap || at - since >= wait) && self.skip(side, at, out)
    }

    fn skip(&mut self, side: Side, at: Timestamp, out: &mut impl Delivery) -> bool {
        let Some((target, _)) = self.hole(side) else {
            return false;
        };
        let noticed = self.noticed(side, at);
        let (direction, _) = self.directions(side);
        direction.hole_since = None;
        let Some(assembler) = &mut direction.assembler else {
            return false;
        };
        let missing = assembler.skip_to(target);
        if missing > 0 {
            out.gap(side, missing, false, noticed.max(direction.last_at));
        }
        missing > 0
    }
}

#[cfg(test)]
mod tests;
