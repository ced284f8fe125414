//! Sessions that are left out on purpose, and what is assumed of those that were open already.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::fs;

use capture::{Only, Options, Sample};
use support::*;

fn capture_frames(frames: &[Frame], change: impl FnOnce(&mut Options)) -> Captured {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("choice.pcap");
    fs::write(&path, pcap(1, frames)).unwrap();
    let mut options = options(&path, &[PORT]);
    options.workers = 1;
    change(&mut options);
    capture_with(&options)
}

/// The same conversation by many clients, one after the other.
fn many(count: u16) -> Vec<Frame> {
    let mut frames = Vec::new();
    for number in 0..count {
        let mut talk = Talk::open(Ends {
            client: ([10, 0, 0, 1], 20_000 + number),
            ..ENDS
        });
        talk.say(CLIENT, "hello");
        talk.say(SERVER, "world");
        talk.close();
        frames.extend(talk.frames);
    }
    frames
}

#[test]
fn a_sample_has_whole_sessions_and_the_same_ones_each_time() {
    let frames = many(400);
    let sampled = |percent: &str| {
        let sample: Sample = percent.parse().unwrap();
        capture_frames(&frames, |options| options.sample = Some(sample))
    };
    let clients = |captured: &Captured| -> Vec<_> {
        let infos = captured.rows.iter().filter_map(|row| row.info.as_ref());
        infos.map(|info| info.client).collect()
    };
    let few = sampled("10%");
    assert!((20..80).contains(&few.sessions().len()));
    assert!(few.sessions().iter().all(|it| it == "C:hello S:world fin"));
    assert_eq!(clients(&few), clients(&sampled("10%")));
    let kept = few.sessions().len() as u64;
    assert_eq!(few.lost("bytes", "sampled out"), (400 - kept) * 10);
    assert!(few.lost("packets", "sampled out") > 0);
    // A larger sample has the smaller one in it.
    let more = clients(&sampled("50%"));
    assert!(clients(&few).iter().all(|client| more.contains(client)));
    assert_eq!(sampled("100%").sessions().len(), 400);
}

#[test]
fn a_sample_is_told_where_the_recording_is_from() {
    let mut options = options("x.pcap".as_ref(), &[PORT]);
    options.sample = Some("2.5%".parse().unwrap());
    assert_eq!(
        options.source(),
        "file x.pcap, port 5432, a sample of 2.5% of the sessions"
    );
    for wrong in ["0%", "101%", "ten", "NaN%"] {
        assert!(wrong.parse::<Sample>().is_err(), "{wrong}");
    }
}

/// Sessions of the user and the database that a client says first, and one that was open already.
fn users() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (number, login) in ["user:ann/shop", "user:bob/shop", "user:ann/bank"]
        .into_iter()
        .enumerate()
    {
        let mut talk = Talk::open(Ends {
            client: ([10, 0, 0, 1], 20_000 + number as u16),
            ..ENDS
        });
        talk.say(CLIENT, login);
        talk.say(SERVER, "hello");
        talk.say(CLIENT, "secret");
        frames.extend(talk.frames);
    }
    let mut talk = Talk::new(ENDS);
    talk.say(CLIENT, "old");
    frames.extend(talk.frames);
    frames
}

#[test]
fn sessions_of_others_are_dropped_with_all_that_follows() {
    let ann = capture_frames(&users(), |options| {
        options.only = Only {
            users: vec!["ann".to_owned()],
            databases: Vec::new(),
        };
    });
    let ann_s = |database| format!("C:user:ann/{database} S:hello C:secret capture ended");
    assert_eq!(
        ann.sessions(),
        [
            ann_s("shop"),
            ann_s("bank"),
            "~ C:old capture ended".to_owned()
        ]
    );
    assert_eq!(ann.lost("sessions", "other user"), 1);
    assert_eq!(ann.lost("bytes", "other user"), 13 + 5 + 6);
    assert_eq!(ann.lost("stream", "other user"), 13 + 5 + 6);

    let shop = capture_frames(&users(), |options| {
        options.only.users = vec!["ann".to_owned()];
        options.only.databases = vec!["shop".to_owned()];
    });
    assert_eq!(
        shop.sessions(),
        [ann_s("shop"), "~ C:old capture ended".to_owned()]
    );
    assert_eq!(shop.lost("sessions", "other user"), 1);
    assert_eq!(shop.lost("sessions", "other database"), 1);
}
