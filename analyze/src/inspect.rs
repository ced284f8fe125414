use std::collections::{BTreeMap, HashMap, HashSet};

use protocol::Mender;
use recording::{
    ContentKind, Exchange, Kind, Ledger, Notes, Recording, Status, StoreError, Timestamp,
};
use serde::Serialize;

use crate::learnt::Learnt;
use crate::samples::{Mean, Samples, Summary};
use crate::table::{Named, Table, Tally, count, reason};

/// Fingerprints that are told apart; the least called beyond are counted together.
const FINGERPRINTS: usize = 10_000;
/// Fingerprints in each of the two lists of the busiest.
const TOP: usize = 50;
/// Sessions that are told apart; those that come later are only in the sums.
const SESSIONS: usize = 10_000;

/// What a recording or a run holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspection {
    pub id: String,
    /// `recording` or `run`.
    pub kind: String,
    pub tool: String,
    pub created_at: String,
    pub source: String,
    pub servers: Vec<String>,
    /// The writer came to its end.
    pub complete: bool,
    /// The writer is at work.
    pub being_written: bool,
    pub span: Span,
    /// Ordinary sessions, those that failed to log in or are encrypted among them; connections that
    /// only cancel are in `cancels`.
    pub sessions: u64,
    pub cancels: u64,
    #[serde(flatten)]
    pub totals: Totals,
    pub encrypted_sessions: u64,
    /// Sessions whose bytes broke the protocol's rules.
    pub protocol_violations: u64,
    /// Answered requests by what is odd in their form, or in their answer's.
    pub oddities: BTreeMap<String, u64>,
    /// Rows by what a reader should know of them.
    pub notes: BTreeMap<String, u64>,
    pub ledger: Ledger,
    /// The time of the last packet that the ledger has.
    pub ledger_at: Option<String>,
    /// What of the directory could not be read.
    pub left_out: Vec<String>,
    pub rates: Rates,
    /// Time to the last byte of the answers, and to their first.
    pub latency: Summary,
    pub first_byte: Summary,
    pub top_by_calls: Vec<Fingerprint>,
    pub top_by_time: Vec<Fingerprint>,
    pub fingerprints: Fingerprints,
    pub by_session: Vec<Session>,
    /// Sessions that are only in the sums.
    pub sessions_not_listed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    pub requests: u64,
    pub statements: u64,
    pub rows: u64,
    pub affected: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// By code; those of logins, and of what ended a session, too.
    pub errors: BTreeMap<String, u64>,
    /// Requests and logins without a complete answer, by reason.
    pub incomplete: BTreeMap<String, u64>,
}

/// From the first request or login to the last byte of an answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Span {
    pub start: String,
    pub end: String,
    pub seconds: f64,
}

/// Requests a second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rates {
    pub mean: f64,
    pub peak: u64,
    /// The second of the peak.
    pub peak_at: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Fingerprint {
    #[serde(flatten)]
    pub named: Named,
    pub calls: u64,
    pub rows: u64,
    pub errors: u64,
    pub time: Summary,
    pub first_byte_mean_ns: Option<u64>,
}

/// How many fingerprints there were.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fingerprints {
    pub told_apart: u64,
    /// Rare ones that were counted together, and how many requests they were.
    pub folded: u64,
    pub folded_calls: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Session {
    pub session: u64,
    pub protocol: String,
    pub client: String,
    pub server: String,
    pub user: Option<String>,
    pub database: Option<String>,
    pub application: Option<String>,
    pub started_at: String,
    pub seconds: f64,
    /// How it ended; absent where the end is not recorded.
    pub ended_by: Option<String>,
    pub encrypted: bool,
    pub mid_stream: bool,
    #[serde(flatten)]
    pub totals: Totals,
    #[serde(skip)]
    began: Timestamp,
    #[serde(skip)]
    order: usize,
}

