use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use recording::{Status, Transaction};

use super::fake::{Server, Tape, free, options, play, safe};
use crate::Options;

#[test]
fn a_refused_connection_loses_the_session_by_name() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "x");
    tape.close(1);
    let played = play(tape, &options(address));
    let expected = [
        "unanswered: connection failed",
        "skipped: session lost: connection failed",
        "skipped: session lost: connection failed",
    ];
    assert_eq!(played.story(), expected);
    assert!(played.report.complaints[0].starts_with("connection failed: "));
    assert!(played.report.ledger.balanced());
}

#[test]
fn a_refused_login_keeps_the_servers_words() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1).request.bytes = b"nobody".to_vec();
    tape.say(1, "x");
    let played = play(tape, &options(server.address));
    let expected = [
        "error: login refused",
        "skipped: session lost: login refused",
    ];
    assert_eq!(played.story(), expected);
    let told = ["login refused: go away (refused)"];
    assert_eq!(played.report.complaints, told);
    assert_eq!(
        played.rows[0].response.as_ref().unwrap().body,
        b"refused x\n"
    );
}

#[test]
fn a_connection_that_the_target_closes_is_lost() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "hang up");
    tape.say(1, "x");
    tape.open(2);
    tape.say(2, "garbage");
    tape.close(2);
    tape.close(1);
    let played = play(tape, &options(server.address));
    let expected = [
        "ok",
        "unanswered: session lost",
        "skipped: session lost",
        "ok",
        "unanswered: session lost",
        "skipped: session lost",
        "skipped: session lost",
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn a_stalled_session_holds_others_up_only_when_the_budget_is_full() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.open(2);
    tape.say(1, "stall");
    for n in 0..300 {
        tape.say(1, "behind");
        tape.say(2, &n.to_string());
    }
    let played = play(tape, &options(server.address));
    let answered = played.rows.iter().filter(|row| row.status == Status::Ok);
    assert_eq!(answered.count(), 302);
}

/// Answers each line at its first byte, before it has read the rest.
fn impatient(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = vec![0; 1 << 20];
    let mut answer: &[u8] = b"welcome 1\n";
    let mut begins = true;
    loop {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        for byte in &chunk[..len] {
            if begins {
                stream.write_all(answer)?;
                answer = b"ok idle\n";
                // What the client can't send waits then, so that a fault would show.
                thread::sleep(Duration::from_millis(20));
            }
            begins = *byte == b'\n';
        }
    }
}

#[test]
fn an_answer_that_comes_before_its_request_is_sent_leaves_nobody_standing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || impatient(stream));
        }
    });
    let mut tape = Tape::default();
    for session in 1..=16 {
        tape.open(session);
        tape.say(session, &"x".repeat(3_000_000 + 250_000 * session as usize));
        tape.say(session, "next");
        tape.close(session);
    }
    let options = Options {
        request_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(5),
        ..options(address)
    };
    let played = play(tape, &options);
    let answered = played.rows.iter().filter(|row| row.status == Status::Ok);
    assert_eq!(answered.count(), 4 * 16);
}

#[test]
fn an_answer_of_a_target_that_hangs_up_on_its_request_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut hello = [0; 64];
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(b"welcome 1\n");
            let _ = stream.read(&mut hello);
            let _ = stream.write_all(b"ok idle\n");
            // Closed with bytes unread, it is reset.
        }
    });
    let mut tape = Tape::default();
    for session in 1..=4 {
        tape.open(session);
        tape.say(session, &"x".repeat(8 << 20));
        tape.say(session, "next");
    }
    let played = play(tape, &options(address));
    let lost = "skipped: session lost";
    let each = ["ok", "ok", lost];
    let mut story = played.story();
    story.sort();
    let mut expected = [each; 4].concat();
    expected.sort_unstable();
    assert_eq!(story, expected);
}

#[test]
fn what_is_held_back_is_sent_where_nobody_asks_for_it() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "hold x");
    tape.say(1, "next");
    let options = Options {
        request_timeout: Duration::from_secs(60),
        ..options(server.address)
    };
    let played = play(tape, &options);
    assert_eq!(played.story(), ["ok"; 3]);
    assert_eq!(server.lines()[..4], ["hello user1", "hold", "x", "next"]);
    let told = "bodies sent without waiting for 100 Continue any longer: 1";
    assert!(played.report.notes.iter().any(|note| note == told));
}

