//! The PostgreSQL decoder alone: on what `pgbench -S` says, prepared and as simple queries, and on simple
//! queries of which no two are alike.

#![allow(clippy::expect_used)]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use protocol::{Limits, Opening, Side};
use recording::{SessionInfo, Timestamp};

const REQUESTS: i64 = 10_000;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    let mut bytes = vec![tag];
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Bind, Describe, Execute, Sync.
fn request(account: &str) -> Vec<u8> {
    let mut bind = b"\0P_0\0\0\0\0\x01".to_vec();
    bind.extend(u32::try_from(account.len()).expect("short").to_be_bytes());
    bind.extend(account.as_bytes());
    bind.extend(b"\0\0");
    [
        message(b'B', &bind),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat()
}

/// BindComplete, RowDescription, DataRow, CommandComplete, ReadyForQuery.
fn response() -> Vec<u8> {
    let mut columns = b"\0\x01abalance\0".to_vec();
    columns.extend(16_404_u32.to_be_bytes());
    columns.extend(b"\0\x03");
    columns.extend(23_u32.to_be_bytes());
    columns.extend(b"\0\x04\xff\xff\xff\xff\0\0");
    [
        message(b'2', b""),
        message(b'T', &columns),
        message(b'D', b"\0\x01\0\0\0\x010"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn prepare() -> Vec<u8> {
    let parse = b"P_0\0SELECT abalance FROM pgbench_accounts WHERE aid = $1;\0\0\0";
    [message(b'P', parse), message(b'S', b"")].concat()
}

fn decode(c: &mut Criterion) {
    let account = |i: i64| (i * 7919 % 2_000_000).to_string();
    let prepared = |i| request(&account(i));
    let simple = |i| {
        let text = format!(
            "SELECT abalance FROM pgbench_accounts WHERE aid = {};\0",
            account(i)
        );
        message(b'Q', text.as_bytes())
    };
    let unlike = |i| {
        let text = format!(
            "SELECT c{i} FROM pgbench_accounts WHERE aid = {};\0",
            account(i)
        );
        message(b'Q', text.as_bytes())
    };
    let extended = response();
    let answer = extended.get(5..).expect("longer than a BindComplete");
    let mut group = c.benchmark_group("postgres");
    group.throughput(Throughput::Elements(REQUESTS.unsigned_abs()));
    bench(&mut group, "prepared select", prepared, &extended);
    bench(&mut group, "simple select", simple, answer);
    bench(&mut group, "simple selects, all unlike", unlike, answer);
    group.finish();
}

/// Requests, each with its response.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    request: impl Fn(i64) -> Vec<u8>,
    response: &[u8],
) {
    let postgres = protocol::by_name("postgres").expect("in the registry");
    let endpoint = "127.0.0.1:5432".parse().expect("an endpoint");
    let info = SessionInfo {
        protocol: "postgres".into(),
        client: endpoint,
        server: endpoint,
        user: None,
        database: None,
        application: None,
        backend: None,
    };
    let requests: Vec<Vec<u8>> = (0..REQUESTS).map(request).collect();
    let prepared = [message(b'1', b""), message(b'Z', b"I")].concat();
    group.bench_function(name, |b| {
        b.iter(|| {
            let opening = Opening {
                at: Timestamp(0),
                mid_stream: true,
                info: info.clone(),
            };
            let mut decoder = postgres.decoder(opening, Limits::default());
            let mut rows = Vec::with_capacity(64);
            let mut count = 0;
            decoder.data(Side::Client, &prepare(), Timestamp(1), &mut rows);
            decoder.data(Side::Server, &prepared, Timestamp(2), &mut rows);
            let mut at = 10;
            for request in &requests {
                decoder.data(Side::Client, request, Timestamp(at), &mut rows);
                decoder.data(Side::Server, response, Timestamp(at + 5), &mut rows);
                at += 10;
                count += rows.len();
                rows.clear();
            }
            assert!(count > requests.len() - 2, "{count} rows");
            count
        });
    });
}

criterion_group!(benches, decode);
criterion_main!(benches);
