//! What goes wrong between the wire and the capture, a fault a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::io::Write as _;

use capture::Ports;
use recording::{Notes, Status};
use support::*;

#[test]
fn a_whole_connection() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.say(SERVER, "world");
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello S:world fin"]);
    let ledger = &captured.progress.ledger;
    assert_eq!(ledger.account("packets").unwrap().kept, 8);
    assert_eq!(ledger.account("bytes").unwrap().kept, 10);
    assert_eq!(ledger.account("stream").unwrap().seen, 10);
    assert_eq!(ledger.account("sessions").unwrap().kept, 1);
}

#[test]
fn retransmission_is_read_once() {
    let mut talk = Talk::open(ENDS);
    let first = talk.say(CLIENT, "hello");
    talk.frames.push(talk.frames[first].clone());
    talk.say(SERVER, "world");
    talk.frames.push(talk.frames[first].clone());
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello S:world fin"]);
    assert_eq!(captured.lost("bytes", "retransmission"), 10);
    assert!(
        captured
            .rows
            .iter()
            .all(|row| row.notes == Notes::default())
    );
}

#[test]
fn of_an_overlap_the_first_copy_wins_and_the_session_is_flagged() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    let ack = talk.seq[SERVER];
    talk.raw(CLIENT, 1001, ack, ACK, b"jelly!");
    talk.seq[CLIENT] += 1;
    talk.say(SERVER, "world");
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello! S:world fin"]);
    assert_eq!(captured.lost("bytes", "overlap"), 5);
    let flagged = captured
        .rows
        .iter()
        .filter(|row| row.notes.contains(Notes::OVERLAP));
    assert_eq!(flagged.count(), 3);
}

#[test]
fn out_of_order_is_put_in_order() {
    let mut talk = Talk::open(ENDS);
    let a = talk.say(CLIENT, "one ");
    let b = talk.say(CLIENT, "two ");
    let c = talk.say(CLIENT, "three");
    talk.say(SERVER, "ok");
    talk.close();
    talk.frames.swap(a, c);
    talk.frames.swap(b, c);
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:one two three S:ok fin"]);
}

#[test]
fn an_answer_captured_before_its_request_waits_for_it() {
    let mut talk = Talk::open(ENDS);
    let request = talk.say(CLIENT, "question");
    let answer = talk.say(SERVER, "answer");
    talk.close();
    talk.frames.swap(request, answer);
    assert_eq!(talk.capture().sessions(), ["C:question S:answer fin"]);
}

#[test]
fn what_was_not_captured_is_a_gap_of_its_length_in_its_place() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "one");
    talk.say(SERVER, "1");
    let lost = talk.say(CLIENT, "missing");
    talk.say(SERVER, "2");
    talk.wait(200);
    talk.say(CLIENT, "three");
    talk.say(SERVER, "3");
    talk.close();
    talk.frames.remove(lost);
    let captured = talk.capture();
    assert_eq!(
        captured.sessions(),
        ["C:one S:1 C gap 7 S:2 C:three S:3 fin"]
    );
    assert_eq!(captured.lost("stream", "not captured"), 7);
}

#[test]
fn a_hole_that_nobody_acknowledged_is_given_up_at_the_end() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "one");
    let lost = talk.say(CLIENT, "missing");
    talk.say(CLIENT, "three");
    talk.frames.remove(lost);
    assert_eq!(
        talk.capture().sessions(),
        ["C:one C gap 7 C:three capture ended"]
    );
}

#[test]
fn a_hole_is_bounded_by_a_cap() {
    let mut talk = Talk::open(ENDS);
    let lost = talk.say(SERVER, "missing");
    let chunk = "x".repeat(60_000);
    for _ in 0..100 {
        talk.say(SERVER, &chunk);
    }
    talk.frames.remove(lost);
    let captured = talk.capture();
    let rows = &captured.rows;
    assert_eq!(&*rows[1].request.command, "S gap");
    assert_eq!(rows[1].request.wire_len, 7);
    // Long before the end.
    assert!(rows[1].started_at.0 < talk.at - 20_000);
    assert_eq!(captured.bytes("S"), 6_000_000);
}

#[test]
fn mid_stream_starts_at_the_first_payload() {
    let mut talk = Talk::new(ENDS);
    talk.ack(CLIENT);
    talk.say(SERVER, "rest of an answer");
    talk.say(CLIENT, "question");
    talk.say(SERVER, "answer");
    let captured = talk.capture();
    assert_eq!(
        captured.sessions(),
        ["~ S:rest of an answer C:question S:answer capture ended"]
    );
    let info = captured.rows[0].info.as_ref().unwrap();
    assert_eq!(info.server.to_string(), "10.0.0.2:5432");
    assert_eq!(info.client.to_string(), "10.0.0.1:40000");
}