#[derive(Debug)]
struct Calls {
    calls: u64,
    rows: u64,
    errors: u64,
    times: Samples,
    first_byte: Mean,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            calls: 0,
            rows: 0,
            errors: 0,
            times: Samples::coarse(),
            first_byte: Mean::default(),
        }
    }
}

impl Tally for Calls {
    fn calls(&self) -> u64 {
        self.calls
    }

    fn absorb(&mut self, other: Calls) {
        self.calls += other.calls;
        self.rows += other.rows;
        self.errors += other.errors;
        self.times.absorb(&other.times);
        self.first_byte.absorb(other.first_byte);
    }
}

impl Totals {
    fn add(&mut self, row: &Exchange) {
        if row.kind == Kind::Request {
            self.requests += 1;
            self.statements += u64::from(row.request.statements);
            self.request_bytes += row.request.wire_len;
        }
        if let Some(response) = &row.response {
            self.rows += response.rows;
            self.affected += response.affected;
            self.response_bytes += response.wire_len;
        }
        match row.status {
            Status::Ok => {}
            Status::Error => {
                let code = row.response.as_ref().and_then(|r| r.error_code.as_deref());
                count(&mut self.errors, code.unwrap_or("no code"), 1);
            }
            Status::Unanswered | Status::Skipped if row.kind == Kind::Close => {}
            Status::Unanswered | Status::Skipped => {
                count(&mut self.incomplete, &reason(row), 1);
            }
        }
    }
}

/// Sums up a recording or a run. Reads it once, in bounded memory.
pub fn inspect(recording: &Recording) -> Result<Inspection, StoreError> {
    let manifest = recording.manifest();
    let names = manifest.protocols.iter();
    let learnt = Learnt::new(names.filter_map(|name| protocol::by_name(name)));
    let counted = inspect_rows(recording.rows()?, learnt)?;
    Ok(Inspection {
        id: manifest.id.clone(),
        kind: match manifest.kind {
            ContentKind::Recording => "recording".to_owned(),
            ContentKind::Run => "run".to_owned(),
        },
        tool: manifest.tool.clone(),
        created_at: manifest.created_at.to_string(),
        source: manifest.source.clone(),
        servers: manifest
            .servers
            .iter()
            .map(|server| server.to_string())
            .collect(),
        complete: manifest.complete,
        being_written: !manifest.complete && recording.is_being_written(),
        ledger_at: manifest.ledger_at.map(|at| at.to_string()),
        ledger: manifest.ledger.clone(),
        // After the rows, for only then it is known.
        left_out: recording.left_out(),
        ..counted
    })
}

/// What is not in the rows (the manifest's part) is left empty.
fn inspect_rows<E>(
    rows: impl Iterator<Item = Result<Exchange, E>>,
    learnt: Learnt,
) -> Result<Inspection, E> {
    let mut counter = Counter::new(learnt);
    let mut mender = Mender::default();
    for row in rows {
        let mut row = row?;
        mender.mend(&mut row);
        counter.add(row);
    }
    Ok(counter.finish())
}

struct Counter {
    out: Inspection,
    first: Option<Timestamp>,
    last: Timestamp,
    /// Requests that were sent, and by second. A recording's rows come in order of time, so that the
    /// second under way is enough; a run's come in that of its recording.
    sent: u64,
    seconds: HashMap<i64, u64>,
    peak: (i64, u64),
    latency: Samples,
    first_byte: Samples,
    table: Table<Calls>,
    learnt: Learnt,
    listed: HashMap<u64, Session>,
    /// Open sessions in which the protocol was violated.
    violated: HashSet<u64>,
}

impl Counter {
    fn new(learnt: Learnt) -> Counter {
        Counter {
            out: Inspection::default(),
            first: None,
            last: Timestamp(0),
            sent: 0,
            seconds: HashMap::new(),
            peak: (0, 0),
            latency: Samples::fine(),
            first_byte: Samples::fine(),
            table: Table::new(FINGERPRINTS),
            learnt,
            listed: HashMap::new(),
            violated: HashSet::new(),
        }
    }

