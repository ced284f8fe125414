//! Paced conversations of which packets are lost, or come out of order: each exchange has the times of its
//! own packets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;

use capture::Ports;
use proptest::prelude::*;
use recording::{Exchange, Kind, Notes, Timestamp};
use support::*;

const EXCHANGES: usize = 60;
/// Far enough from both ends that what was lost is given up in between.
const HURT: usize = 20;

/// When its request and the first and the last byte of its answer were seen.
type Times = [i64; 3];

struct Language {
    name: &'static str,
    opening: fn(&mut Talk),
    request: fn(usize) -> String,
    /// In two packets.
    answer: fn(usize) -> [String; 2],
}

const LANGUAGES: [Language; 2] = [
    Language {
        name: "postgres",
        opening: |talk| {
            talk.say(CLIENT, "\0\0\0\x12\0\x03\0\0user\0ann\0\0");
            let login = message('R', "\0\0\0\0") + &message('Z', "I");
            talk.say(SERVER, &login);
        },
        request: |id| message('Q', &format!("select {id}\0")),
        answer: |id| {
            let row = message('D', &format!("\0\x01\0\0\0\x02{id:02}"));
            [row, message('C', "SELECT 1\0") + &message('Z', "I")]
        },
    },
    Language {
        name: "http",
        opening: |_| {},
        request: |id| format!("GET /select/{id} HTTP/1.1\r\nHost: x\r\n\r\n"),
        answer: |id| {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_owned();
            [head, format!("{id:02}")]
        },
    },
];

fn message(tag: char, body: &str) -> String {
    let len = char::from(u8::try_from(body.len() + 4).unwrap());
    format!("{tag}\0\0\0{len}{body}")
}

/// A request each 4 ms, answered after one and two.
fn paced(language: &Language) -> (Talk, Vec<[usize; 3]>) {
    let mut talk = Talk::open(ENDS);
    (language.opening)(&mut talk);
    let mut places = Vec::new();
    for id in 0..EXCHANGES {
        talk.wait(2);
        let request = talk.say(CLIENT, &(language.request)(id));
        let answer = (language.answer)(id).map(|part| {
            talk.wait(1);
            talk.say(SERVER, &part)
        });
        places.push([request, answer[0], answer[1]]);
    }
    talk.close();
    (talk, places)
}

fn times_sent(talk: &Talk, places: &[[usize; 3]]) -> Vec<Times> {
    let times = |of: &[usize; 3]| of.map(|place| talk.frames[place].at);
    places.iter().map(times).collect()
}

/// By the number in the request.
fn times_captured(language: &Language, talk: &Talk) -> BTreeMap<usize, Times> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pcap(1, &talk.frames)).unwrap();
    file.flush().unwrap();
    let mut options = options(file.path(), &[]);
    options.ports = Ports::new([(PORT, protocol::by_name(language.name).unwrap())]);
    let captured = capture_with(&options);
    let requests = captured.rows.iter().filter(|row| row.kind == Kind::Request);
    requests.filter_map(times).collect()
}

/// Of an exchange that lost nothing.
fn times(row: &Exchange) -> Option<(usize, Times)> {
    if row.notes != Notes::default() {
        return None;
    }
    let text = String::from_utf8_lossy(&row.request.bytes);
    let (_, id) = text.split_once("select")?;
    let id: String = id
        .chars()
        .skip(1)
        .take_while(char::is_ascii_digit)
        .collect();
    let response = row.response.as_ref()?;
    let times = [
        row.started_at,
        response.first_byte_at,
        response.last_byte_at,
    ];
    Some((id.parse().ok()?, times.map(|Timestamp(at)| at)))
}

#[test]
fn whatever_is_lost_the_others_keep_their_times() {
    for language in &LANGUAGES {
        let (talk, places) = paced(language);
        let sent = times_sent(&talk, &places);
        assert_eq!(times_captured(language, &talk).len(), EXCHANGES);
        for (part, lost) in places[HURT].into_iter().enumerate() {
            let mut talk = talk.clone();
            talk.frames.remove(lost);
            let captured = times_captured(language, &talk);
            for (id, sent) in sent.iter().enumerate() {
                // With the one that lost something, or the one after it, both sides are found again.
                if !(HURT..=HURT + 1).contains(&id) {
                    let place = format!("{} {id}, where {part} of {HURT} was lost", language.name);
                    assert_eq!(captured.get(&id), Some(sent), "{place}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However many are lost, and acknowledged or not.
    #[test]
    fn what_is_whole_has_its_times(lost in prop::collection::vec(prop::bool::weighted(0.1), 300)) {
        for language in &LANGUAGES {
            let (mut talk, places) = paced(language);
            let sent = times_sent(&talk, &places);
            // The opening stays.
            let first = places[0][0];
            let mut place = 0..;
            talk.frames.retain(|_| {
                let place = place.next().unwrap_or(0);
                place < first || !lost[place]
            });
            let captured = times_captured(language, &talk);
            prop_assert!(captured.len() > EXCHANGES / 4, "{} of them", captured.len());
            for (id, times) in captured {
                prop_assert_eq!(times, sent[id], "{} {}", language.name, id);
            }
        }
    }
}

#[test]
fn what_is_swapped_costs_no_other_its_times() {
    for language in &LANGUAGES {
        let (mut talk, places) = paced(language);
        let mut sent = times_sent(&talk, &places);
        // The request is captured after its answer, and so counts as seen with it.
        let [request, _, answered] = places[HURT];
        talk.frames[request].at = talk.frames[answered].at + 1;
        talk.frames[request..=answered].rotate_left(1);
        sent[HURT][0] = sent[HURT][1];
        let captured = times_captured(language, &talk);
        let expected: BTreeMap<usize, Times> = sent.into_iter().enumerate().collect();
        assert_eq!(captured, expected, "{}", language.name);
    }
}
