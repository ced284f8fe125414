//! A protocol of lines, and its server. A line is a request; its answer is a line of a status and a
//! transaction: `ok idle`.
//!
//! `begin`, `commit` and `fail` do to the transaction what their names say; `stall` is answered
//! only when cancelled, and the server has heard `cancelled` when it closes the connection that cancels;
//! `hang up` closes the connection, `ask back` is answered by a question; anything else is `ok`.
//!
//! A session of the user `free` goes on over another connection when it lost its own; so does one of `safe`, and
//! says again there what was not answered, where the first had served. `stale` closes one that had.
//!
//! `make a` makes up a value, here `a` and the number of the connection, and `use a` sends it back.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use protocol::{
    Again, Answer, Decoder, Difference, Driver, DriverError, DriverEvent, Limits, Login, Opening,
    Probe, Protocol, Recorded, Shown, Terms,
};
use recording::{Batch, Exchange, Kind, Response, SessionInfo, Timestamp, Transaction};

use crate::engine::{self, Report, Sink};
use crate::error::ReplayError;
use crate::{Options, Pace, Progress, Target};

#[derive(Debug)]
pub(crate) struct Lines;

pub(crate) static LINES: Lines = Lines;

impl Protocol for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn default_port(&self) -> u16 {
        7
    }

    fn url_schemes(&self) -> &'static [&'static str] {
        &["lines", "line"]
    }

    fn probe(&self, _: &[u8]) -> Probe {
        Probe::No
    }

    fn decoder(&self, _: Opening, _: Limits) -> Box<dyn Decoder> {
        unreachable!("a replay decodes nothing")
    }

    fn driver(&self, login: Login, _: Limits) -> Box<dyn Driver> {
        Box::new(LineDriver {
            login,
            ..LineDriver::default()
        })
    }

    fn shares_connections(&self) -> bool {
        true
    }

    fn withheld(&self, row: &Exchange, _: &[(Arc<str>, Arc<str>)]) -> Option<&'static str> {
        let unwanted = row.request.bytes.starts_with(b"unwanted");
        unwanted.then_some("filtered")
    }

    fn made_up(&self, row: &Exchange) -> Vec<Recorded> {
        value(row, b"make ").into_iter().collect()
    }

    fn sent_back(&self, row: &Exchange, _: &[(Arc<str>, Arc<str>)]) -> Vec<Recorded> {
        value(row, b"use ").into_iter().collect()
    }

    fn password_from_file(&self, text: &str, _: &str, _: u16, login: &Login) -> Option<String> {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, password) = lines.find(|(user, _)| Some(*user) == login.user.as_deref())?;
        Some(password.to_owned())
    }

    fn password_sources(&self) -> Option<(&'static str, &'static str, &'static str)> {
        Some(("LINESPASSWORD", "LINESPASSFILE", ".linespass"))
    }

    fn compare(&self, _: &Exchange, _: &Exchange, _: &Terms) -> Vec<Difference> {
        Vec::new()
    }

    fn show_request(&self, _: &Exchange) -> Shown {
        Shown::default()
    }

    fn show_response(&self, _: &Exchange, _: usize) -> Answer {
        Answer::default()
    }
}

fn value(row: &Exchange, verb: &[u8]) -> Option<Recorded> {
    let value = row.request.bytes.strip_prefix(verb)?;
    Some((Box::from(*b"value"), value.into()))
}

#[derive(Debug, Default)]
struct LineDriver {
    login: Login,
    backend: Option<String>,
    received: Vec<u8>,
    said: u64,
    passed_over: u64,
    makes: VecDeque<Option<Recorded>>,
    held: Vec<u8>,
}

impl Driver for LineDriver {
    fn open(
        &mut self,
        opening: &Exchange,
        out: &mut Vec<u8>,
        _: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        let user = self.login.user.as_deref().map(str::as_bytes);
        out.extend(b"hello ");
        out.extend(user.unwrap_or(&opening.request.bytes));
        out.push(b'\n');
        Ok(())
    }