    fn add(&mut self, mut row: Exchange) {
        if row.kind == Kind::Request && self.learnt.name(&mut row) {
            self.table.rename(&self.learnt);
        }
        let row = &row;
        let sent_at = sent_at(row);
        let end = row.response.as_ref().map(|r| r.last_byte_at).or(sent_at);
        if let Some(at) = sent_at {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = self.last.max(at).max(end.unwrap_or_default());
        }
        for name in row.notes.to_string().split(',').filter(|n| !n.is_empty()) {
            count(&mut self.out.notes, name, 1);
        }
        self.violation(row);
        match row.kind {
            Kind::Open => self.open(row),
            Kind::Request => self.request(row),
            Kind::Cancel => {
                // Its opening was taken for a session's.
                self.out.cancels += 1;
                self.out.sessions = self.out.sessions.saturating_sub(1);
                if self.listed.remove(&row.session).is_none() {
                    let not_listed = &mut self.out.sessions_not_listed;
                    *not_listed = not_listed.saturating_sub(1);
                }
                return;
            }
            Kind::Prepare => return,
            Kind::Close => {}
        }
        self.out.totals.add(row);
        if let Some(session) = self.listed.get_mut(&row.session) {
            session.totals.add(row);
            if row.kind == Kind::Close {
                session.ended_by = Some(reason(row).to_string());
            }
            let end = end.unwrap_or_default().since(session.began) as f64 / 1e9;
            session.seconds = session.seconds.max(end);
        }
    }

    /// Counts sessions: the end of a session has the note again.
    fn violation(&mut self, row: &Exchange) {
        if row.notes.contains(Notes::VIOLATION) && self.violated.insert(row.session) {
            self.out.protocol_violations += 1;
        }
        if row.kind == Kind::Close {
            self.violated.remove(&row.session);
        }
    }

    fn open(&mut self, row: &Exchange) {
        self.out.sessions += 1;
        let encrypted = row.notes.contains(Notes::ENCRYPTED);
        self.out.encrypted_sessions += u64::from(encrypted);
        if self.listed.len() >= SESSIONS {
            self.out.sessions_not_listed += 1;
            return;
        }
        let began = sent_at(row).unwrap_or(row.started_at);
        let mut session = Session {
            session: row.session,
            started_at: began.to_string(),
            encrypted,
            mid_stream: row.notes.contains(Notes::MID_STREAM),
            began,
            order: self.listed.len(),
            ..Session::default()
        };
        if let Some(info) = row.info.as_deref() {
            let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
            session.protocol = info.protocol.to_string();
            session.client = info.client.to_string();
            session.server = info.server.to_string();
            session.user = text(&info.user);
            session.database = text(&info.database);
            session.application = text(&info.application);
        }
        self.listed.insert(row.session, session);
    }

    fn request(&mut self, row: &Exchange) {
        if let Some(at) = sent_at(row) {
            let second = at.0.div_euclid(1_000_000_000);
            if row.pacing.is_none() && !self.seconds.contains_key(&second) {
                self.seconds.clear();
            }
            let count = self.seconds.entry(second).or_default();
            *count += 1;
            if *count > self.peak.1 {
                self.peak = (second, *count);
            }
            self.sent += 1;
        }
        if let (Status::Ok | Status::Error, Some(oddity)) = (row.status, &row.reason) {
            count(&mut self.out.oddities, oddity, 1);
        }
        let calls = self.table.entry(row);
        calls.calls += 1;
        calls.rows += row.response.as_ref().map_or(0, |response| response.rows);
        calls.errors += u64::from(row.status == Status::Error);
        if let Some(ns) = row.service_ns() {
            calls.times.record(ns);
            self.latency.record(ns);
        }
        if let Some(ns) = row.first_byte_ns() {
            calls.first_byte.record(ns);
            self.first_byte.record(ns);
        }
    }

