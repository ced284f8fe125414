use std::num::NonZeroUsize;

use proptest::prelude::*;
use recording::{Exchange, Kind, Status, Timestamp};

use super::fake::{Played, Server, Tape, options, play};

fn play_over(server: &Server, connections: usize, tape: Tape) -> Played {
    let options = crate::Options {
        connections: NonZeroUsize::new(connections),
        ..options(server.address)
    };
    play(tape, &options)
}

fn requests(played: &Played) -> Vec<&Exchange> {
    let rows = played.rows.iter();
    rows.filter(|row| row.kind == Kind::Request).collect()
}

#[test]
fn one_request_at_a_time_and_the_wait_is_no_lateness() {
    let server = Server::start();
    let mut tape = Tape::default();
    for session in 0..4 {
        tape.open(session);
    }
    for n in 0..20 {
        for session in 0..4 {
            tape.say(session, &n.to_string());
        }
    }
    let played = play_over(&server, 1, tape);
    assert!(played.rows.iter().all(|row| row.status == Status::Ok));
    assert_eq!(server.conversations().len(), 1);
    let mut requests = requests(&played);
    requests.sort_by_key(|row| row.pacing.unwrap().sent_at);
    let mut answered_at = Timestamp::default();
    for row in requests {
        let pacing = row.pacing.unwrap();
        assert!(answered_at <= pacing.ready_at && pacing.ready_at <= pacing.sent_at);
        answered_at = row.response.as_ref().unwrap().last_byte_at;
    }
    assert!(played.report.histograms.contains_key("pool wait"));
}

#[test]
fn who_waits_for_a_value_holds_no_connection() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.open(2);
    for n in 0..20 {
        tape.say(1, &n.to_string());
    }
    tape.say(1, "make a");
    tape.say(2, "use a");
    play_over(&server, 1, tape);
    let lines = server.lines();
    assert_eq!(lines.last().unwrap(), "use a0", "{lines:?}");
}

#[test]
fn a_lost_connection_is_another_ones_place() {
    let server = Server::start();
    let mut tape = Tape::default();
    for session in 1..=3 {
        tape.open(session);
    }
    tape.say(1, "hang up");
    tape.say(2, "part");
    tape.say(3, "x");
    let played = play_over(&server, 1, tape);
    let told: Vec<&str> = requests(&played)
        .iter()
        .map(|row| row.status.name())
        .collect();
    assert_eq!(told, ["unanswered", "ok", "ok"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_session_keeps_its_order(
        said in prop::collection::vec((0u64..6, any::<bool>()), 1..80),
        connections in 1usize..5,
    ) {
        let server = Server::start();
        let mut tape = Tape::default();
        for session in 0..6 {
            tape.open(session);
        }
        for (n, (session, pipelined)) in said.iter().enumerate() {
            tape.say(*session, &format!("{session} {n}")).request.pipelined = *pipelined;
        }
        let expected = |session| {
            let told = said.iter().enumerate().filter(move |(_, (whose, _))| *whose == session);
            told.map(|(n, (session, _))| format!("{session} {n}")).collect::<Vec<_>>()
        };
        let count = said.len();
        let played = play_over(&server, connections, tape);
        prop_assert!(requests(&played).iter().all(|row| row.status == Status::Ok));
        prop_assert_eq!(requests(&played).len(), count);
        prop_assert!(server.conversations().len() <= connections);
        let lines = server.lines();
        for session in 0..6 {
            let prefix = format!("{session} ");
            let heard = lines.iter().filter(|line| line.starts_with(&prefix));
            prop_assert!(heard.eq(&expected(session)), "{:?}", lines);
        }
    }
}
