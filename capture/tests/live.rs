//! Real packets on the loopback. Without the right to capture the tests skip, and say so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use capture::{CaptureError, Options, Ports, Source};
use protocol::Protocol;
use support::*;

/// Captures on an interface while `traffic` runs, and stops at once when it is over.
fn while_running(interface: &str, port: u16, traffic: impl FnOnce()) -> Option<Captured> {
    let ports = Ports::new([(port, &Scribe as &'static dyn Protocol)]);
    let mut options = Options::new(vec![Source::Interface(interface.to_owned())], ports);
    options.workers = 2;
    while_capturing(&options, traffic)
}

fn while_capturing(options: &Options, traffic: impl FnOnce()) -> Option<Captured> {
    let stop = AtomicBool::new(false);
    let mut sink = Memory::default();
    let (started, starts) = mpsc::channel();
    let (progress, outcome) = thread::scope(|scope| {
        let (sink, stop) = (&mut sink, &stop);
        let capture = scope.spawn(move || {
            capture::run_into(options, sink, stop, &|_| {
                let _ = started.send(());
            })
        });
        // Where opening fails, the sender is gone.
        if starts.recv().is_ok() {
            traffic();
        }
        stop.store(true, Ordering::Relaxed);
        capture.join().unwrap()
    });
    match outcome {
        Err(CaptureError::Live(error)) => {
            println!("skipped: {error}");
            None
        }
        outcome => {
            outcome.unwrap();
            assert!(progress.ledger.balanced(), "{:#?}", progress.ledger);
            Some(Captured {
                rows: sink.0,
                progress,
            })
        }
    }
}

/// Asks and answers, over and over.
fn converse(listener: &TcpListener, rounds: usize) {
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut server, _) = listener.accept().unwrap();
            server.set_nodelay(true).unwrap();
            let mut request = [0; 8];
            for _ in 0..rounds {
                server.read_exact(&mut request).unwrap();
                server.write_all(b"answer").unwrap();
            }
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        let mut answer = [0; 6];
        for _ in 0..rounds {
            client.write_all(b"question").unwrap();
            client.read_exact(&mut answer).unwrap();
        }
    });
}

#[test]
fn the_loopback_is_seen_once_and_nothing_is_left_in_the_ring() {
    for interface in ["lo", "any"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Some(captured) = while_running(interface, port, || converse(&listener, 2000)) else {
            return;
        };
        assert_eq!(captured.lost("packets", "kernel drop"), 0);
        assert_eq!(captured.lost("bytes", "retransmission"), 0);
        let ledger = &captured.progress.ledger;
        assert_eq!(captured.bytes("C"), 16_000, "{interface}: {ledger:#?}");
        assert_eq!(captured.bytes("S"), 12_000);
        assert_eq!(captured.sessions().len(), 1);
    }
}

#[test]
fn an_interface_seen_twice_is_read_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ports = Ports::new([(port, &Scribe as &'static dyn Protocol)]);
    let both = vec![
        Source::Interface("lo".to_owned()),
        Source::Interface("lo".to_owned()),
    ];
    let options = Options::new(both, ports);
    assert_eq!(options.source(), format!("interface lo, port {port}"));
    drop(listener);
    let all = ["lo", "any", "eth0"].map(|name| Source::Interface(name.to_owned()));
    let options = Options::new(all.to_vec(), options.ports);
    assert_eq!(options.source(), format!("interface any, port {port}"));
}

#[test]
fn a_filter_and_a_snap_length_are_the_users_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ports = Ports::new([(port, &Scribe as &'static dyn Protocol)]);
    let mut options = Options::new(vec![Source::Interface("lo".to_owned())], ports);
    options.live.filter = Some(format!("tcp dst port {port}"));
    // Ethernet, IP, TCP with its time stamps, and half the question.
    options.live.snaplen = 14 + 20 + 32 + 4;
    let Some(captured) = while_capturing(&options, || converse(&listener, 10)) else {
        return;
    };
    assert_eq!(captured.bytes("S"), 0);
    assert_eq!(captured.bytes("C"), 40);
    assert_eq!(captured.lost("stream", "snap length"), 40);
    let warnings = &captured.progress.warnings;
    assert!(warnings[0].starts_with("interface lo was captured with a snap length of 70"));
}

#[test]
fn an_unknown_interface_is_told() {
    let ports = Ports::new([(5432, &Scribe as &'static dyn Protocol)]);
    let options = Options::new(vec![Source::Interface("none0".to_owned())], ports);
    let stop = AtomicBool::new(false);
    let (_, outcome) = capture::run_into(&options, &mut Memory::default(), &stop, &|_| {});
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("interface none0"), "{error}");
}
