//! A capture that is stopped while its traffic goes on: what it missed is told to the byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use recording::{Account, Kind, Recording};

use crate::harness::{Capture, rehearsal, run};
use crate::packets::message;

const STOPPED: Duration = Duration::from_secs(3);
/// At least as many, so that their answers fill the kernel's buffer several times.
const MEANWHILE: u64 = 500;
const ANSWER: usize = 8 << 10;

/// A client of a server that gives everything the same answer. It counts what the two say.
struct Client {
    stream: TcpStream,
    bytes: u64,
    requests: u64,
}

impl Client {
    fn start(listener: TcpListener) -> Client {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || serve(listener.accept().unwrap().0));
        let mut client = Client {
            stream,
            bytes: 0,
            requests: 0,
        };
        let parameters = b"\0\x03\0\0user\0anna\0\0";
        let length = (parameters.len() as u32 + 4).to_be_bytes();
        client.say(&[&length, &parameters[..]].concat(), &welcome());
        client
    }

    fn ask(&mut self, when: &str) {
        self.say(&message(b'Q', &statement(self.requests, when)), &answer());
        self.requests += 1;
    }

    fn say(&mut self, said: &[u8], expected: &[u8]) {
        self.stream.write_all(said).unwrap();
        let mut answer = vec![0; expected.len()];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected);
        self.bytes += (said.len() + answer.len()) as u64;
    }

    /// Asks until a request of that time is recorded.
    fn ask_until_recorded(&mut self, when: &str, dir: &Path) {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            self.ask(when);
            let wanted = |text: &Vec<u8>| text.ends_with(format!("{when} */\0").as_bytes());
            if requests(dir).iter().any(wanted) {
                return;
            }
            assert!(Instant::now() < patience, "nothing said {when} is recorded");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Gives everything the same answer.
pub fn serve(mut stream: TcpStream) {
    let mut read = |tagged: bool| {
        let mut head = [0; 5];
        stream
            .read_exact(&mut head[usize::from(!tagged)..])
            .unwrap();
        let length = u32::from_be_bytes(*head.last_chunk().unwrap());
        stream
            .read_exact(&mut vec![0; length as usize - 4])
            .unwrap();
        let said = if tagged { answer() } else { welcome() };
        let over = head[0] == b'X';
        if !over {
            stream.write_all(&said).unwrap();
        }
        !over
    };
    read(false);
    while read(true) {}
}

fn statement(number: u64, when: &str) -> Vec<u8> {
    format!("SELECT {number} /* {when} */\0").into_bytes()
}

pub fn welcome() -> Vec<u8> {
    [message(b'R', &[0; 4]), message(b'Z', b"I")].concat()
}

fn answer() -> Vec<u8> {
    let column = b"\0\x01text\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let length = (ANSWER as u32).to_be_bytes();
    let row = [&[0, 1][..], &length, &[b'x'; ANSWER]].concat();
    let messages = [
        (b'T', &column[..]),
        (b'D', &row),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
    ];
    messages.map(|(tag, body)| message(tag, body)).concat()
}

/// What was asked, as recorded so far.
fn requests(dir: &Path) -> Vec<Vec<u8>> {
    let rows = Recording::open(dir).unwrap().rows().unwrap();
    let requests = rows
        .map(Result::unwrap)
        .filter(|row| row.kind == Kind::Request);
    requests
        .map(|row| row.request.bytes[5..].to_vec())
        .collect()
}

fn account(dir: &Path, name: &str) -> Account {
    let recording = Recording::open(dir).unwrap();
    let ledger = &recording.manifest().ledger;
    assert!(ledger.balanced(), "{ledger:#?}");
    ledger.account(name).cloned().unwrap_or_default()
}

#[test]
fn what_is_missed_while_stopped_is_told_to_the_byte() {
    let parent = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("postgres:{}", listener.local_addr().unwrap().port());
    let witness = parent.path().join("witness.rec");
    let dir = parent.path().join("stopped.rec");
    // It is never stopped, and so knows how many packets there are.
    let Some(witnessing) = Capture::start(&port, &witness) else {
        return;
    };
    let Some(capture) = Capture::start_with(&port, &dir, &["--buffer-size", "1MiB"]) else {
        return;
    };
    let signal = |name: &str| {
        run(
            Command::new("kill").args([name, &capture.id().to_string()]),
            0,
        )
    };

    let mut client = Client::start(listener);
    client.ask_until_recorded("before", &dir);
    let begin = client.requests;
    signal("-STOP");
    let since = Instant::now();
    while client.requests < begin + MEANWHILE || since.elapsed() < STOPPED {
        client.ask("meanwhile");
        thread::sleep(Duration::from_millis(2));
    }
    let end = client.requests;
    signal("-CONT");
    client.ask_until_recorded("after", &dir);
    let patience = Instant::now() + Duration::from_secs(30);
    while !account(&dir, "packets").lost.contains_key("kernel drop") {
        assert!(Instant::now() < patience, "the loss is not told live");
        thread::sleep(Duration::from_millis(50));
    }
    client.say(&message(b'X', b""), b"");
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    // Now, since the kernel would acknowledge the server's end a moment later.
    client.stream.shutdown(Shutdown::Both).unwrap();
    let told = capture.stop();
    let dropped = "lost so far: kernel drop; enlarge --buffer-size";
    assert_eq!(told.matches(dropped).count(), 1, "{told}");
    witnessing.stop();

    let packets = account(&dir, "packets");
    assert_eq!(packets.seen, account(&witness, "packets").seen);
    assert!(packets.lost["kernel drop"] > 0, "{packets:?}");
    let stream = account(&dir, "stream");
    assert_eq!(stream.seen, client.bytes, "{stream:?}");
    assert!(stream.lost["not captured"] > 0, "{stream:?}");

    // Those in the hole are known as bytes only; the others are whole and what was asked.
    let (kept, told) = (requests(&dir), account(&dir, "requests"));
    assert!(
        (told.kept..=told.seen).contains(&(kept.len() as u64)),
        "{told:?}"
    );
    assert!(told.seen < client.requests, "{told:?}");
    let mut asked = (0..client.requests).map(|number| {
        let when = match number {
            number if number < begin => "before",
            number if number < end => "meanwhile",
            _ => "after",
        };
        statement(number, when)
    });
    for request in &kept {
        assert!(asked.any(|it| it == *request), "{}", request.escape_ascii());
    }

    let told = run(rehearsal().arg("inspect").arg(&dir), 0);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("kernel drop: enlarge --buffer-size"),
        "{told}"
    );
}
