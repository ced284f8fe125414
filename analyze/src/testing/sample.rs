//! Comparisons with something in every section.

use recording::{Captured, Exchange, Ledger, Notes, Status};

use super::{Change, close, open, request};
use crate::compare::tests::compare_rows;
use crate::compare::{About, Comparison};
use crate::gate::Gate;

const LOOKUP: &str = "select id, total from orders where id = ?";
const EXTRACT: &str = "select id, extract(epoch from placed_at) as total from orders where id = ?";
const FACTORIAL: &str = "select ?!";
const NOW: &str = "select id, now() as total from orders limit ?";
const REPORT: &str = "select c.id, sum(o.total) as total from customers c join orders o on o.customer_id = c.id \
     where o.placed_at between ? and ? group by c.id order by total desc limit ?";

fn about(id: &str, port: u16) -> About {
    About {
        is_run: true,
        path: format!("runs/{id}"),
        id: id.to_owned(),
        recording: "monday".to_owned(),
        tool: "rehearsal 0.1.0".to_owned(),
        protocols: vec!["fake".to_owned()],
        source: format!("fake://app@127.0.0.1:{port}/shop"),
        pacing: Some("speed 1".to_owned()),
        began: "2026-03-02T09:00:00.000Z".to_owned(),
        ended: Some("2026-03-02T09:02:00.000Z".to_owned()),
        complete: true,
        captured: Some(Captured {
            complete: true,
            ledger: Ledger::default(),
        }),
        ..About::default()
    }
}

/// Microseconds with a long tail, always the same.
fn micros(seed: u32, base: i64) -> i64 {
    let noise = i64::from(seed.wrapping_mul(2_654_435_761) >> 16) % 1_000;
    let tail = if noise > 985 {
        noise * noise / 40_000
    } else {
        0
    };
    base * (700 + noise + tail * 100) / 1_000
}

fn run(salt: u32, change: impl Fn(u32, Exchange) -> Exchange) -> Vec<Exchange> {
    let mut rows = vec![open(1), open(2), open(3)];
    for seq in 1..=600u32 {
        for session in 1..=3u64 {
            let (text, base) = match (seq + session as u32) % 6 {
                0 => (EXTRACT, 900),
                1 if seq % 50 == 1 => (FACTORIAL, 300),
                2 => (NOW, 400),
                3 => (REPORT, 24_000),
                _ => (LOOKUP, 350),
            };
            let n = seq * 3 + session as u32;
            let row = request(session, seq, text)
                .answered("17\t120.50\n18\t9.99\n19\t64.00")
                .replayed_us(i64::from(n % 7) * 20);
            let row = match text {
                NOW => row.answered(&format!("17\t2026-03-02 09:00:{salt}{:03}", n % 1_000)),
                _ => row,
            };
            rows.push(change(n, row.after_us(micros(n + salt, base))));
        }
    }
    rows.extend((1..=3).map(|session| close(session, 601)));
    rows.sort_by_key(Exchange::order);
    rows
}

fn statement(row: &Exchange) -> String {
    let statement = row.request.statement.as_ref();
    statement.map(|s| s.text.to_string()).unwrap_or_default()
}

fn newer(n: u32, row: Exchange) -> Exchange {
    match statement(&row).as_str() {
        EXTRACT => row.answered("17\t120.500000\n18\t9.99\n19\t64.000000"),
        FACTORIAL => row.failed("42601"),
        REPORT => row.after_us(micros(n, 61_000)),
        LOOKUP if n == 1_198 => row.lost(Status::Unanswered, "timed out"),
        LOOKUP if n % 400 == 3 => row.lost(Status::Skipped, "transaction failed"),
        _ => row,
    }
}

fn gap(n: u32, mut row: Exchange) -> Exchange {
    if n % 300 == 5 {
        row.notes.add(Notes::UNKNOWN_STATEMENT);
    }
    row
}

pub(crate) fn fail() -> Comparison {
    let (old, again) = (run(1, gap), run(2, gap));
    let new = run(3, |n, row| gap(n, newer(n, row)));
    compare_rows(
        [(about("old", 5413), &old), (about("new", 5418), &new)],
        Some((about("old-again", 5413), &again)),
        Gate::DEFAULT,
    )
}

pub(crate) fn pass() -> Comparison {
    let [old, new, again] = [1, 3, 2].map(|salt| run(salt, |_, row| row));
    compare_rows(
        [(about("old", 5413), &old), (about("new", 5413), &new)],
        Some((about("old-again", 5413), &again)),
        Gate::DEFAULT,
    )
}

pub(crate) fn inconclusive() -> Comparison {
    let old = run(1, |n, mut row| {
        if n % 5 == 0 {
            row.notes.add(Notes::ENCRYPTED);
        }
        row
    });
    let mut new = about("new", 5418);
    new.complete = false;
    new.notes
        .push("harness saturated: 4.1 % of the requests were sent late".to_owned());
    let ledger = new.ledger.account_mut("requests");
    (ledger.seen, ledger.kept) = (1_800, 1_797);
    let recording = About {
        is_run: false,
        id: "monday".to_owned(),
        source: "interface eth0, port 5432".to_owned(),
        pacing: None,
        ..about("monday", 5432)
    };
    let old: Vec<Exchange> = old
        .into_iter()
        .map(|mut row| {
            row.pacing = None;
            match statement(&row).as_str() {
                NOW => row.answered("17\t1").after_us(400),
                _ => row.after_us(500),
            }
        })
        .collect();
    let replayed = run(3, |_, row| match statement(&row).as_str() {
        NOW => row.answered("17\t1"),
        _ => row,
    });
    compare_rows([(recording, &old), (new, &replayed)], None, Gate::DEFAULT)
}

pub(crate) fn empty() -> Comparison {
    let runs = [(about("old", 5413), &[][..]), (about("new", 5418), &[])];
    compare_rows(runs, None, Gate::DEFAULT)
}
