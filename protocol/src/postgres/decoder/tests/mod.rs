mod flows;
mod hostile;
mod login;
mod loss;
mod lost_login;

use std::fmt::Write;

use recording::{Exchange, Kind, Notes, SessionInfo, Timestamp};

use super::Decoder;
use super::unit::Unit;
use crate::border::{Decoder as _, Executed, Known, Limits, Opening, Side};
use crate::postgres::testing::{client, server};

/// What stands on the wire, in order of time.
#[derive(Clone, Debug)]
enum Step {
    Client(Vec<u8>),
    Server(Vec<u8>),
    ClientGap(u64),
    ServerGap(u64),
}

use Step::{Client as C, ClientGap, Server as S, ServerGap};

const LIMITS: Limits = Limits {
    request: 4096,
    body: 4096,
};

fn decoder(mid_stream: bool) -> Decoder {
    let info = SessionInfo {
        protocol: "postgres".into(),
        client: ([127, 0, 0, 1], 40_000).into(),
        server: ([127, 0, 0, 1], 5432).into(),
        user: None,
        database: None,
        application: None,
        backend: None,
    };
    let opening = Opening {
        at: Timestamp(1),
        mid_stream,
        info,
    };
    Decoder::new(opening, LIMITS)
}

/// The server says what it executed last, and when.
fn executed(text: &str, earliest: i64, latest: i64) -> Known {
    Known {
        user: Some("ann".into()),
        executed: Some(Executed {
            text: text.into(),
            earliest: Timestamp(earliest),
            latest: Timestamp(latest),
        }),
        ..Known::default()
    }
}

fn take(decoder: &mut Decoder, step: &Step, at: Timestamp, out: &mut Vec<Exchange>) {
    match step {
        C(bytes) => decoder.data(Side::Client, bytes, at, out),
        S(bytes) => decoder.data(Side::Server, bytes, at, out),
        ClientGap(len) => decoder.gap(Side::Client, *len, at, out),
        ServerGap(len) => decoder.gap(Side::Server, *len, at, out),
    }
}

/// The rows of a whole connection: step n is at time 10 n.
fn rows_of(mid_stream: bool, steps: &[Step]) -> (Vec<Exchange>, Decoder) {
    let (mut decoder, mut out) = (decoder(mid_stream), Vec::new());
    let mut at = 0;
    for step in steps {
        at += 10;
        take(&mut decoder, step, Timestamp(at), &mut out);
    }
    decoder.close("fin", Timestamp(at + 10), &mut out);
    let places: Vec<_> = out.iter().map(|row| row.seq).collect();
    assert_eq!(places, (0..out.len() as u32).collect::<Vec<_>>());
    if !out.is_empty() {
        assert_eq!(out[0].kind, Kind::Open);
        assert_eq!(out[out.len() - 1].kind, Kind::Close);
    }
    (out, decoder)
}

/// The same, and that chunks make no difference: cut at every offset, and byte by byte.
fn rows(steps: &[Step]) -> Vec<Exchange> {
    let (expected, _) = rows_of(false, steps);
    for (cut, step) in steps.iter().enumerate() {
        let (C(bytes) | S(bytes)) = step else {
            continue;
        };
        let len = bytes.len();
        for at in 1..len {
            assert_eq!(
                in_chunks(steps, |n| if n == cut { at } else { usize::MAX }),
                expected
            );
        }
    }
    assert_eq!(in_chunks(steps, |_| 1), expected);
    expected
}

fn in_chunks(steps: &[Step], len: impl Fn(usize) -> usize) -> Vec<Exchange> {
    let (mut decoder, mut out) = (decoder(false), Vec::new());
    let mut at = 0;
    for (n, step) in steps.iter().enumerate() {
        at += 10;
        match step {
            C(bytes) => bytes.chunks(len(n)).for_each(|chunk| {
                take(&mut decoder, &C(chunk.to_vec()), Timestamp(at), &mut out);
            }),
            S(bytes) => bytes.chunks(len(n)).for_each(|chunk| {
                take(&mut decoder, &S(chunk.to_vec()), Timestamp(at), &mut out);
            }),
            gap => take(&mut decoder, gap, Timestamp(at), &mut out),
        }
    }
    decoder.close("fin", Timestamp(at + 10), &mut out);
    out
}

fn login() -> Vec<Step> {
    vec![
        C(client::startup(0, &[("user", "ann"), ("database", "shop")])),
        S([
            server::authentication(0, b""),
            server::key(77, b"keys"),
            server::ready(b'I'),
        ]
        .concat()),
    ]
}

/// A session's requests after the login, shown a line each.
fn session(steps: &[Step]) -> String {
    let all = [login(), steps.to_vec()].concat();
    show(&rows(&all)[1..])
}

/// The same without cutting, since chunks count after a gap.
fn lossy(steps: &[Step]) -> String {
    let all = [login(), steps.to_vec()].concat();
    show(&rows_of(false, &all).0[1..])
}

fn show(rows: &[Exchange]) -> String {
    let mut out = String::new();
    for row in rows {
        let request = &row.request;
        let _ = write!(out, "{} {}", request.command, row.status.name());
        if let Some(reason) = &row.reason {
            let _ = write!(out, " ({reason})");
        }
        if row.kind == Kind::Request {
            let _ = write!(out, " x{}", request.statements);
        }
        if let Some(statement) = &request.statement {
            let _ = write!(out, " `{}`", statement.text);
        }
        if let Some(types) = &request.parameter_types {
            let _ = write!(out, " types={types}");
        }
        if request.pipelined {
            out.push_str(" pipelined");
        }
        if let Some(response) = &row.response {
            if !row.notes.contains(Notes::RESPONSE_GAP) {
                assert_eq!(response.body.len() as u64, response.wire_len.min(4096));
            }
            if let Some(code) = &response.error_code {
                let _ = write!(out, " error={code}");
            }
            if response.rows > 0 {
                let _ = write!(out, " rows={}", response.rows);
            }
            if response.affected > 0 {
                let _ = write!(out, " affected={}", response.affected);
            }
            if let Some(columns) = &response.columns {
                let _ = write!(out, " columns={columns}");
            }
            let _ = write!(out, " {}", response.transaction.name());
        }
        if !row.notes.is_empty() {
            let _ = write!(out, " [{}]", row.notes);
        }
        out.push('\n');
    }
    out
}

/// A response of one row to a simple query.
fn one_row() -> Vec<u8> {
    [
        server::columns(&[("n", 23, 0)]),
        server::row(&[Some(b"1")]),
        server::complete("SELECT 1"),
        server::ready(b'I'),
    ]
    .concat()
}

fn query(text: &str) -> Step {
    C(client::query(text))
}

fn answer() -> Step {
    S(one_row())
}

fn startup() -> Step {
    C(client::startup(0, &[("user", "ann")]))
}

/// What the server says at the end of a login, a packet each.
fn admission() -> [Vec<u8>; 4] {
    [
        server::authentication(0, b""),
        server::parameter("server_version", "18.1"),
        server::key(77, b"keys"),
        server::ready(b'I'),
    ]
}