#[test]
fn mid_stream_between_two_servers_ports_is_told_by_content() {
    for (opener, expected) in [("c rows", CLIENT), ("rows", SERVER)] {
        let mut talk = Talk::new(Ends {
            client: ([10, 0, 0, 1], PORT),
            server: ([10, 0, 0, 2], PORT),
        });
        talk.say(CLIENT, opener);
        let captured = talk.capture();
        let info = captured.rows[0].info.as_ref().unwrap();
        let client = if expected == CLIENT {
            "10.0.0.1:5432"
        } else {
            "10.0.0.2:5432"
        };
        assert_eq!(info.client.to_string(), client);
    }
}

#[test]
fn handshakes_with_parts_missing() {
    for missing in 0..3 {
        let mut talk = Talk::open(ENDS);
        talk.frames.remove(missing);
        talk.say(CLIENT, "hello");
        talk.say(SERVER, "world");
        talk.close();
        assert_eq!(
            talk.capture().sessions(),
            ["C:hello S:world fin"],
            "{missing}"
        );
    }
}

#[test]
fn handshakes_out_of_order() {
    for (a, b) in [(0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 3)] {
        let mut talk = Talk::open(ENDS);
        talk.say(CLIENT, "hello");
        talk.say(SERVER, "world");
        talk.close();
        talk.frames.swap(a, b);
        let sessions = talk.capture().sessions();
        let [session] = sessions.as_slice() else {
            panic!("{a} {b}: {sessions:?}")
        };
        assert_eq!(
            session.trim_start_matches("~ "),
            "C:hello S:world fin",
            "{a} {b}"
        );
    }
}

#[test]
fn a_handshake_split_in_four() {
    let mut talk = Talk::new(ENDS);
    talk.raw(CLIENT, 1000, 0, SYN, b"");
    talk.raw(SERVER, 5000, 0, SYN, b"");
    talk.raw(CLIENT, 1000, 5001, SYN | ACK, b"");
    talk.seq = [1001, 5001];
    talk.ack(SERVER);
    talk.say(CLIENT, "hello");
    talk.close();
    assert_eq!(talk.capture().sessions(), ["C:hello fin"]);
}

#[test]
fn a_simultaneous_open() {
    let mut talk = Talk::new(ENDS);
    talk.raw(CLIENT, 1000, 0, SYN, b"");
    talk.raw(SERVER, 5000, 0, SYN, b"");
    talk.raw(CLIENT, 1000, 5001, SYN | ACK, b"");
    talk.raw(SERVER, 5000, 1001, SYN | ACK, b"");
    talk.seq = [1001, 5001];
    talk.say(SERVER, "hello");
    talk.close();
    assert_eq!(talk.capture().sessions(), ["S:hello fin"]);
}

#[test]
fn data_with_the_syn() {
    let mut talk = Talk::new(ENDS);
    talk.raw(CLIENT, 1000, 0, SYN, b"early");
    talk.raw(SERVER, 5000, 1006, SYN | ACK, b"");
    talk.seq = [1006, 5001];
    talk.say(SERVER, "answer");
    talk.close();
    assert_eq!(talk.capture().sessions(), ["C:early S:answer fin"]);
}

#[test]
fn data_with_the_syn_that_the_server_refused() {
    let mut talk = Talk::new(ENDS);
    talk.raw(CLIENT, 1000, 0, SYN, b"early");
    talk.raw(SERVER, 5000, 1001, SYN | ACK, b"");
    talk.seq = [1001, 5001];
    talk.say(CLIENT, "early");
    talk.say(SERVER, "answer");
    talk.close();
    assert_eq!(talk.capture().sessions(), ["C:early S:answer fin"]);
}

#[test]
fn data_with_the_fin() {
    let mut talk = Talk::open(ENDS);
    talk.send(CLIENT, "bye", FIN | ACK);
    talk.send(SERVER, "ok", FIN | ACK);
    talk.ack(CLIENT);
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:bye S:ok fin"]);
}

#[test]
fn half_closed_still_answers() {
    let mut talk = Talk::open(ENDS);
    talk.send(CLIENT, "bye", FIN | ACK);
    talk.say(SERVER, "much ");
    talk.send(SERVER, "more", FIN | ACK);
    talk.ack(CLIENT);
    assert_eq!(talk.capture().sessions(), ["C:bye S:much more fin"]);
}

#[test]
fn bytes_missing_before_the_fin_are_a_gap() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    let lost = talk.say(SERVER, "missing");
    talk.close();
    talk.frames.remove(lost);
    assert_eq!(talk.capture().sessions(), ["C:hello S gap 7 fin"]);
}

