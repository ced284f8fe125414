//! Bodies that the recorded server did not ask for (RFC 9110, section 10.1.1), or did not read to their end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{record, rehearsal, run};
use crate::packets::Talk;

const PUT: &str = "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
const GET: &str = "GET /b HTTP/1.1\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UPLOAD: &str = "POST /c HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
const TOO_LARGE: &str = "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n";
const ASKED_FOR: &str = "target asked for a body that was not sent when recorded";

/// Gives who has a body to send that answer, before the body. What it is told, with the connection's number, comes out
/// behind; it ends with the process.
fn start(answer: &'static str) -> (String, Receiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, hears) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let heard = heard.clone();
            thread::spawn(move || serve(number, stream, answer, &heard));
        }
    });
    (url, hears)
}

fn serve(number: usize, mut stream: TcpStream, answer: &str, heard: &Sender<(usize, String)>) {
    let mut head = String::new();
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let Ok(line) = line else { break };
        if !line.is_empty() {
            head.push_str(&line);
            continue;
        }
        let said = if head.contains("Content-Length") {
            answer
        } else {
            OK
        };
        let words: Vec<&str> = head.splitn(3, ' ').collect();
        let _ = heard.send((number, words[..2].join(" ")));
        let _ = stream.write_all(said.as_bytes());
        head.clear();
    }
}

/// What the target was told so far, with the connection's number from the first that said anything.
fn heard(hears: &Receiver<(usize, String)>) -> Vec<(usize, String)> {
    let mut heard: Vec<_> = hears.try_iter().collect();
    let first = heard.first().map_or(0, |(number, _)| *number);
    heard.iter_mut().for_each(|(number, _)| *number -= first);
    heard
}

fn replay(recording: &Path, target: &str, more: &[&str], output: &Path) -> Value {
    let mut replay = rehearsal();
    replay.arg("replay").arg(recording).args(["--asap", "-q"]);
    replay.args(["--target", target]).args(more);
    run(replay.arg("-o").arg(output), 0);
    let manifest = std::fs::read(output.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["ledger"]["requests"].clone()
}

fn compare(old: &Path, new: &Path, code: i32) -> Value {
    let mut compare = rehearsal();
    compare.arg("compare").args([old, new]);
    compare.args(["--json", "-", "--fail-on", "differences > 0"]);
    let told = run(&mut compare, code);
    serde_json::from_slice(&told.stdout).unwrap()
}

#[test]
fn a_body_that_nobody_asked_for_is_replayed_as_it_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let [pcap, recording, old, new] =
        ["monday.pcap", "monday.rec", "old", "new"].map(|name| dir.path().join(name));
    let mut talk = Talk::connect(File::create(&pcap).unwrap(), 80).unwrap();
    talk.exchange(GET, OK).unwrap();
    talk.exchange(PUT, REFUSED).unwrap();
    talk.exchange(GET, OK).unwrap();
    talk.end().unwrap();
    let told = record(&pcap, &[80], &recording);
    assert_eq!(told["oddities"], json!({ "body not asked for": 1 }));
    assert_eq!(told["incomplete"], json!({}));

    let writes = ["--allow-writes"];
    let (refusing, hears) = start(REFUSED);
    let ledger = replay(&recording, &refusing, &writes, &old);
    assert_eq!((&ledger["kept"], &ledger["seen"]), (&json!(3), &json!(3)));
    let told = ["GET /b", "PUT /a", "GET /b"].map(|what| (0, what.to_owned()));
    assert_eq!(heard(&hears), told);

    let (asking, hears) = start(GO_ON);
    let ledger = replay(&recording, &asking, &writes, &new);
    assert_eq!(ledger["kept"], 2);
    assert_eq!(ledger["lost"], json!({ ASKED_FOR: 1 }));
    let told = [(0, "GET /b"), (0, "PUT /a"), (1, "GET /b")];
    let told = told.map(|(number, what)| (number, what.to_owned()));
    assert_eq!(heard(&hears), told);

    assert_eq!(compare(&recording, &old, 0)["differences"], json!({}));
    for before in [&recording, &old] {
        let report = compare(before, &new, 3);
        assert_eq!(report["differences"], json!({ "missing": 1 }));
        let group = &report["groups"][0];
        assert_eq!(group["statement"], "PUT /a");
        let cell = &group["examples"][0]["differences"][0];
        assert_eq!(cell["expected"], "error 401");
        assert_eq!(cell["observed"], format!("unanswered: {ASKED_FOR}"));
    }
    let report = compare(&new, &old, 3);
    assert_eq!(report["differences"], json!({ "new error": 1 }));
}

