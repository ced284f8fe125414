//! What version 1 wrote is read by every later version.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use recording::{
    ContentKind, Exchange, Kind, Manifest, Notes, Pacing, Recording, Request, Response,
    SessionInfo, Statement, Status, Timestamp, Transaction, Writer, WriterOptions,
};

fn case() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/format-v1")
}

const START: i64 = 1_760_000_000_000_000_000;

fn row(seq: u32, kind: Kind, started_ns: i64) -> Exchange {
    Exchange {
        session: 7,
        seq,
        request: Request {
            command: "query".into(),
            last_byte_at: Timestamp(START + started_ns),
            ..Request::default()
        },
        ..Exchange::new(kind, Timestamp(START + started_ns))
    }
}

/// One row with a value in every column, and its neighbours without.
fn rows() -> Vec<Exchange> {
    let mut open = row(0, Kind::Open, 0);
    open.notes.add(Notes::MID_STREAM);
    open.notes.add(Notes::SECRET_BLANKED);
    open.info = Some(Box::new(SessionInfo {
        protocol: "postgres".into(),
        client: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        server: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5_432)),
        user: Some("anna".into()),
        database: Some("shop".into()),
        application: Some("psql".into()),
        backend: Some(4_711),
    }));

    let mut full = row(1, Kind::Request, 1_000);
    full.request = Request {
        command: "extended".into(),
        bytes: b"select 1, 'caf\xc3\xa9'".to_vec(),
        wire_len: 18,
        last_byte_at: Timestamp(START + 1_500),
        statement: Some(Statement {
            text: "select ?, ?".into(),
            fingerprint: u64::MAX,
        }),
        statements: 2,
        parameter_types: Some("23,25".into()),
        pipelined: true,
    };
    full.status = Status::Error;
    full.response = Some(Response {
        error_code: Some("22012".into()),
        rows: 3,
        affected: 4,
        wire_len: 50,
        first_byte_at: Timestamp(START + 3_000),
        last_byte_at: Timestamp(START + 2_500),
        columns: Some("a:23:text,b:25:text".into()),
        rows_digest: 1,
        rows_digest_unordered: u64::MAX - 1,
        body: vec![0, 255, b'Z'],
        transaction: Transaction::Failed,
    });
    full.pacing = Some(Pacing {
        intended_at: Timestamp(START + 900),
        ready_at: Timestamp(START + 950),
        sent_at: Timestamp(START + 1_100),
    });

    let mut bare = row(2, Kind::Request, 2_000);
    bare.response = Some(Response {
        first_byte_at: Timestamp(START + 2_001),
        last_byte_at: Timestamp(START + 2_002),
        transaction: Transaction::Idle,
        ..Response::default()
    });

    let mut cancel = row(3, Kind::Cancel, 3_000);
    cancel.status = Status::Unanswered;
    cancel.reason = Some("session lost".into());
    let close = row(4, Kind::Close, 4_000);
    vec![open, full, bare, cancel, close]
}

fn manifest() -> Manifest {
    let mut manifest = Manifest::new(ContentKind::Recording, Timestamp(START));
    manifest.id = "0123456789abcdef".to_owned();
    manifest.protocols = vec!["postgres".to_owned()];
    manifest.source = "interface lo, port 5432".to_owned();
    let requests = manifest.ledger.account_mut("requests");
    requests.seen = 3;
    requests.kept = 2;
    requests.lose("gap", 1);
    manifest
}

#[test]
fn a_finished_recording() {
    let recording = Recording::open(&case().join("monday.rec")).unwrap();
    let read: Vec<_> = recording.rows().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, rows());
    assert_eq!(recording.left_out(), Vec::<String>::new());
    let found = recording.manifest();
    assert!(found.complete);
    assert_eq!(found.segments.len(), 1);
    assert_eq!((&found.id, found.kind), (&manifest().id, manifest().kind));
    assert_eq!(found.ledger, manifest().ledger);
}

#[test]
fn a_crashed_recording() {
    let recording = Recording::open(&case().join("crashed.rec")).unwrap();
    let read: Vec<_> = recording.rows().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, rows()[..4]);
    assert_eq!(recording.left_out().len(), 1);
    assert!(!recording.manifest().complete);
}

#[test]
#[ignore = "writes the case anew: only for a new version, into a folder of its own"]
fn write_the_case() {
    let options = WriterOptions {
        flush_rows: 2,
        ..WriterOptions::default()
    };
    let monday = case().join("monday.rec");
    let mut writer = Writer::create(&monday, manifest(), options).unwrap();
    rows()
        .into_iter()
        .for_each(|row| writer.push(&row).unwrap());
    writer.finish().unwrap();

    let crashed = case().join("crashed.rec");
    let mut writer = Writer::create(&crashed, manifest(), options).unwrap();
    rows()
        .into_iter()
        .for_each(|row| writer.push(&row).unwrap());
    drop(writer);
    let open = crashed.join("open-00000.arrows");
    let mut bytes = std::fs::read(&open).unwrap();
    bytes.extend(b"torn");
    std::fs::write(open, bytes).unwrap();
}
