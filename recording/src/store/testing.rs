//! Made-up rows.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{
    Exchange, Kind, Notes, Pacing, Request, Response, SessionInfo, Statement, Status, Timestamp,
    Transaction,
};

/// A row that says little.
pub fn plain(session: u64, seq: u32, started_at: i64) -> Exchange {
    Exchange {
        session,
        seq,
        request: Request {
            command: "query".into(),
            bytes: format!("select {session}.{seq}").into_bytes(),
            wire_len: 10,
            last_byte_at: Timestamp(started_at),
            ..Request::default()
        },
        ..Exchange::new(Kind::Request, Timestamp(started_at))
    }
}

/// Rows in no order, each with a place of its own; few enough places that many are near.
pub fn exchanges(max: usize) -> impl Strategy<Value = Vec<Exchange>> {
    vec(exchange(), 0..max).prop_map(|mut rows| {
        for (seq, row) in (0..).zip(&mut rows) {
            row.seq = seq;
        }
        rows
    })
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let what = (select(&Kind::ALL[..]), select(&Status::ALL[..]), notes());
    let more = (option::of(word()), option::of(response()));
    let rare = (
        option::weighted(0.1, info().prop_map(Box::new)),
        option::of(pacing()),
    );
    (0..4_u64, time(), request(), what, more, rare).prop_map(
        |(session, started_at, request, what, more, rare)| Exchange {
            session,
            seq: 0,
            kind: what.0,
            started_at,
            request,
            status: what.1,
            reason: more.0,
            response: more.1,
            notes: what.2,
            info: rare.0,
            pacing: rare.1,
        },
    )
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0..50_i64).prop_map(Timestamp),
        1 => any::<i64>().prop_map(Timestamp),
    ]
}

fn word() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        4 => select(&["", "a", "query", "select ?", "0A000"][..]).prop_map(Arc::from),
        1 => ".{0,8}".prop_map(Arc::from),
    ]
}

fn notes() -> impl Strategy<Value = Notes> {
    vec(
        select(&[Notes::MID_STREAM, Notes::OVERLAP, Notes::ENCRYPTED][..]),
        0..3,
    )
    .prop_map(|notes| {
        let mut set = Notes::default();
        notes.into_iter().for_each(|note| set.add(note));
        set
    })
}

fn request() -> impl Strategy<Value = Request> {
    let statement =
        (word(), any::<u64>()).prop_map(|(text, fingerprint)| Statement { text, fingerprint });
    (
        word(),
        vec(any::<u8>(), 0..20),
        any::<u64>(),
        time(),
        option::of(statement),
        any::<u32>(),
        option::of(word()),
        any::<bool>(),
    )
        .prop_map(
            |(command, bytes, wire_len, last_byte_at, statement, statements, types, pipelined)| {
                Request {
                    command,
                    bytes,
                    wire_len,
                    last_byte_at,
                    statement,
                    statements,
                    parameter_types: types,
                    pipelined,
                }
            },
        )
}

fn response() -> impl Strategy<Value = Response> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>());
    let digests = (any::<u64>(), any::<u64>(), any::<bool>());
    (
        (option::of(word()), option::of(word())),
        counts,
        (time(), time()),
        digests,
        vec(any::<u8>(), 0..20),
        select(&Transaction::ALL[..]),
    )
        .prop_map(
            |(words, counts, times, digests, body, transaction)| Response {
                error_code: words.0,
                rows: counts.0,
                affected: counts.1,
                wire_len: counts.2,
                first_byte_at: times.0,
                last_byte_at: times.1,
                columns: words.1,
                rows_digest: digests.0,
                rows_digest_unordered: if digests.2 { digests.0 } else { digests.1 },
                body,
                transaction,
            },
        )
}

fn info() -> impl Strategy<Value = SessionInfo> {
    (
        word(),
        any::<SocketAddr>(),
        any::<SocketAddr>(),
        (option::of(word()), option::of(word()), option::of(word())),
        option::of(any::<u64>()),
    )
        .prop_map(|(protocol, client, server, names, backend)| SessionInfo {
            protocol,
            client: plain_address(client),
            server: plain_address(server),
            user: names.0,
            database: names.1,
            application: names.2,
            backend,
        })
}

/// Flow labels are of a packet, not of an endpoint: they are not kept.
fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn pacing() -> impl Strategy<Value = Pacing> {
    (time(), time(), time()).prop_map(|(intended_at, ready_at, sent_at)| Pacing {
        intended_at,
        ready_at,
        sent_at,
    })
}
