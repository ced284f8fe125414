//! Load for measuring the engine: recordings made by hand and a server that knows one answer.
//!
//! ```text
//! load serve PORT
//! load record DIR SESSIONS REQUESTS RATE [simple|extended]
//! load replay DIR URL OUT [asap]
//! ```

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use recording::{
    ContentKind, Exchange, Kind, Manifest, Recording, Response, SessionInfo, Statement, Timestamp,
    Transaction, Writer, WriterOptions, decode_histogram,
};
use replay::{Options, Pace, Target};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", port] => serve(port.parse()?),
        ["record", dir, sessions, requests, rate, how @ ..] => record(
            Path::new(dir),
            sessions.parse()?,
            requests.parse()?,
            rate.parse()?,
            how == ["extended"],
        ),
        ["replay", dir, url, out, how @ ..] => replay(dir, url, out, how == ["asap"]),
        _ => Err("see the head of this example for its arguments".into()),
    }
}

fn replay(dir: &str, url: &str, out: &str, asap: bool) -> Result<(), Box<dyn Error>> {
    let recording = Recording::open(Path::new(dir))?;
    let mut options = Options::new(Target::parse(url, protocol::registry())?);
    if asap {
        options.pace = Pace::Asap;
    }
    let progress = Arc::default();
    let manifest = replay::run(
        &recording,
        &options,
        Path::new(out),
        &progress,
        &Arc::default(),
    )?;
    let run = manifest.run.ok_or("a run without its information")?;
    let seconds = (run.finished_at - run.started_at).as_secs_f64();
    let seen = progress.snapshot();
    println!(
        "{} answered, {} errors, {} skipped, {} unanswered in {seconds:.2} s: {:.0}/s",
        seen.answered,
        seen.errors,
        seen.skipped,
        seen.unanswered,
        seen.answered as f64 / seconds
    );
    for (name, text) in &run.histograms {
        let histogram = decode_histogram(text)?;
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{name:>10}: p50 {:.1} us, p99 {:.1} us, max {:.1} us",
            us(0.5),
            us(0.99),
            us(1.0)
        );
    }
    for note in &run.notes {
        println!("{note}");
    }
    println!("{:?}", manifest.ledger);
    Ok(())
}

/// `requests` in all, evenly over the sessions, `rate` a second.
fn record(
    dir: &Path,
    sessions: u64,
    requests: u64,
    rate: f64,
    extended: bool,
) -> Result<(), Box<dyn Error>> {
    let manifest = Manifest::new(ContentKind::Recording, Timestamp(0));
    let mut writer = Writer::create(dir, manifest, WriterOptions::default())?;
    let begin = 1_700_000_000_000_000_000;
    for session in 0..sessions {
        let mut row = row(session, 0, Kind::Open, begin + session as i64);
        row.request.bytes = startup();
        row.info = Some(Box::new(SessionInfo {
            protocol: "postgres".into(),
            client: "127.0.0.1:1".parse()?,
            server: "127.0.0.1:2".parse()?,
            user: Some("bench".into()),
            database: Some("bench".into()),
            application: None,
            backend: Some(session + 1),
        }));
        writer.push(&row)?;
    }
    // Logging in takes some time, so that the first requests find their sessions open.
    let begin = begin + 500_000_000;
    let text: Arc<str> = "SELECT abalance FROM pgbench_accounts WHERE aid = ?".into();
    for number in 0..requests {
        let at = begin + (number as f64 * 1e9 / rate) as i64;
        let (session, seq) = (number % sessions, number / sessions + 1);
        let mut row = row(session, u32::try_from(seq)?, Kind::Request, at);
        row.request.command = if extended { "extended" } else { "query" }.into();
        row.request.bytes = request(number % 100_000 + 1, extended);
        row.request.wire_len = row.request.bytes.len() as u64;
        row.request.statement = Some(Statement {
            text: Arc::clone(&text),
            fingerprint: 1,
        });
        row.request.statements = 1;
        row.response = Some(Response {
            rows: 1,
            first_byte_at: Timestamp(at + 50_000),
            last_byte_at: Timestamp(at + 60_000),
            transaction: Transaction::Idle,
            ..Response::default()
        });
        writer.push(&row)?;
    }
    let end = begin + (requests as f64 * 1e9 / rate) as i64 + 1_000_000;
    for session in 0..sessions {
        let seq = u32::try_from(requests / sessions + 2)?;
        writer.push(&row(session, seq, Kind::Close, end + session as i64))?;
    }
    writer.finish()?;
    Ok(())
}

fn row(session: u64, seq: u32, kind: Kind, at: i64) -> Exchange {
    Exchange {
        session,
        seq,
        ..Exchange::new(kind, Timestamp(at))
    }
}

fn startup() -> Vec<u8> {
    let parameters = b"\0\x03\0\0user\0bench\0database\0bench\0\0";
    let mut bytes = (parameters.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(parameters);
    bytes
}

fn message(tag: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
}

fn request(account: u64, extended: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if extended {
        let statement = b"\0SELECT abalance FROM pgbench_accounts WHERE aid = $1::int\0\0\0";
        message(b'P', statement, &mut out);
        let value = account.to_string();
        let mut bind = b"\0\0\0\0\0\x01".to_vec();
        bind.extend((value.len() as u32).to_be_bytes());
        bind.extend(value.as_bytes());
        bind.extend(b"\0\0");
        message(b'B', &bind, &mut out);
        message(b'D', b"P\0", &mut out);
        message(b'E', b"\0\0\0\0\0", &mut out);
        message(b'S', b"", &mut out);
    } else {
        let query = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {account};\0");
        message(b'Q', query.as_bytes(), &mut out);
    }
    out
}

/// Says to every query what `pgbench -S` would read.
fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    for stream in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let stream = stream?;
        std::thread::spawn(move || converse(stream));
    }
    Ok(())
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head).saturating_sub(4).min(10_000);
        let mut startup = vec![0; length as usize];
        stream.read_exact(&mut startup)?;
        if startup != 80_877_103_u32.to_be_bytes() {
            break;
        }
        // No TLS.
        stream.write_all(b"N")?;
    }
    let mut welcome = Vec::new();
    message(b'R', &[0, 0, 0, 0], &mut welcome);
    message(b'K', &[0, 0, 0, 1, 0, 0, 0, 1], &mut welcome);
    message(b'Z', b"I", &mut welcome);
    stream.write_all(&welcome)?;

    let mut row = Vec::new();
    let column = b"\0\x01abalance\0\0\0\x40\0\0\x02\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
    message(b'T', column, &mut row);
    message(b'D', b"\0\x01\0\0\0\x010", &mut row);
    message(b'C', b"SELECT 1\0", &mut row);
    let mut simple = row.clone();
    message(b'Z', b"I", &mut simple);
    let mut extended = Vec::new();
    message(b'1', b"", &mut extended);
    message(b'2', b"", &mut extended);
    extended.extend(&simple);

    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        received.extend(buffer.iter().take(read));
        let (mut at, mut answers) = (0, Vec::new());
        while let Some([tag, length @ ..]) = received.get(at..at + 5) {
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            if received.len() < at + 1 + length {
                break;
            }
            match tag {
                b'Q' => answers.extend(&simple),
                b'S' => answers.extend(&extended),
                b'X' => return Ok(()),
                _ => {}
            }
            at += 1 + length;
        }
        received.drain(..at);
        stream.write_all(&answers)?;
    }
}
