//! What is left when the capture is killed.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Capture, inspect, psql};
use crate::servers::Server;

const STATEMENTS: u64 = 20;

#[test]
fn a_killed_capture_leaves_what_was_flushed() {
    let Some(server) = Server::postgres(13, "crash") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("killed.rec");
    let Some(capture) = Capture::start(server.port(), &recording) else {
        return;
    };
    for number in 1..=STATEMENTS {
        psql(&server.url, &format!("SELECT {number}"));
    }
    // Readable while it grows: each row is on disk a second after it came.
    let patience = Instant::now() + Duration::from_secs(30);
    while inspect(&recording)["requests"] != STATEMENTS {
        assert!(Instant::now() < patience, "{:#}", inspect(&recording));
    }
    drop(capture);
    let left = inspect(&recording);
    assert_eq!(left["requests"], STATEMENTS, "{left:#}");
    assert_eq!(left["rows"], STATEMENTS);
    assert_eq!(left["complete"], Value::Bool(false));
}
