//! The store under what `pgbench -S -M prepared -c 8` leaves: one statement, 8 sessions, no bodies.

#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use recording::{
    ContentKind, Exchange, Kind, Manifest, Recording, Request, Response, Statement, Timestamp,
    Transaction, Writer, WriterOptions,
};

const ROWS: u32 = 1_000_000;
const START: i64 = 1_760_000_000_000_000_000;

/// A generator of numbers that look random, the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Rows in order of completion, about 40,000 a second.
fn rows(count: u32) -> Vec<Exchange> {
    let statement = Statement {
        text: "SELECT abalance FROM pgbench_accounts WHERE aid = $1".into(),
        fingerprint: 0x1234_5678_9abc_def0,
    };
    let command: Arc<str> = "extended".into();
    let columns: Arc<str> = "abalance:23:text".into();
    let mut random = Random(88_172_645_463_325_252);
    let mut sessions = [(START, 1_u32); 8];
    (0..count)
        .map(|_| {
            let session = random.below(8);
            let (at, seq) = &mut sessions[session as usize];
            let started_at = *at;
            let took = 120_000 + random.below(80_000) as i64;
            *at += took + 30_000 + random.below(20_000) as i64;
            *seq += 1;
            let aid = random.below(2_000_000) + 1;
            let bytes = bind_execute_sync(&aid.to_string());
            Exchange {
                session,
                seq: *seq,
                request: Request {
                    command: Arc::clone(&command),
                    wire_len: bytes.len() as u64,
                    bytes,
                    last_byte_at: Timestamp(started_at),
                    statement: Some(statement.clone()),
                    statements: 1,
                    parameter_types: None,
                    pipelined: false,
                },
                response: Some(Response {
                    error_code: None,
                    rows: 1,
                    affected: 0,
                    wire_len: 66,
                    first_byte_at: Timestamp(started_at + took),
                    last_byte_at: Timestamp(started_at + took),
                    columns: Some(Arc::clone(&columns)),
                    rows_digest: 0xfeed_beef_cafe_f00d,
                    rows_digest_unordered: 0xfeed_beef_cafe_f00d,
                    body: Vec::new(),
                    transaction: Transaction::Idle,
                }),
                ..Exchange::new(Kind::Request, Timestamp(started_at))
            }
        })
        .collect()
}

fn bind_execute_sync(aid: &str) -> Vec<u8> {
    let mut bytes = vec![b'B'];
    bytes.extend((25 + aid.len() as u32).to_be_bytes());
    bytes.extend(b"\0P_0_1\0\0\0\0\x01");
    bytes.extend((aid.len() as u32).to_be_bytes());
    bytes.extend(aid.as_bytes());
    bytes.extend(b"\0\x01\0\0D\0\0\0\x06P\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04");
    bytes
}

fn write(dir: &Path, rows: Vec<Exchange>) {
    let manifest = Manifest::new(ContentKind::Recording, Timestamp(START));
    let mut writer = Writer::create(dir, manifest, WriterOptions::default()).expect("created");
    for row in rows {
        writer.push(&row).expect("pushed");
    }
    writer.finish().expect("finished");
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(u64::from(ROWS)));
    let made = rows(ROWS);

    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("monday.rec");
    write(&recording, made.clone());
    let size: u64 = std::fs::read_dir(&recording)
        .expect("listed")
        .map(|entry| entry.expect("listed").metadata().expect("known").len())
        .sum();
    println!("{:.2} bytes a row on disk", size as f64 / f64::from(ROWS));

    group.bench_function("write", |bencher| {
        bencher.iter_batched(
            || (tempfile::tempdir().expect("a directory"), made.clone()),
            |(dir, rows)| {
                write(&dir.path().join("monday.rec"), rows);
                dir
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("read", |bencher| {
        let recording = Recording::open(&recording).expect("opened");
        bencher.iter(|| recording.rows().expect("rows").flatten().count());
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