#[test]
fn a_reset_ends_the_session_and_its_payload_is_ignored() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.raw(SERVER, 5001, 1006, RST, b"go away");
    talk.say(CLIENT, "too late");
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello rst"]);
    assert_eq!(captured.lost("bytes", "payload of a reset"), 7);
    assert_eq!(captured.lost("bytes", "after close"), 8);
}

#[test]
fn an_old_reset_is_not_believed() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.say(SERVER, "world");
    talk.raw(SERVER, 5001, 0, RST, b"");
    talk.say(CLIENT, " again");
    talk.close();
    assert_eq!(talk.capture().sessions(), ["C:hello S:world C: again fin"]);
}

#[test]
fn a_reset_before_the_ack() {
    let mut talk = Talk::new(ENDS);
    talk.raw(CLIENT, 1000, 0, SYN, b"");
    talk.raw(SERVER, 5000, 1001, SYN | ACK, b"");
    talk.seq = [1001, 5001];
    talk.say(CLIENT, "hello");
    talk.raw(CLIENT, 1006, 0, RST, b"");
    assert_eq!(talk.capture().sessions(), ["C:hello rst"]);
}

#[test]
fn sequence_numbers_wrap() {
    let mut talk = Talk::new(ENDS);
    talk.seq = [u32::MAX - 4, u32::MAX];
    talk.handshake();
    for _ in 0..3 {
        talk.say(CLIENT, "hello");
        talk.say(SERVER, "world");
    }
    talk.close();
    assert_eq!(
        talk.capture().sessions(),
        ["C:hello S:world C:hello S:world C:hello S:world fin"]
    );
}

#[test]
fn keep_alive_probes_are_no_data() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.raw(CLIENT, 1005, 5001, ACK, b"\0");
    talk.ack(SERVER);
    talk.raw(CLIENT, 1005, 5001, ACK, b"");
    talk.ack(SERVER);
    talk.say(CLIENT, " again");
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello again fin"]);
    assert_eq!(captured.lost("bytes", "keep-alive"), 1);
    assert!(
        captured
            .rows
            .iter()
            .all(|row| row.notes == Notes::default())
    );
}

#[test]
fn a_port_used_again_is_a_new_session() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "first");
    talk.seq = [900_000, 700_000];
    talk.handshake();
    talk.say(CLIENT, "second");
    talk.close();
    talk.seq = [77, 88];
    talk.handshake();
    talk.say(CLIENT, "third");
    talk.close();
    assert_eq!(
        talk.capture().sessions(),
        ["C:first port reused", "C:second fin", "C:third fin"]
    );
}

#[test]
fn one_direction_only() {
    for side in [CLIENT, SERVER] {
        let mut talk = Talk::open(ENDS);
        for _ in 0..3 {
            talk.say(CLIENT, "hello");
            talk.say(SERVER, "world");
        }
        talk.close();
        let port = [ENDS.client.1, ENDS.server.1][side].to_be_bytes();
        talk.frames.retain(|frame| frame.bytes[34..36] == port);
        let captured = talk.capture();
        let expected = if side == CLIENT {
            "C:hello S gap 5 C:hello S gap 5 C:hello S gap 5 fin"
        } else {
            "C gap 5 S:world C gap 5 S:world C gap 5 S:world fin"
        };
        assert_eq!(captured.sessions(), [expected]);
    }
}

#[test]
fn a_snap_length_leaves_gaps() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    let cut = talk.say(SERVER, "a long answer");
    talk.say(CLIENT, "next");
    talk.close();
    talk.frames[cut].bytes.truncate(54 + 6);
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello S:a long S gap 7 C:next fin"]);
    assert_eq!(captured.lost("stream", "snap length"), 7);
}

#[test]
fn headers_cut_short_are_counted() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    for len in [10, 20, 40] {
        let cut = talk.say(CLIENT, "lost");
        talk.frames[cut].bytes.truncate(len);
    }
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello C gap 12 fin"]);
    assert_eq!(captured.lost("packets", "truncated header"), 3);
}

#[test]
fn a_clock_that_steps_back_is_clamped_and_flagged() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    let latest = talk.at;
    talk.at -= 3_000_000_000;
    talk.say(SERVER, "world");
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:hello S:world fin"]);
    let answer = &captured.rows[2];
    assert_eq!(answer.started_at.0, latest);
    assert!(answer.notes.contains(Notes::CLOCK_STEP));
    assert!(!captured.rows[1].notes.contains(Notes::CLOCK_STEP));
}

#[test]
fn ethernet_padding_is_no_data() {
    let mut talk = Talk::open(ENDS);
    let padded = talk.say(CLIENT, "x");
    talk.frames[padded].bytes.extend([0; 5]);
    talk.frames[padded].wire_len += 5;
    talk.say(CLIENT, "y");
    talk.close();
    assert_eq!(talk.capture().sessions(), ["C:xy fin"]);
}