    fn finish(self) -> Inspection {
        let mut out = self.out;
        let first = self.first.unwrap_or_default();
        let seconds = self.last.since(first) as f64 / 1e9;
        if self.first.is_some() {
            out.span = Span {
                start: first.to_string(),
                end: self.last.to_string(),
                seconds,
            };
        }
        if self.peak.1 > 0 {
            out.rates = Rates {
                // Less than a second says nothing of a rate.
                mean: self.sent as f64 / seconds.max(1.0),
                peak: self.peak.1,
                peak_at: Timestamp(self.peak.0.saturating_mul(1_000_000_000)).to_string(),
            };
        }
        out.latency = self.latency.summary();
        out.first_byte = self.first_byte.summary();
        let (entries, rest, folded) = self.table.finish();
        out.fingerprints = Fingerprints {
            told_apart: entries.len() as u64,
            folded,
            folded_calls: rest.calls,
        };
        let mut all: Vec<Fingerprint> = entries
            .into_iter()
            .map(|(_, named, calls)| Fingerprint {
                named,
                calls: calls.calls,
                rows: calls.rows,
                errors: calls.errors,
                time: calls.times.summary(),
                first_byte_mean_ns: calls.first_byte.ns(),
            })
            .collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.calls));
        out.top_by_calls = all.iter().take(TOP).cloned().collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.time.total_ns));
        all.truncate(TOP);
        out.top_by_time = all;
        out.by_session = self.listed.into_values().collect();
        out.by_session
            .sort_by_key(|session| (session.order, session.session));
        out
    }
}

