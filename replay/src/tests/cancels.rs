use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use recording::{Exchange, Kind, Status, Timestamp};

use super::fake::{Server, Tape, options, play};
use crate::Pace;

const HOUR_NS: i64 = 3_600_000_000_000;

/// What is recorded from now on was `ns` later.
fn later(tape: &mut Tape, from: usize, ns: i64) {
    for row in tape.rows.iter_mut().skip(from) {
        row.started_at.0 += ns;
    }
}

/// Nothing times out, however busy the machine is.
fn patient(server: &Server, pace: Pace) -> crate::Options {
    crate::Options {
        pace,
        request_timeout: Duration::from_secs(600),
        drain_timeout: Duration::from_secs(600),
        ..options(server.address)
    }
}

fn sent_at(row: &Exchange) -> Timestamp {
    row.pacing.unwrap().sent_at
}

#[test]
fn a_cancel_waits_for_as_long_as_its_client_did() {
    for pace in [Pace::Asap, Pace::Speed(1_000.0)] {
        let server = Server::start();
        let mut tape = Tape::default();
        tape.open(1);
        tape.say(1, "one");
        tape.say(1, "stall");
        tape.cancel(2, 1);
        tape.say(1, "two");
        tape.close(1);
        later(&mut tape, 4, 20_000_000);
        let waited = tape.rows[4].started_at.since(tape.rows[2].started_at);
        let played = play(tape, &patient(&server, pace));
        let said = [
            "hello user1",
            "one",
            "stall",
            "cancel 0",
            "cancelled",
            "two",
            "bye",
        ];
        assert_eq!(server.lines(), said);
        let expected = ["ok", "ok", "error", "ok", "ok", "ok: fin", "ok", "ok: fin"];
        assert_eq!(played.story(), expected);
        let (stalled, cancel) = (&played.rows[2], &played.rows[4]);
        assert!(sent_at(cancel).since(sent_at(stalled)) >= waited);
        let requests = played.report.ledger.account("requests").unwrap();
        assert_eq!((requests.seen, requests.kept), (4, 4));
    }
}

#[test]
fn a_cancel_of_nobody_is_counted() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.cancel(2, 1);
    let played = play(tape, &options(server.address));
    assert_eq!(
        played.story(),
        ["ok", "skipped: nothing to cancel", "ok: fin"]
    );
    assert!(played.report.ledger.balanced());
}

#[test]
fn a_cancel_of_what_is_not_sent_hits_nothing_else() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.say(1, "stall");
    tape.say(1, "unwanted");
    tape.cancel(2, 1);
    tape.close(1);
    let played = play(tape, &options(server.address));
    assert_eq!(server.lines(), ["hello user1", "stall"]);
    let lost = "skipped: session lost: timed out";
    let expected = [
        "ok",
        "unanswered: timed out",
        "skipped: filtered",
        "ok",
        lost,
        "ok: fin",
        lost,
    ];
    assert_eq!(played.story(), expected);
}

#[test]
fn who_cancels_and_leaves_has_cancelled() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    let left = tape.say(1, "stall");
    (left.status, left.response) = (Status::Unanswered, None);
    tape.cancel(2, 1);
    tape.close(1);
    play(tape, &patient(&server, Pace::Asap));
    let said = ["hello user1", "stall", "cancel 0", "cancelled", "bye"];
    assert_eq!(server.lines(), said);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_cancel_hits_what_it_is_meant_for_or_nothing(
        said in prop::collection::vec((1u64..4, any::<bool>()), 1..20),
    ) {
        let server = Server::start();
        let mut tape = Tape::default();
        for session in 1..4 {
            tape.open(session);
        }
        let mut late = Vec::new();
        for (canceller, (session, stalls)) in (10..).zip(said) {
            tape.say(session, if stalls { "stall" } else { "x" });
            if !stalls {
                late.push(tape.rows.len());
            }
            tape.cancel(canceller, session);
        }
        late.iter().for_each(|from| later(&mut tape, *from, HOUR_NS));
        let played = play(tape, &patient(&server, Pace::Asap));
        let mut stalled = false;
        for row in &played.rows {
            let told = (row.status, row.reason.as_deref());
            match row.kind {
                Kind::Request => {
                    stalled = row.request.bytes == b"stall";
                    let expected = if stalled { Status::Error } else { Status::Ok };
                    prop_assert_eq!(told, (expected, None));
                }
                Kind::Cancel if stalled => {
                    prop_assert_eq!(told, (Status::Ok, None));
                }
                Kind::Cancel => {
                    prop_assert_eq!(told, (Status::Skipped, Some("nothing to cancel")));
                }
                _ => {}
            }
        }
        let mut cancelling: HashMap<usize, usize> = HashMap::new();
        for (number, line) in server.heard.lock().unwrap().iter() {
            if let Some(cancelled) = line.strip_prefix("cancel ") {
                cancelling.insert(*number, cancelled.parse().unwrap());
            } else if line == "cancelled" {
                cancelling.remove(number);
            }
            let early = cancelling.values().any(|cancelled| cancelled == number);
            prop_assert!(!early, "{line} came before the cancel was over");
        }
    }
}
