//! Sessions that recorded clients ended by their numbers: on the target the numbers are those of others.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{inspect, record, rehearsal, run};
use crate::packets::{Talk, message};
use crate::servers::Server;

/// Has nothing to do with the replay; leaves with the value.
struct Stranger(Child);

impl Stranger {
    fn connect(url: &str) -> Stranger {
        let mut psql = Command::new("psql");
        let psql = psql.args(["-qAtX", url]).stdin(Stdio::piped());
        Stranger(psql.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// One line of it; empty where the session is over.
    fn ask(&mut self, sql: &str) -> String {
        let asked = writeln!(self.0.stdin.as_mut().unwrap(), "{sql};");
        let mut line = String::new();
        let mut answer = BufReader::new(self.0.stdout.as_mut().unwrap());
        asked.and_then(|()| answer.read_line(&mut line)).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// By a statement that was prepared before, with the number as a parameter.
fn end_by_parameter(talk: &mut Talk<File>, number: &str) {
    let sync = message(b'S', b"");
    let ready = message(b'Z', b"I");
    let text = b"ending\0select pg_catalog.pg_terminate_backend($1)\0\0\0";
    let bind = [
        b"\0ending\0\0\0\0\x01\0\0\0",
        &[number.len() as u8][..],
        number.as_bytes(),
        b"\0\0",
    ];
    let execute = [message(b'B', &bind.concat()), message(b'E', &[0; 5])].concat();
    let executed = [message(b'2', b""), message(b'C', b"SELECT 0\0")].concat();
    for (asked, answered) in [
        (message(b'P', text), message(b'1', b"")),
        (execute, executed),
    ] {
        let asked = String::from_utf8([asked, sync.clone()].concat()).unwrap();
        let answered = String::from_utf8([answered, ready.clone()].concat()).unwrap();
        talk.exchange(&asked, &answered).unwrap();
    }
}

#[test]
fn nobody_is_ended_by_a_recorded_number() {
    for major in [13, 18] {
        let Some(server) = Server::postgres(major, "signals") else {
            return;
        };
        let mut stranger = Stranger::connect(&server.url);
        let number = stranger.ask("select pg_backend_pid()");
        let dir = tempfile::tempdir().unwrap();
        let [pcap, recording, run_dir] = ["pcap", "rec", "run"].map(|name| dir.path().join(name));
        let mut talk = Talk::start(File::create(&pcap).unwrap()).unwrap();
        for sql in [
            &format!("select 1; SELECT pg_terminate_backend ('{number}')"),
            &format!("select pg_terminate_backend(pid) from pg_stat_activity where pid = {number}"),
            "select pg_cancel_backend(pid) from pg_stat_activity where datname = 'nobody''s'",
            "select 2",
        ] {
            talk.ask(sql).unwrap();
        }
        end_by_parameter(&mut talk, &number);
        talk.end().unwrap();
        record(&pcap, &[5432], &recording);

        let mut replay = rehearsal();
        replay.args(["replay", "--quiet", "--asap", "--target", &server.url]);
        run(replay.arg(&recording).arg("-o").arg(&run_dir), 0);
        assert_eq!(stranger.ask("select 'alive'"), "alive", "on {major}");
        let found = inspect(&run_dir);
        assert_eq!(
            found["ledger"]["requests"],
            json!({"seen": 6, "kept": 2, "lost": {"signals a session by its recorded number": 4}}),
            "{found:#}"
        );
        assert_eq!(found["errors"], json!({}), "{found:#}");
    }
}