#[test]
fn what_takes_long_on_the_target_is_waited_for() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    tape.say(1, "behind");
    let options = Options {
        request_timeout: Duration::from_secs(2),
        drain_timeout: Duration::from_millis(500),
        ..options(server.address)
    };
    let played = play(tape, &options);
    let stalled = &played.rows[1];
    let waited = played
        .report
        .finished_at
        .since(stalled.pacing.unwrap().sent_at);
    assert_eq!(stalled.reason.as_deref(), Some("timed out"));
    assert!(waited >= 2_000_000_000, "given up after {waited} ns");
}

#[test]
fn who_answers_early_and_reads_no_more_is_not_waited_for_for_ever() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, &format!("deaf\n{}", "x".repeat(16 << 20)));
    tape.say(1, "behind");
    tape.say(1, "over another connection");
    let options = Options {
        drain_timeout: Duration::from_secs(60),
        ..free(server.address)
    };
    let played = play(tape, &options);
    assert_eq!(played.story(), ["ok"; 4]);
    assert_eq!(server.conversations().len(), 2);
}

#[test]
fn memory_is_bounded_by_the_budget() {
    let server = Server::start();
    let rows = 2_000;
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    for _ in 0..rows {
        tape.say(1, &"x".repeat(10_000));
    }
    let options = Options {
        budget: 1 << 20,
        request_timeout: std::time::Duration::from_millis(1),
        ..options(server.address)
    };
    let played = play(tape, &options);
    assert_eq!(played.rows.len(), rows + 2);
    assert!(played.report.ledger.balanced());
    assert!(played.report.peak_bytes < (1 << 20) + 20_000);
}

/// Its session ends, and another begins.
const LEAVE: &str = "leave";

fn line() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        20 => Just("x"),
        4 => Just("begin"),
        4 => Just("commit"),
        3 => Just("fail"),
        1 => Just("hang up"),
        1 => Just("garbage"),
        1 => Just("unspeakable"),
        3 => Just(LEAVE),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_row_leaves_as_one_outcome(
        said in prop::collection::vec((0usize..4, line(), 0usize..4, any::<bool>()), 0..60),
        refused in 0u64..8,
    ) {
        let server = Server::start();
        let mut tape = Tape::default();
        let open = |tape: &mut Tape, session| {
            let row = tape.open(session);
            if session == refused {
                row.request.bytes = b"nobody".to_vec();
            }
        };
        (0..4).for_each(|session| open(&mut tape, session));
        let mut sessions = [0, 1, 2, 3];
        for (place, line, after, pipelined) in said {
            let session = &mut sessions[place];
            if line == LEAVE {
                tape.close(*session);
                *session += 4;
                open(&mut tape, *session);
            } else {
                tape.request(*session, line, Transaction::ALL[after]).request.pipelined = pipelined;
            }
        }
        sessions.iter().take(3).for_each(|session| {
            tape.close(*session);
        });
        let recorded: Vec<_> = tape.rows.iter().map(|row| (row.order(), row.kind)).collect();
        let played = play(tape, &options(server.address));
        let outcomes: Vec<_> = played.rows.iter().map(|row| (row.order(), row.kind)).collect();
        prop_assert_eq!(outcomes, recorded);
        prop_assert!(played.report.ledger.balanced());
        prop_assert!(!played.report.cut_short);
    }
}

#[test]
fn a_session_goes_on_over_another_connection_where_its_driver_can() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "part one");
    tape.say(1, "two");
    tape.say(1, "part three");
    tape.close(1);
    let played = play(tape, &options(server.address));
    assert_eq!(played.story(), ["ok", "ok", "ok", "ok", "ok: fin"]);
    let said = [
        vec!["hello user1", "part one"],
        vec!["hello user1", "two", "part three"],
    ];
    assert_eq!(server.conversations(), said);
}

#[test]
fn what_the_target_left_unread_is_sent_again() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "part one");
    tape.say(1, "two").request.pipelined = true;
    tape.say(1, "part three").request.pipelined = true;
    tape.say(1, "four").request.pipelined = true;
    tape.close(1);
    let played = play(tape, &options(server.address));
    assert_eq!(played.story(), ["ok", "ok", "ok", "ok", "ok", "ok: fin"]);
    let said = [
        vec!["hello user1", "part one"],
        vec!["hello user1", "two", "part three"],
        vec!["hello user1", "four", "bye"],
    ];
    assert_eq!(server.conversations(), said);
    let seen = played.progress.snapshot();
    assert_eq!((seen.sent, seen.answered, seen.in_flight), (4, 4, 0));
}