    fn tls_ready(&mut self, _: &mut Vec<u8>, _: &mut Vec<DriverEvent>) -> Result<(), DriverError> {
        Ok(())
    }

    fn send(&mut self, request: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError> {
        let used = value(request, b"use ");
        match used.and_then(|(name, value)| self.login.learnt.target(&name, &value)) {
            Some(made) => out.extend([b"use ", &*made].concat()),
            None => out.extend(&request.request.bytes),
        }
        self.makes.push_back(value(request, b"make "));
        if request.request.bytes.starts_with(b"unspeakable") {
            return Err(DriverError::Unsupported("an unspeakable request"));
        }
        out.push(b'\n');
        self.said += 1;
        if let Some(rest) = request.request.bytes.strip_prefix(b"hold ") {
            out.truncate(out.len() - rest.len() - 2);
            out.push(b'\n');
            self.held = [rest, b"\n"].concat();
        }
        Ok(())
    }

    fn roll_back(&mut self, _: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError> {
        out.extend(b"commit nothing\n");
        Ok(())
    }

    fn pass_over(&mut self, _: &Exchange) {
        self.passed_over += 1;
    }

    fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn insist(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("lines passed over", self.passed_over),
            ("lines said", self.said),
            ("lines sung", 0),
        ]
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        _: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        self.received.extend(bytes);
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let (status, rest) = line.trim_end().split_once(' ').unwrap_or_default();
            let response = Response {
                error_code: (!["ok", "made", "parting"].contains(&status))
                    .then(|| Arc::from(status)),
                wire_len: line.len() as u64,
                first_byte_at: at,
                last_byte_at: at,
                body: line.as_bytes().to_vec(),
                transaction: *Transaction::ALL
                    .iter()
                    .find(|transaction| transaction.name() == rest)
                    .unwrap_or(&Transaction::Unknown),
                ..Response::default()
            };
            events.push(match status {
                "welcome" => {
                    self.backend = Some(rest.to_owned());
                    DriverEvent::Opened(response)
                }
                "refused" => DriverEvent::Refused {
                    code: "refused".into(),
                    message: "go away".to_owned(),
                    response,
                },
                "garbage" => {
                    return Err(DriverError::Violation {
                        what: "garbage".to_owned(),
                        offset: 0,
                    });
                }
                "what" => DriverEvent::Unanswered("the target asks back"),
                _ => {
                    if let Some((name, made)) = self.makes.pop_front().flatten()
                        && status == "made"
                    {
                        self.login.learnt.teach(&name, &made, rest.as_bytes());
                    }
                    DriverEvent::Answered(response)
                }
            });
            if ["parting", "what"].contains(&status) {
                events.push(DriverEvent::Reconnect {
                    again: Again::Always,
                });
                self.received.clear();
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        _: bool,
        _: Timestamp,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        let again = match self.login.user.as_deref() {
            Some("free") => Some(Again::Never),
            Some("safe") => Some(Again::IfServed),
            _ => None,
        };
        if let Some(again) = again {
            self.received.clear();
            self.makes.clear();
            self.held.clear();
            events.push(DriverEvent::Reconnect { again });
        }
        Ok(())
    }

    fn rests(&self) -> bool {
        self.received.is_empty()
    }

    fn goodbye(&mut self, out: &mut Vec<u8>) {
        out.extend(b"bye\n");
    }

    fn cancel(&self) -> Option<Vec<u8>> {
        Some(format!("cancel {}\n", self.backend.as_deref()?).into_bytes())
    }
}

/// What the server was told, in its order, with the number of the connection.
pub(crate) type Heard = Arc<Mutex<Vec<(usize, String)>>>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) heard: Heard,
}

type Connections = Arc<Mutex<HashMap<usize, TcpStream>>>;

