use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use recording::{Exchange, Notes};

use super::fake::{Played, Server, Tape, options, play, play_until};

fn row(played: &Played, session: u64, seq: u32) -> &Exchange {
    let rows = &mut played.rows.iter();
    rows.find(|row| (row.session, row.seq) == (session, seq))
        .unwrap()
}

#[test]
fn a_request_waits_for_the_value_that_another_session_learns() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    tape.open(2);
    for n in 0..50 {
        tape.say(1, &n.to_string());
    }
    tape.say(1, "make a");
    tape.say(2, "use a");
    tape.say(2, "use b");
    let played = play(tape, &options(server.address));
    let (maker, user) = (row(&played, 1, 51), row(&played, 2, 1));
    let said = server.conversations();
    let number = said.iter().position(|said| said[0] == "hello user1");
    let user_said = said.iter().find(|said| said[0] == "hello user2").unwrap();
    let used = format!("use a{}", number.unwrap());
    assert_eq!(user_said[1..3], [used, "use b".to_owned()]);
    let made_at = maker.response.as_ref().unwrap().last_byte_at;
    let pacing = user.pacing.unwrap();
    assert!(made_at <= pacing.ready_at && pacing.ready_at <= pacing.sent_at);
}

#[test]
fn it_goes_as_recorded_where_no_value_will_come() {
    let server = Server::start();
    let mut tape = Tape::default();
    for session in 1..=4 {
        tape.open(session);
    }
    tape.say(1, "hang up");
    tape.say(1, "make a");
    tape.say(2, "make b").notes.add(Notes::REQUEST_GAP);
    tape.say(2, "make c").notes.add(Notes::REQUEST_GAP);
    tape.say(2, "make nothing");
    for value in ["a", "b", "nothing"] {
        tape.say(3, &format!("use {value}"));
    }
    // Another response has the value too, and comes.
    tape.say(2, "make c");
    tape.say(4, "use c");
    let played = play(tape, &options(server.address));
    let lines = server.lines();
    for line in ["use a", "use b", "use nothing"] {
        assert!(lines.iter().any(|heard| heard == line), "{lines:?}");
    }
    let notes = &played.report.notes;
    let told = "values sent as recorded, for the target made up no other: 3";
    assert!(notes.iter().any(|note| note == told), "{notes:?}");
    assert!(!lines.iter().any(|line| line == "use c"), "{lines:?}");
}

#[test]
fn it_waits_no_longer_than_a_request_may_take() {
    let server = Server::start();
    let mut tape = Tape::default();
    tape.open(1);
    let stalled = tape.say(1, "stall");
    let began_at = stalled.started_at;
    stalled.response.as_mut().unwrap().last_byte_at = began_at + Duration::from_secs(3600);
    tape.say(1, "make a");
    tape.open(2);
    tape.say(2, "use a");
    tape.open(3);
    let mut more = tape.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let (heard, stopper) = (Arc::clone(&server.heard), Arc::clone(&stop));
    let mut looked_at = 0;
    // Others go on until the server has the request.
    let endless = std::iter::from_fn(move || {
        let heard = heard.lock().unwrap();
        let mut news = heard.iter().skip(looked_at);
        if news.any(|(_, line)| line == "use a") {
            stopper.store(true, Ordering::Relaxed);
        }
        looked_at = heard.len();
        Some(more.say(3, "more").clone())
    });
    let options = crate::Options {
        request_timeout: Duration::from_millis(1),
        budget: 1 << 16,
        ..options(server.address)
    };
    let played = play_until(tape.rows.into_iter().chain(endless), &options, &stop);
    let notes = &played.report.notes;
    for told in [
        "requests that waited for a value of the target's: 1",
        "values sent as recorded, for the target's took too long: 1",
    ] {
        assert!(notes.iter().any(|note| note == told), "{notes:?}");
    }
}