#[test]
fn what_a_target_that_had_served_did_not_see_is_sent_again_once() {
    for connections in [None, NonZeroUsize::new(1)] {
        let server = Server::start();
        let mut tape = Tape::default();
        tape.open(1);
        for line in ["one", "stale", "two", "hang up", "three"] {
            tape.say(1, line);
        }
        tape.close(1);
        let options = Options {
            connections,
            ..safe(server.address)
        };
        let played = play(tape, &options);
        let expected = [
            "ok",
            "ok",
            "ok",
            "ok",
            "unanswered: session lost",
            "ok",
            "ok: fin",
        ];
        assert_eq!(played.story(), expected);
        let told =
            "requests sent again, for the target had closed a connection that served before: 2";
        assert!(
            played.report.notes.iter().any(|note| note == told),
            "{:?}",
            played.report.notes
        );
        let heard: Vec<Vec<String>> = server.conversations();
        let said: Vec<Vec<&str>> = heard
            .iter()
            .map(|lines| {
                lines
                    .iter()
                    .map(String::as_str)
                    .filter(|line| !line.starts_with("hello"))
                    .collect()
            })
            .collect();
        assert_eq!(said[0], ["one", "stale"]);
        assert_eq!(said[1], ["stale", "two", "hang up"]);
        assert_eq!(said[2], ["hang up"]);
        assert_eq!(said[3][0], "three");
        let seen = played.progress.snapshot();
        assert_eq!((seen.sent, seen.answered, seen.in_flight), (5, 4, 0));
    }
}

#[test]
fn a_session_that_can_loses_no_more_than_its_connection_did() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    for line in ["garbage", "one", "stall", "two", "hang up", "three"] {
        tape.say(1, line);
    }
    tape.say(1, "stall");
    tape.say(1, "behind").request.pipelined = true;
    tape.say(1, "four");
    tape.close(1);
    let played = play(tape, &free(server.address));
    let expected = [
        "ok",
        "unanswered: session lost",
        "ok",
        "unanswered: timed out",
        "ok",
        "unanswered: session lost",
        "ok",
        // The answer to `behind` is taken for the oldest request's.
        "ok",
        "unanswered: timed out",
        "ok",
        "ok: fin",
    ];
    assert_eq!(played.story(), expected);
    assert!(played.report.ledger.balanced());
}

#[test]
fn what_the_target_asks_back_for_is_named_and_the_session_goes_on() {
    for connections in [None, NonZeroUsize::new(1)] {
        let server = Server::start();
        let mut tape = Tape::default();
        tape.open(1);
        tape.say(1, "x");
        tape.say(1, "ask back");
        tape.say(1, "behind").request.pipelined = true;
        tape.say(1, "y");
        tape.close(1);
        let options = Options {
            connections,
            ..options(server.address)
        };
        let played = play(tape, &options);
        let expected = [
            "ok",
            "ok",
            "unanswered: the target asks back",
            "ok",
            "ok",
            "ok: fin",
        ];
        assert_eq!(played.story(), expected);
        assert!(played.report.ledger.balanced());
        let requests = played.report.ledger.account("requests").unwrap();
        assert_eq!(requests.lost.get("the target asks back"), Some(&1));
        assert_eq!(server.conversations().len(), 2);
    }
}

#[test]
fn what_the_target_takes_no_connection_for_is_lost_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "one");
    tape.say(1, "two");
    tape.say(1, "three");
    tape.close(1);
    thread::spawn(move || {
        // The opening and the first request find nobody.
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
        impatient(listener.accept().unwrap().0)
    });
    let played = play(tape, &free(address));
    let expected = ["ok", "skipped: session lost", "ok", "ok", "ok: fin"];
    assert_eq!(played.story(), expected);
}

#[test]
fn a_target_that_is_gone_is_given_up() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut tape = Tape::default();
    tape.open(1);
    for _ in 0..1_000 {
        tape.say(1, "x");
    }
    tape.close(1);
    let options = Options {
        connect_timeout: Duration::from_millis(50),
        ..free(address)
    };
    let played = play(tape, &options);
    let story = played.story();
    assert_eq!(story[1], "skipped: connection failed");
    assert_eq!(story[1001], "skipped: session lost: connection failed");
    assert!(played.report.ledger.balanced());
}