#[test]
fn a_body_that_nobody_asked_for_keeps_its_connection_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let [pcap, recording] = ["monday.pcap", "monday.rec"].map(|name| dir.path().join(name));
    let mut talk = Talk::connect(File::create(&pcap).unwrap(), 80).unwrap();
    talk.exchange(PUT, REFUSED).unwrap();
    talk.exchange(GET, OK).unwrap();
    talk.exchange(GET, OK).unwrap();
    talk.end().unwrap();
    record(&pcap, &[80], &recording);
    for (more, expected) in [
        (&["--allow-writes"][..], json!({})),
        (&[], json!({ "writes not allowed": 1 })),
        (
            &["--allow-writes", "--drop-header", "Expect"],
            json!({ "body not sent when recorded": 1 }),
        ),
    ] {
        let (target, hears) = start(REFUSED);
        let output = dir.path().join(format!("run-{}", more.len()));
        let more = [more, &["--connections", "1"]].concat();
        let ledger = replay(&recording, &target, &more, &output);
        assert_eq!(ledger["lost"], expected);
        let used: Vec<usize> = heard(&hears).iter().map(|(number, _)| *number).collect();
        let sent = if expected == json!({}) {
            vec![0, 1, 1]
        } else {
            vec![0, 0]
        };
        assert_eq!(used, sent);
    }
}

#[test]
fn an_upload_that_was_broken_off_is_replayed_as_far_as_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let [pcap, recording] = ["monday.pcap", "monday.rec"].map(|name| dir.path().join(name));
    let mut talk = Talk::connect(File::create(&pcap).unwrap(), 80).unwrap();
    talk.exchange(GET, OK).unwrap();
    talk.exchange(UPLOAD, TOO_LARGE).unwrap();
    talk.say_more("de").unwrap();
    talk.end().unwrap();
    let told = record(&pcap, &[80], &recording);
    assert_eq!(told["oddities"], json!({ "request broken off": 1 }));
    assert_eq!(told["incomplete"], json!({}));

    for (answer, lost, differences) in [
        (TOO_LARGE, json!({}), json!({})),
        (OK, json!({}), json!({ "vanished error": 1 })),
        // It waits for the rest.
        ("", json!({ "timed out": 1 }), json!({ "missing": 1 })),
    ] {
        let (target, hears) = start(answer);
        let output = dir.path().join(format!("run-{}", answer.len()));
        let ledger = replay(&recording, &target, &["--allow-writes"], &output);
        assert_eq!(ledger["lost"], lost);
        let told = ["GET /b", "POST /c"].map(|what| (0, what.to_owned()));
        assert_eq!(heard(&hears), told);
        let code = if differences == json!({}) { 0 } else { 3 };
        assert_eq!(
            compare(&recording, &output, code)["differences"],
            differences
        );
    }
}

#[test]
fn an_upload_whose_end_the_capture_missed_is_not_taken_for_one_that_was_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let [pcap, recording] = ["monday.pcap", "monday.rec"].map(|name| dir.path().join(name));
    let mut talk = Talk::connect(File::create(&pcap).unwrap(), 80).unwrap();
    talk.exchange(GET, OK).unwrap();
    talk.say_more(UPLOAD).unwrap();
    talk.lose(3);
    talk.exchange("", TOO_LARGE).unwrap();
    talk.end().unwrap();
    let told = record(&pcap, &[80], &recording);
    assert_eq!(told["oddities"], json!({ "request incomplete": 1 }));
    let (target, _) = start(TOO_LARGE);
    let output = dir.path().join("run");
    let ledger = replay(&recording, &target, &["--allow-writes"], &output);
    let incomplete = "request incomplete when recorded";
    assert_eq!(ledger["lost"], json!({ incomplete: 1 }));
}
