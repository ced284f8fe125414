//! More connections than anyone has memory for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;

use support::*;

fn ends(number: u32) -> Ends {
    let [_, a, b, c] = number.to_be_bytes();
    Ends {
        client: ([10, a, b, c], 40_000),
        ..ENDS
    }
}

#[test]
fn a_flood_of_syns_leaves_the_open_sessions_alone() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "before");
    for number in 0..5000 {
        talk.ends = ends(0x10_0000 + number);
        talk.raw(CLIENT, number, 0, SYN, b"");
    }
    talk.ends = ENDS;
    talk.say(CLIENT, " after");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flood.pcap");
    fs::write(&path, pcap(1, &talk.frames)).unwrap();
    let mut options = options(&path, &[PORT]);
    options.memory = 1 << 20;
    let captured = capture_with(&options);
    assert_eq!(captured.sessions(), ["C:before after capture ended"]);
    assert_eq!(captured.lost("sessions", "no data"), 5000);
}

#[test]
fn the_quietest_of_too_many_sessions_is_ended() {
    let mut talk = Talk::new(ENDS);
    for number in 0..50 {
        talk.ends = ends(number);
        talk.seq = [1, 1];
        talk.say(CLIENT, "x");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.pcap");
    fs::write(&path, pcap(1, &talk.frames)).unwrap();
    let mut options = options(&path, &[PORT]);
    options.memory = 40 << 10;
    let captured = capture_with(&options);
    let sessions = captured.sessions();
    let ended = sessions
        .iter()
        .filter(|it| it.ends_with("too many connections"));
    assert!(ended.count() >= 30, "{sessions:?}");
    assert!(sessions[49].ends_with("capture ended"));
}

#[test]
fn segments_that_wait_are_bounded_over_all_sessions() {
    let mut talk = Talk::new(ENDS);
    let chunk = "x".repeat(1000);
    for number in 0..100 {
        talk.ends = ends(number);
        talk.seq = [1000, 5000];
        talk.handshake();
        for _ in 0..10 {
            talk.seq[CLIENT] += 1;
            talk.say(CLIENT, &chunk);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holes.pcap");
    fs::write(&path, pcap(1, &talk.frames)).unwrap();
    let mut options = options(&path, &[PORT]);
    options.memory = 1 << 20;
    let captured = capture_with(&options);
    assert_eq!(captured.bytes("C"), 1_000_000);
    assert_eq!(captured.lost("stream", "not captured"), 1000);
}