/// When the row began: in a run when it was sent there, on the run's clock, if it was.
fn sent_at(row: &Exchange) -> Option<Timestamp> {
    let at = row.pacing.map_or(row.started_at, |pacing| pacing.sent_at);
    (row.status != Status::Skipped && at != Timestamp(0)).then_some(at)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use recording::SessionInfo;

    use super::*;
    use crate::testing::{self, Change};

    fn inspect(rows: Vec<Exchange>) -> Inspection {
        let rows = rows.into_iter().map(Ok::<_, Infallible>);
        inspect_rows(rows, Learnt::new(protocol::by_name("http"))).expect("rows")
    }

    fn day() -> Inspection {
        let mut encrypted = testing::open(3);
        encrypted.notes.add(Notes::ENCRYPTED);
        let mut canceller = testing::open(4);
        canceller.info = canceller.info.map(|info| {
            Box::new(SessionInfo {
                backend: Some(1),
                ..*info
            })
        });
        let mut cancel = testing::request(4, 1, "");
        cancel.kind = Kind::Cancel;
        let mut odd = testing::request(1, 3, "insert into orders values (?, ?)").failed("23505");
        odd.reason = Some("line without CR".into());
        let mut rows = vec![
            testing::open(1),
            testing::open(2).failed("28P01"),
            encrypted.lost(Status::Unanswered, "encrypted"),
            canceller,
            testing::request(1, 1, "select total from orders where id = ?"),
            cancel,
            testing::request(1, 2, "select total from orders where id = ?").after_us(3_000),
            odd,
            testing::request(1, 4, "select pg_sleep(?)").after_us(90_000),
            testing::request(1, 5, "commit").lost(Status::Unanswered, "gap in the response"),
            testing::close(1, 6),
        ];
        rows.sort_by_key(Exchange::order);
        let mut ledger = Ledger::default();
        let packets = ledger.account_mut("packets");
        (packets.seen, packets.kept) = (1_204, 1_200);
        packets.lose("kernel drop", 4);
        Inspection {
            id: "5f0c33e8a1b2c3d4".to_owned(),
            kind: "recording".to_owned(),
            tool: "rehearsal 0.1.0".to_owned(),
            created_at: "2026-03-02T08:00:00.000Z".to_owned(),
            source: "interface lo, port 5432".to_owned(),
            ledger,
            ..inspect(rows)
        }
    }

    #[test]
    fn counts_everything_once() {
        let day = day();
        assert_eq!(
            (day.sessions, day.cancels, day.encrypted_sessions),
            (3, 1, 1)
        );
        assert_eq!((day.totals.requests, day.totals.statements), (5, 5));
        assert_eq!(day.totals.rows, 4);
        assert_eq!(day.by_session.len(), 3);
        insta::assert_json_snapshot!(day);
        for (columns, name) in [(100, "terminal"), (80, "terminal_narrow")] {
            let text = crate::report::inspection(&day, columns);
            assert!(text.lines().all(|line| line.chars().count() <= columns));
            insta::assert_snapshot!(name, text);
        }
    }

    #[test]
    fn statements_that_differ_by_a_name_are_counted_together() {
        let users = (0..300).map(|n| testing::request(1, n, &testing::user_page(n)));
        let others = (300..310).map(|n| testing::request(1, n, "GET /cart"));
        let day = inspect(users.chain(others).collect());
        let top: Vec<_> = day
            .top_by_calls
            .iter()
            .map(|it| (it.named.statement.as_str(), it.calls, it.time.count))
            .collect();
        assert_eq!(
            top,
            [("GET /users/{name}", 300, 300), ("GET /cart", 10, 10)]
        );
    }

    #[test]
    fn a_run_is_told_by_its_own_clock() {
        const DAY: i64 = 24 * 3600 * 1_000_000;
        let start = testing::open(1).started_at.0;
        let sent = |row: Exchange, after: i64| row.replayed_us(DAY + after);
        // The second session, which was recorded at the same time, is late.
        let mut rows = vec![
            sent(testing::open(1), 0),
            sent(testing::open(2), 5_000_000),
            sent(testing::request(1, 1, "select 1"), 0),
            sent(testing::request(2, 1, "select 1"), 5_000_000),
            sent(testing::request(1, 2, "select 2"), 0),
            sent(testing::request(2, 2, "select 2"), 5_000_000),
            sent(testing::request(2, 3, "select 3"), 5_000_000),
            testing::request(1, 3, "select 3").lost(Status::Skipped, "incomplete"),
        ];
        let mut unsent = testing::request(1, 4, "select 4");
        unsent = unsent.lost(Status::Skipped, "incomplete");
        unsent.pacing = Some(recording::Pacing::default());
        rows.push(unsent);
        let end = rows
            .iter()
            .filter_map(|row| Some(row.response.as_ref()?.last_byte_at.0));
        let end = end.max().unwrap_or_default();
        let run = inspect(rows);
        let began = start + DAY * 1_000;
        assert_eq!(run.span.start, Timestamp(began).to_string());
        assert_eq!(run.span.end, Timestamp(end).to_string());
        assert_eq!(run.span.seconds, (end - began) as f64 / 1e9);
        assert!(run.span.seconds < 10.0, "{}", run.span.seconds);
        assert_eq!(run.totals.requests, 7);
        assert_eq!(run.rates.mean, 5.0 / run.span.seconds);
        assert_eq!(run.rates.peak, 3);
        let told = crate::report::inspection(&run, 100);
        assert!(told.contains("requests/s, at most 3 in a second"), "{told}");
        let second = Timestamp(began + 5_000_000_000).to_string();
        assert_eq!(run.rates.peak_at, second);
        let late = &run.by_session[1];
        assert_eq!(late.started_at, second);
        assert!(late.seconds < 5.0, "{}", late.seconds);
    }

    #[test]
    fn nothing_is_no_trouble() {
        let none = inspect(Vec::new());
        assert_eq!((none.sessions, none.span.seconds), (0, 0.0));
        let told = crate::report::inspection(&none, 100);
        assert!(
            told.starts_with(", its manifest missing or damaged\n"),
            "{told}"
        );
        assert!(!told.contains("p50"), "{told}");
        assert!(told.contains("  ledger  seen  kept  lost\n"), "{told}");
        let lost = testing::request(1, 1, "select 1").lost(Status::Unanswered, "gap");
        let told = crate::report::inspection(&inspect(vec![testing::open(1), lost]), 100);
        assert!(told.contains("–"), "{told}");
        assert!(!told.contains(" 0 ns"), "{told}");
    }
}
