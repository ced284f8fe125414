//! Sessions that had connected and prepared before the capture began.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::{Capture, inspect, psql, rehearsal, run};
use crate::servers::{Server, python};

const STATEMENTS: [&str; 6] = [
    "begin",
    "commit",
    "insert into midstream (number, body) values ($1, ?)",
    "select ?",
    "select ?, $1::int + ?",
    "select count(*) from pg_class where relname = $1::text",
];

/// Clients that wait to go on; killed with the value.
struct Clients(Child);

impl Clients {
    fn start(url: &str) -> Clients {
        let mut clients = python();
        clients.args(["tests/workload/midstream.py", url]);
        let clients = clients.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut clients = Clients(clients.spawn().unwrap());
        let mut line = String::new();
        let mut told = BufReader::new(clients.0.stdout.as_mut().unwrap());
        told.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        clients
    }

    fn go_on_to_the_end(mut self) {
        let mut go = self.0.stdin.take().unwrap();
        go.write_all(b"go\n").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a run of the recording against its own server holds.
fn replay(recording: &Path, target: &str, run_dir: &Path) -> Value {
    let (_, endpoint) = target.rsplit_once('@').unwrap();
    let mut replay = rehearsal();
    replay.args(["replay", "--quiet", "--asap", "--target", target]);
    replay.args(["--allow-captured-target", endpoint]);
    run(replay.arg(recording).arg("-o").arg(run_dir), 0);
    inspect(run_dir)
}

#[test]
fn sessions_that_were_open_are_made_whole() {
    let Some(server) = Server::postgres(15, "midstream") else {
        return;
    };
    psql(
        &server.url,
        "CREATE TABLE midstream (number int, body text)",
    );
    let dir = tempfile::tempdir().unwrap();
    let [asked, assumed] = ["asked.rec", "assumed.rec"].map(|name| dir.path().join(name));
    let clients = Clients::start(&server.url);
    let told = ["--assume-user", "postgres", "--assume-database", "postgres"];
    let Some(without) = Capture::start_with(server.port(), &assumed, &told) else {
        return;
    };
    let with = Capture::start_with(server.port(), &asked, &["--probe", &server.url]).unwrap();
    clients.go_on_to_the_end();
    let told = with.stop();
    assert!(!told.contains("--probe"), "{told}");
    without.stop();

    let found = inspect(&asked);
    let ledger = &found["ledger"];
    assert_eq!(ledger["sessions"]["lost"]["own probe"], 1, "{found:#}");
    assert_eq!(
        ledger["statements"],
        json!({"seen": 5, "kept": 5, "lost": {}}),
        "{found:#}"
    );
    assert_eq!(found["notes"], json!({"mid-stream": 3}), "{found:#}");
    assert_eq!(owners(&found), ["reader", "reader", "writer"]);
    assert_eq!(executed(&found), BTreeSet::from(STATEMENTS));
    let requests = found["requests"].as_u64().unwrap();
    // As the recorded users, whose password is the superuser's.
    let target = format!("postgresql://:rehearsal@127.0.0.1:{}", server.port());
    let replayed = replay(&asked, &target, &dir.path().join("asked.run"));
    let ledger = &replayed["ledger"];
    assert_eq!(ledger["requests"]["kept"], requests, "{replayed:#}");
    assert_eq!(ledger["statements"]["kept"], 5, "{replayed:#}");
    assert_eq!(replayed["errors"], json!({}), "{replayed:#}");
    assert_eq!(executed(&replayed), BTreeSet::from(STATEMENTS));

    run(rehearsal().arg("verify").arg(&asked), 0);
    let again = dir.path().join("again.run");
    replay(&asked, &target, &again);
    let mut compare = rehearsal();
    compare.arg("compare").arg(dir.path().join("asked.run"));
    compare
        .arg(again)
        .args(["--fail-on", "differences > 0", "--json", "-"]);
    let compared: Value = serde_json::from_slice(&run(&mut compare, 0).stdout).unwrap();
    assert_eq!(compared["requests"]["equal"], requests, "{compared:#}");

    // Nobody told: what is not known is marked, and what can be sent is.
    let found = inspect(&assumed);
    let ledger = &found["ledger"];
    assert_eq!(ledger["sessions"]["lost"]["own probe"], 1, "{found:#}");
    let lost = json!({"prepared before the capture": 5});
    assert_eq!(
        ledger["statements"],
        json!({"seen": 5, "kept": 0, "lost": lost}),
        "{found:#}"
    );
    assert_eq!(found["requests"], requests, "{found:#}");
    let unknown = found["notes"]["unknown-statement"].as_u64().unwrap();
    assert_eq!(
        executed(&found),
        BTreeSet::from(["begin", "commit", "select ?"])
    );
    let replayed = replay(&assumed, &target, &dir.path().join("assumed.run"));
    let ledger = &replayed["ledger"]["requests"];
    let lost = json!({"statement prepared before the capture": unknown});
    let kept = requests - unknown;
    assert_eq!(
        *ledger,
        json!({"seen": requests, "kept": kept, "lost": lost}),
        "{replayed:#}"
    );
    assert_eq!(replayed["errors"], json!({}), "{replayed:#}");
}

/// Applications of the sessions, all of the same user and database.
fn owners(found: &Value) -> Vec<&str> {
    let sessions = found["by_session"].as_array().unwrap();
    let mut applications: Vec<&str> = sessions
        .iter()
        .map(|session| {
            assert_eq!(session["user"], "postgres");
            assert_eq!(session["database"], "postgres");
            session["application"].as_str().unwrap()
        })
        .collect();
    applications.sort_unstable();
    applications
}

fn executed(found: &Value) -> BTreeSet<&str> {
    let statements = found["top_by_calls"].as_array().unwrap();
    let texts = statements.iter().map(|one| one["statement"].as_str());
    texts
        .flatten()
        .filter(|text| !text.starts_with('('))
        .collect()
}

#[test]
fn a_probe_that_can_not_ask_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("none.rec");
    for (url, code, why) in [
        (
            "postgresql://u@127.0.0.1:1",
            1,
            "failed to ask the server: Connection refused",
        ),
        ("postgresql://127.0.0.1:1", 2, "name the user"),
        (
            "postgresql://u@127.0.0.1:1?sslmode=require",
            2,
            "without TLS",
        ),
        (
            "postgresql://u@127.0.0.1:2",
            2,
            "port 2, which is not captured",
        ),
        (
            "http://u@127.0.0.1:1",
            1,
            "a server that speaks http can't be asked",
        ),
    ] {
        let mut capture = rehearsal();
        capture.args(["capture", "-q", "-i", "lo", "-p", "1", "--probe", url, "-o"]);
        let output = run(capture.arg(&recording), code);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if told.contains("cap_net_raw") {
            println!("skipped: {told}");
            return;
        }
        assert!(told.contains(why), "{url}: {told}");
        assert!(!recording.exists());
    }
}
