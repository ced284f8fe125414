use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use recording::{Exchange, Kind, Notes, Status, Transaction};

use super::fake::{Server, Tape, options, play, play_until};
use crate::Pace;

#[test]
fn says_each_session_in_its_order() {
    let server = Server::start();
    let mut tape = Tape::default();
    for session in 0..3 {
        tape.open(session);
    }
    for n in 0..200 {
        for session in 0..3 {
            tape.say(session, &format!("{session} {n}"));
        }
    }
    for session in 0..3 {
        tape.close(session);
    }
    let count = tape.rows.len();
    let played = play(tape, &options(server.address));
    assert_eq!(played.rows.len(), count);
    assert!(played.rows.iter().all(|row| row.status == Status::Ok));
    let started_at = played.report.started_at;
    let sent = |row: &Exchange| row.pacing.unwrap().sent_at;
    assert!(played.rows.iter().all(|row| started_at <= sent(row)));
    for said in server.conversations() {
        let session = said[0].trim_start_matches("hello user").to_owned();
        let expected = (0..200).map(|n| format!("{session} {n}"));
        assert!(said[1..201].iter().eq(&expected.collect::<Vec<_>>()));
        assert_eq!(said[201], "bye");
    }
    let requests = played.report.ledger.account("requests").unwrap();
    assert_eq!((requests.seen, requests.kept), (600, 600));
    assert!(played.report.ledger.balanced());
    let seen = played.progress.snapshot();
    assert_eq!((seen.sent, seen.answered, seen.in_flight), (600, 600, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_more_sessions_are_open_together_than_were(
        said in prop::collection::vec((0usize..3, any::<bool>()), 0..60),
    ) {
        let server = Server::start();
        let mut tape = Tape::default();
        let (mut places, mut last) = ([None; 3], 0);
        for (place, leaves) in said {
            let session = *places[place].get_or_insert_with(|| {
                last += 1;
                tape.open(last);
                last
            });
            if leaves {
                tape.close(session);
                places[place] = None;
            } else {
                tape.say(session, "x");
            }
        }
        for session in places.into_iter().flatten() {
            tape.close(session);
        }
        let played = play(tape, &options(server.address));
        prop_assert!(played.rows.iter().all(|row| row.status == Status::Ok));
        let at = |kind| {
            let rows = played.rows.iter().filter(move |row| row.kind == kind);
            rows.map(|row| row.pacing.unwrap().sent_at)
        };
        let mut ended = 0;
        for row in &played.rows {
            let sent_at = row.pacing.unwrap().sent_at;
            match row.kind {
                Kind::Close => ended += 1,
                Kind::Open => {
                    let have = at(Kind::Close).filter(|closed_at| *closed_at <= sent_at).count();
                    prop_assert!(have >= ended, "{have} of {ended} had ended");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_session_in_line_is_not_given_up_while_another_works() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    tape.close(1);
    tape.open(2);
    tape.say(2, "x");
    let options = crate::Options {
        request_timeout: Duration::from_secs(2),
        ..options(server.address)
    };
    let played = play(tape, &options);
    let expected = [
        "ok",
        "unanswered: timed out",
        "skipped: session lost: timed out",
        "ok",
        "ok",
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn keeps_the_recorded_pace() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    for n in 0..20 {
        tape.say(1, &n.to_string());
    }
    tape.close(1);
    let recorded: Vec<_> = tape.rows.iter().map(|row| row.started_at).collect();
    let options = crate::Options {
        pace: Pace::Speed(2.0),
        ..options(server.address)
    };
    let played = play(tape, &options);
    let start = played.rows[0].pacing.unwrap().intended_at;
    for (row, recorded_at) in played.rows.iter().zip(&recorded) {
        let pacing = row.pacing.unwrap();
        let offset = recorded_at.since(recorded[0]) / 2;
        assert_eq!(pacing.intended_at.since(start), offset);
        assert!(pacing.sent_at >= pacing.ready_at && pacing.ready_at >= pacing.intended_at);
        if row.kind == Kind::Request {
            assert!(row.request.last_byte_at >= pacing.sent_at);
        }
    }
    assert!(played.report.histograms.contains_key("slip"));
}

#[test]
fn pipelined_requests_do_not_wait() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    tape.say(1, "behind").request.pipelined = true;
    tape.close(1);
    let played = play(tape, &options(server.address));
    assert_eq!(server.lines(), ["hello user1", "stall", "behind"]);
    // The answer to `behind` is taken for the oldest request's, as in any pipeline.
    let expected = [
        "ok",
        "ok",
        "unanswered: timed out",
        "skipped: session lost: timed out",
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn others_wait_for_the_answer_before() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    tape.say(1, "behind");
    tape.close(1);
    let played = play(tape, &options(server.address));
    assert_eq!(server.lines(), ["hello user1", "stall"]);
    let expected = [
        "ok",
        "unanswered: timed out",
        "skipped: session lost: timed out",
        "skipped: session lost: timed out",
    ];
    assert_eq!(played.story(), expected);
    assert!(played.report.ledger.balanced());
}

#[test]
fn passes_over_a_transaction_that_failed_only_here() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.request(1, "begin", Transaction::Open);
    tape.request(1, "fail", Transaction::Open);
    tape.request(1, "never said", Transaction::Open);
    tape.request(1, "nor this", Transaction::Unknown);
    tape.say(1, "commit");
    tape.say(1, "after");
    tape.close(1);
    let played = play(tape, &options(server.address));
    let said = ["hello user1", "begin", "fail", "commit", "after", "bye"];
    assert_eq!(server.lines(), said);
    let expected = [
        "ok",
        "ok",
        "error",
        "skipped: transaction failed",
        "skipped: transaction failed",
        "ok",
        "ok",
        "ok: fin",
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn a_transaction_that_failed_when_recorded_is_said_whole() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.request(1, "begin", Transaction::Open);
    tape.request(1, "fail", Transaction::Failed);
    tape.request(1, "said", Transaction::Failed);
    tape.say(1, "commit");
    tape.close(1);
    let played = play(tape, &options(server.address));
    assert_eq!(
        played.story(),
        ["ok", "ok", "error", "error", "ok", "ok: fin"]
    );
}

#[test]
fn a_transaction_that_failed_by_what_is_not_sent_is_rolled_back() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.request(1, "begin", Transaction::Open);
    tape.request(1, "one", Transaction::Open);
    tape.request(1, "unspeakable", Transaction::Failed);
    tape.request(1, "two", Transaction::Failed);
    tape.request(1, "back to a savepoint", Transaction::Open);
    tape.request(1, "cut", Transaction::Failed)
        .notes
        .add(Notes::REQUEST_GAP);
    tape.say(1, "commit");
    tape.say(1, "after");
    tape.close(1);
    let played = play(tape, &options(server.address));
    let said = [
        "hello user1",
        "begin",
        "one",
        "back to a savepoint",
        "commit nothing",
        "after",
        "bye",
    ];
    assert_eq!(server.lines(), said);
    let refused = "skipped: an unspeakable request";
    let expected = [
        "ok",
        "ok",
        "ok",
        refused,
        "skipped: transaction failed",
        "ok",
        "skipped: request incomplete when recorded",
        "ok",
        "ok",
        "ok: fin",
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn what_cannot_be_said_is_named() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "cut").notes.add(Notes::REQUEST_GAP);
    tape.say(1, "unspeakable");
    tape.say(1, "unwanted");
    tape.say(1, "said");
    tape.close(1);
    tape.open(2).status = Status::Error;
    tape.say(2, "x");
    tape.open(3).notes.add(Notes::ENCRYPTED);
    tape.open(4).info.as_mut().unwrap().protocol = "other".into();
    tape.say(4, "unwanted");
    tape.open(5).status = Status::Unanswered;
    tape.say(6, "no opening");
    tape.say(1, "after the end");
    let played = play(tape, &options(server.address));
    assert_eq!(server.lines(), ["hello user1", "said", "bye"]);
    let expected = [
        "ok",
        "skipped: request incomplete when recorded",
        "skipped: an unspeakable request",
        "skipped: filtered",
        "ok",
        "ok: fin",
        "skipped: login failed when recorded",
        "skipped: login failed when recorded",
        "skipped: encrypted",
        "skipped: another protocol than the target's",
        "skipped: another protocol than the target's",
        "skipped: login incomplete when recorded",
        "skipped: session not open",
        "skipped: session not open",
    ];
    assert_eq!(played.story(), expected);
    assert!(played.report.ledger.balanced());
    let notes = ["lines passed over: 3", "lines said: 1"];
    assert_eq!(played.report.notes, notes);
}

#[test]
fn leaves_when_what_was_answered_when_recorded_is_answered() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "x");
    for _ in 0..100 {
        tape.say(1, "y").request.pipelined = true;
    }
    let left = tape.say(1, "stall");
    (left.status, left.response) = (Status::Unanswered, None);
    left.request.pipelined = true;
    tape.close(1);
    let played = play(tape, &options(server.address));
    let story = played.story();
    assert!(story[..102].iter().all(|told| told == "ok"), "{story:?}");
    let expected = ["unanswered: client left before the answer", "ok: fin"];
    assert_eq!(story[102..], expected);
}

#[test]
fn leaves_where_the_recorded_client_left() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    let left = tape.say(1, "stall");
    (left.status, left.response) = (Status::Unanswered, None);
    tape.close(1);
    let played = play(tape, &options(server.address));
    let expected = ["ok", "unanswered: client left before the answer", "ok: fin"];
    assert_eq!(played.story(), expected);
}

#[test]
fn a_stop_ends_the_run_and_is_told() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    let first = tape.rows.clone();
    // The recording goes on for ever; the stop comes when the server has the request.
    let endless = std::iter::from_fn(|| Some(tape.say(1, "more").clone()));
    let rows = first.into_iter().chain(endless);
    let stop = Arc::new(AtomicBool::new(false));
    let played = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.lines().len() < 2 {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        play_until(rows, &options(server.address), &stop)
    });
    assert!(played.report.cut_short);
    assert!(played.report.ledger.balanced());
    assert!(played.report.notes[0].starts_with("interrupted"));
    let stalled = &played.rows[1];
    assert_eq!(stalled.reason.as_deref(), Some("interrupted"));
}

#[test]
fn a_request_may_take_no_longer_than_it_is_told() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    tape.close(1);
    let options = crate::Options {
        request_timeout: Duration::from_millis(1),
        drain_timeout: Duration::from_secs(3600),
        ..options(server.address)
    };
    let played = play(tape, &options);
    let expected = [
        "ok",
        "unanswered: timed out",
        "skipped: session lost: timed out",
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn errors_that_are_not_as_recorded_are_told() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "fail");
    tape.say(1, "fail").status = Status::Error;
    tape.say(1, "x").status = Status::Error;
    let played = play(tape, &options(server.address));
    assert_eq!(played.report.new_errors, 1);
    let told = format!("{}: 1", recording::NEW_ERRORS);
    assert!(
        played.report.notes.contains(&told),
        "{:?}",
        played.report.notes
    );
}
