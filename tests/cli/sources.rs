//! Several sources at once.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::harness::{Capture, inspect, rehearsal, run};
use crate::packets::{Talk, message};

/// A session goes on from one file to the next, as in a ring of files.
#[test]
fn files_are_read_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut packets = Vec::new();
    let mut talk = Talk::start(&mut packets).unwrap();
    for number in 0..7 {
        talk.ask(&format!("SELECT {number}")).unwrap();
    }
    let (head, records) = packets.split_at(24);
    let mut half = 0;
    for _ in 0..9 {
        let length = records[half + 8..].first_chunk().unwrap();
        half += 16 + u32::from_ne_bytes(*length) as usize;
    }
    let recording = dir.path().join("files.rec");
    let mut capture = rehearsal();
    capture.args(["capture", "--quiet", "-p", "5432"]);
    let (first, second) = records.split_at(half);
    for (name, records) in [("first.pcap", first), ("second.pcap", second)] {
        let path = dir.path().join(name);
        fs::write(&path, [head, records].concat()).unwrap();
        capture.arg("--read").arg(path);
    }
    run(capture.arg("-o").arg(&recording), 0);
    let found = inspect(&recording);
    assert_eq!(
        (&found["requests"], &found["sessions"]),
        (&7.into(), &1.into())
    );
    assert_eq!(found["notes"], serde_json::json!({}), "{found:#}");
    let source = found["source"].as_str().unwrap();
    assert!(source.contains("first.pcap and file"), "{source}");
}

/// Also where all is over before anybody looks.
#[test]
fn a_loss_is_told_once_and_stands_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let mut packets = Vec::new();
    Talk::start(&mut packets).unwrap();
    packets[20..24].copy_from_slice(&239_u32.to_ne_bytes());
    let path = dir.path().join("nflog.pcap");
    fs::write(&path, packets).unwrap();
    for (quiet, times) in [(true, 1), (false, 2)] {
        let mut capture = rehearsal();
        capture.args(["capture", "-p", "5432", "--read"]).arg(&path);
        capture.args(quiet.then_some("--quiet"));
        let recording = dir.path().join(format!("{quiet}.rec"));
        let told = run(capture.arg("-o").arg(recording), 0).stderr;
        let told = String::from_utf8(told).unwrap();
        let warned = "WARN 4 packets lost so far: unsupported link type NFLOG; capture on";
        assert_eq!(told.matches(warned).count(), 1, "{told}");
        assert_eq!(told.matches("NFLOG").count(), times, "{told}");
    }
}

#[test]
fn options_of_interfaces_are_refused_with_files() {
    for (option, value) in [
        ("--filter", "garbage(("),
        ("--snaplen", "96"),
        ("--probe", "postgresql://user@127.0.0.1/postgres"),
        ("--user", "nobody"),
        ("--buffer-size", "1MiB"),
    ] {
        let mut capture = rehearsal();
        capture.args(["capture", "--read", "x.pcap", "-p", "5432", "-o", "x.rec"]);
        let told = run(capture.args([option, value]), 2).stderr;
        let told = String::from_utf8(told).unwrap();
        let (first, _) = told.split_once('\n').unwrap();
        assert!(
            first.contains("--read")
                && first.contains("cannot be used with")
                && first.contains(option),
            "{told}"
        );
    }
}

/// One client's login and query, answered as a server would.
fn talk(listener: &TcpListener) {
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            let parameters = b"\0\x03\0\0user\0anna\0\0";
            let length = (parameters.len() as u32 + 4).to_be_bytes();
            let mut buffer = [0; 64];
            for said in [
                [&length, &parameters[..]].concat(),
                message(b'Q', b"SELECT 1\0"),
            ] {
                client.write_all(&said).unwrap();
                assert!(client.read(&mut buffer).unwrap() > 0);
            }
        });
        let (mut server, _) = listener.accept().unwrap();
        let mut buffer = [0; 64];
        for said in [message(b'R', &[0; 4]), message(b'C', b"SELECT 0\0")] {
            assert!(server.read(&mut buffer).unwrap() > 0);
            let said = [said, message(b'Z', b"I")].concat();
            server.write_all(&said).unwrap();
        }
    });
}

#[test]
fn interfaces_are_listened_to_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut names = fs::read_dir("/sys/class/net").unwrap();
    let other = names.find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        (name != "lo").then_some(name)
    });
    let Some(other) = other else {
        println!("skipped: this machine has no interface but the loopback");
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let port = format!("postgres:{port}");
    let recording = dir.path().join("both.rec");
    let Some(capture) = Capture::start_with(&port, &recording, &["-i", &other]) else {
        return;
    };
    talk(&listener);
    capture.stop();
    let found = inspect(&recording);
    assert_eq!(found["requests"], 1, "{found:#}");
    let source = found["source"].as_str().unwrap();
    let expected = format!("interface lo and interface {other}, ");
    assert!(source.starts_with(&expected), "{source}");
}