impl Server {
    /// Its threads end with their connections; the listener's with the process.
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let server = Server {
            address,
            heard: Arc::clone(&heard),
        };
        let connections = Connections::default();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let (heard, connections) = (Arc::clone(&heard), Arc::clone(&connections));
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(number, stream, &heard, &connections));
            }
        });
        server
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().map(|(_, line)| line.clone()).collect()
    }

    /// The lines of each connection.
    pub(crate) fn conversations(&self) -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = Vec::new();
        for (number, line) in self.heard.lock().unwrap().iter() {
            all.resize(all.len().max(number + 1), Vec::new());
            all[*number].push(line.clone());
        }
        all
    }
}

/// Was the connection heard to ask for what is not answered until it is cancelled?
fn stalls(heard: &Heard, connection: &str) -> bool {
    let heard = heard.lock().unwrap();
    let stalled = heard
        .iter()
        .filter(|(number, line)| line == "stall" && number.to_string() == connection);
    let cancelled = heard
        .iter()
        .filter(|(_, line)| line.strip_prefix("cancel ") == Some(connection));
    stalled.count() > cancelled.count()
}

fn serve(number: usize, mut stream: TcpStream, heard: &Heard, connections: &Connections) {
    let own = stream.try_clone().unwrap();
    connections.lock().unwrap().insert(number, own);
    let mut transaction = "idle";
    for (nth, line) in BufReader::new(stream.try_clone().unwrap())
        .lines()
        .enumerate()
    {
        let Ok(line) = line else { break };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        // What it is meant for was sent before, over another connection: that one may be read later.
        while word == "cancel" && !stalls(heard, rest) {
            thread::yield_now();
        }
        heard.lock().unwrap().push((number, line.clone()));
        let answer = match (word, transaction) {
            ("hello", _) if rest == "nobody" => "refused x\n".to_owned(),
            ("hello", _) => format!("welcome {number}\n"),
            ("stall" | "hold", _) => continue,
            ("hang", _) | ("bye", _) => break,
            ("stale", _) if nth > 1 => break,
            ("part", _) => {
                let _ = stream.write_all(b"parting idle\n");
                break;
            }
            ("ask", _) => "what else\n".to_owned(),
            ("garbage", _) => "garbage x\n".to_owned(),
            ("cancel", _) => {
                let stalled: usize = rest.parse().unwrap();
                let answer = b"cancelled idle\n";
                let _ = (&connections.lock().unwrap()[&stalled]).write_all(answer);
                // Time in which nothing may come of who was cancelled.
                (0..100).for_each(|_| thread::yield_now());
                heard.lock().unwrap().push((number, "cancelled".to_owned()));
                break;
            }
            ("make", _) if rest != "nothing" => format!("made {rest}{number}\n"),
            ("begin", _) => {
                transaction = "open";
                "ok open\n".to_owned()
            }
            ("commit", _) => {
                transaction = "idle";
                "ok idle\n".to_owned()
            }
            ("fail", "open") => {
                transaction = "failed";
                "error failed\n".to_owned()
            }
            ("fail", _) => "error idle\n".to_owned(),
            (_, "failed") => "aborted failed\n".to_owned(),
            _ => format!("ok {transaction}\n"),
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
        if word == "deaf" {
            // It reads nothing more.
            return;
        }
    }
    connections.lock().unwrap().remove(&number);
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// Makes recordings by hand: a row a millisecond.
#[derive(Clone, Default)]
pub(crate) struct Tape {
    pub(crate) rows: Vec<Exchange>,
    seqs: HashMap<u64, u32>,
}

impl Tape {
    pub(crate) fn push(&mut self, session: u64, kind: Kind) -> &mut Exchange {
        let seq = self.seqs.entry(session).or_insert(0);
        let at = Timestamp(1_000_000_000 + self.rows.len() as i64 * 1_000_000);
        self.rows.push(Exchange {
            session,
            seq: *seq,
            ..Exchange::new(kind, at)
        });
        *seq += 1;
        self.rows.last_mut().unwrap()
    }

    /// The server's number for the session is its own and 100.
    pub(crate) fn open(&mut self, session: u64) -> &mut Exchange {
        let row = self.push(session, Kind::Open);
        row.request.bytes = format!("user{session}").into_bytes();
        row.info = Some(Box::new(info(100 + session)));
        row
    }

    pub(crate) fn request(
        &mut self,
        session: u64,
        line: &str,
        after: Transaction,
    ) -> &mut Exchange {
        let row = self.push(session, Kind::Request);
        row.request.bytes = line.as_bytes().to_vec();
        row.response = Some(Response {
            first_byte_at: row.started_at,
            last_byte_at: row.started_at,
            transaction: after,
            ..Response::default()
        });
        row
    }

    pub(crate) fn say(&mut self, session: u64, line: &str) -> &mut Exchange {
        self.request(session, line, Transaction::Idle)
    }

    pub(crate) fn close(&mut self, session: u64) -> &mut Exchange {
        let row = self.push(session, Kind::Close);
        row.reason = Some("fin".into());
        row
    }

    /// A connection of its own that cancels what `cancelled` does.
    pub(crate) fn cancel(&mut self, session: u64, cancelled: u64) {
        self.push(session, Kind::Open).info = Some(Box::new(info(100 + cancelled)));
        self.push(session, Kind::Cancel);
        self.close(session);
    }
}

fn info(backend: u64) -> SessionInfo {
    SessionInfo {
        protocol: "lines".into(),
        client: "127.0.0.1:1".parse().unwrap(),
        server: "127.0.0.1:7".parse().unwrap(),
        user: None,
        database: None,
        application: None,
        backend: Some(backend),
    }
}

#[derive(Default)]
pub(crate) struct Shelf(pub(crate) Vec<Exchange>);

impl Sink for Shelf {
    type Error = ReplayError;

    fn write(&mut self, outcomes: Batch) -> Result<(), ReplayError> {
        self.0.extend(outcomes.into_rows().unwrap());
        Ok(())
    }

    fn tick(&mut self, _: Instant) -> Result<(), ReplayError> {
        Ok(())
    }
}

pub(crate) struct Played {
    pub(crate) report: Report,
    /// In the order of the recording.
    pub(crate) rows: Vec<Exchange>,
    pub(crate) progress: Arc<Progress>,
}

impl Played {
    /// `status` or `status: reason` of each row.
    pub(crate) fn story(&self) -> Vec<String> {
        let told = self.rows.iter().map(|row| match &row.reason {
            Some(reason) => format!("{}: {reason}", row.status.name()),
            None => row.status.name().to_owned(),
        });
        told.collect()
    }
}

pub(crate) fn options(address: SocketAddr) -> Options {
    options_of("", address)
}

/// For sessions that go on when they lose their connection.
pub(crate) fn free(address: SocketAddr) -> Options {
    options_of("free@", address)
}

/// For those that then say again what was not answered.
pub(crate) fn safe(address: SocketAddr) -> Options {
    options_of("safe@", address)
}

fn options_of(user: &str, address: SocketAddr) -> Options {
    let url = format!("lines://{user}{address}?sslmode=disable");
    let target = Target::parse(&url, &[&LINES]).unwrap();
    Options {
        pace: Pace::Asap,
        workers: Some(2),
        request_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(300),
        ..Options::new(target)
    }
}

pub(crate) fn play(tape: Tape, options: &Options) -> Played {
    play_until(tape.rows.into_iter(), options, &Arc::default())
}

pub(crate) fn play_until(
    rows: impl Iterator<Item = Exchange> + Send,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Played {
    let mut shelf = Shelf::default();
    let progress = Arc::default();
    let rows = rows.map(Ok::<_, ReplayError>);
    let report = engine::replay(rows, options, &mut shelf, &progress, stop).unwrap();
    let mut rows = shelf.0;
    rows.sort_by_key(Exchange::order);
    Played {
        report,
        rows,
        progress,
    }
}
