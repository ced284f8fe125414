//! Data that a client still sends when the server has refused what came before.

use std::process::Command;

use serde_json::json;

use crate::harness::{Capture, inspect, psql, rehearsal, run};
use crate::servers::Server;

/// More than there is room for on the way.
const COPY: &str = "\\copy numbers from program 'echo none; seq 1000000'";

#[test]
fn a_copy_that_the_server_broke_off_fails_again() {
    for major in [13, 18] {
        let Some(server) = Server::postgres(major, "copy") else {
            return;
        };
        psql(&server.url, "CREATE TABLE numbers (number int)");
        let dir = tempfile::tempdir().unwrap();
        let [recording, run_dir] = ["monday.rec", "run"].map(|name| dir.path().join(name));
        let Some(capture) = Capture::start(server.port(), &recording) else {
            return;
        };
        run(
            Command::new("psql").args(["-qX", &server.url, "-c", COPY]),
            1,
        );
        let told = capture.stop();
        assert_eq!(told, "");

        let target = format!("127.0.0.1:{}", server.port());
        let mut replay = rehearsal();
        replay.args(["replay", "--quiet", "--target", &server.url]);
        replay.args(["--allow-captured-target", &target]);
        run(replay.arg(&recording).arg("-o").arg(&run_dir), 0);
        let found = inspect(&run_dir);
        let all = json!({"seen": 1, "kept": 1, "lost": {}});
        assert_eq!(found["ledger"]["requests"], all, "{found:#}");
        assert_eq!(found["errors"], json!({"22P02": 1}), "{found:#}");
    }
}