#[test]
fn packets_before_segmentation_have_no_ip_length() {
    let mut talk = Talk::open(ENDS);
    let big = talk.say(SERVER, &"x".repeat(3000));
    talk.frames[big].bytes[16..18].copy_from_slice(&[0, 0]);
    talk.say(SERVER, "y");
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.bytes("S"), 3001);
    assert_eq!(captured.lost("stream", "not captured"), 0);
}

#[test]
fn another_protocol_is_no_session() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "BAD hello");
    talk.say(SERVER, "world");
    talk.close();
    let captured = talk.capture();
    assert!(captured.rows.is_empty());
    assert_eq!(captured.lost("bytes", "not scribe: bad"), 14);
    assert_eq!(captured.lost("sessions", "not scribe: bad"), 1);
}

#[test]
fn what_is_encrypted_is_counted() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "TLS hello");
    talk.say(SERVER, "secret");
    talk.close();
    let captured = talk.capture();
    assert_eq!(captured.sessions(), ["C:TLS hello fin"]);
    assert_eq!(captured.lost("bytes", "encrypted (TLS)"), 6);
    assert_eq!(
        captured.progress.ledger.account("sessions").unwrap().kept,
        1
    );
}

#[test]
fn other_ports_and_protocols_are_counted() {
    let mut talk = Talk::open(Ends {
        client: ([10, 0, 0, 1], 40_000),
        server: ([10, 0, 0, 2], 80),
    });
    talk.frame(ethernet(&[], 0x0806, &[0; 28]));
    talk.frame(ethernet(
        &[],
        0x0800,
        &ipv4([1; 4], [2; 4], 17, 0, &udp(53, b"?")),
    ));
    let captured = talk.capture();
    assert_eq!(captured.lost("packets", "other port"), 3);
    assert_eq!(captured.lost("packets", "not IP"), 1);
    assert_eq!(captured.lost("packets", "not TCP"), 1);
}

#[test]
fn a_connection_without_data_is_no_session() {
    let mut talk = Talk::open(ENDS);
    talk.close();
    let captured = talk.capture();
    assert!(captured.rows.is_empty());
    assert_eq!(captured.lost("sessions", "no data"), 1);
}

#[test]
fn a_session_quiet_for_a_day_is_the_same_session() {
    let mut talk = Talk::open(ENDS);
    talk.say(CLIENT, "hello");
    talk.wait(24 * 3600 * 1000);
    talk.say(SERVER, "world");
    talk.wait(49 * 3600 * 1000);
    let mut other = Talk::open(Ends {
        client: ([10, 0, 0, 9], 1),
        ..ENDS
    });
    other
        .frames
        .iter_mut()
        .for_each(|frame| frame.at += talk.at - other.at);
    talk.frames.extend(other.frames);
    assert_eq!(talk.capture().sessions(), ["C:hello S:world idle"]);
}

/// On a port where several protocols may be spoken.
fn capture_untold(talk: &Talk) -> Captured {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pcap(1, &talk.frames)).unwrap();
    let mut options = options(file.path(), &[]);
    options.ports = Ports::new(protocol::registry().iter().map(|it| (PORT, *it)));
    capture_with(&options)
}

#[test]
fn mid_stream_waits_for_what_tells_the_protocol() {
    let mut talk = Talk::new(ENDS);
    let (body, answer) = ("{\"a\": 1}", "HTTP/1.1 204 No\r\n\r\n");
    talk.say(CLIENT, body);
    talk.say(SERVER, answer);
    talk.say(CLIENT, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk.say(SERVER, answer);
    let captured = capture_untold(&talk);
    let opening = &captured.rows[0];
    assert_eq!(&*opening.info.as_ref().unwrap().protocol, "http");
    assert!(opening.notes.contains(Notes::MID_STREAM));
    let request = &captured.rows[1];
    assert_eq!(
        (&*request.request.command, request.status),
        ("GET", Status::Ok)
    );
    let untold = (body.len() + answer.len()) as u64;
    assert_eq!(captured.lost("bytes", "protocol not told"), untold);
    assert_eq!(captured.lost("stream", "protocol not told"), untold);
}

#[test]
fn what_never_tells_its_protocol_is_counted() {
    let mut talk = Talk::new(ENDS);
    talk.say(SERVER, "what is this");
    talk.say(CLIENT, "who knows");
    talk.close();
    let captured = capture_untold(&talk);
    assert!(captured.rows.is_empty());
    assert_eq!(captured.lost("bytes", "protocol not told"), 21);
    assert_eq!(captured.lost("sessions", "protocol not told"), 1);
}
