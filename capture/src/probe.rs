//! Asks the server, over a connection of its own, what capture can't see of connections that were
//! open before: whose they are, and what they execute by the name of a statement.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use protocol::{DriverError, Inquiry, Known, Login, Protocol, Told};

use crate::clock;

/// How often it asks while somebody lacks something, and how often it tries again after a failure.
const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE_FAILED: u32 = 10;
/// How long to connect, and to wait for bytes.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A server to ask.
#[derive(Clone, Debug)]
pub struct Probe {
    pub protocol: &'static dyn Protocol,
    pub host: String,
    pub port: u16,
    pub login: Login,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("failed to ask the server: {0}")]
    Io(#[from] io::Error),
    #[error("failed to ask the server: {0}")]
    Driver(#[from] DriverError),
    #[error("the server refused to be asked: {0}")]
    Refused(String),
    #[error("a server that speaks {0} can't be asked")]
    Nothing(&'static str),
}

/// What a server told at one time.
#[derive(Debug)]
pub struct Findings {
    /// From 1 up.
    pub number: u64,
    server: SocketAddr,
    known: HashMap<SocketAddr, Known>,
}

impl Findings {
    /// What is known of a connection of the server's.
    pub fn of(&self, client: SocketAddr) -> Option<&Known> {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        self.known.get(&client)
    }

    /// Was it this server that was asked? Another one's client may have the same end.
    pub fn are_of(&self, server: SocketAddr) -> bool {
        let (asked, seen) = (self.server.ip().to_canonical(), server.ip().to_canonical());
        self.server.port() == server.port() && (asked == seen || (is_here(asked) && is_here(seen)))
    }
}

fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Where the probe and the workers meet. No lock is taken while there is nothing new.
#[derive(Debug, Default)]
pub struct Board {
    number: AtomicU64,
    findings: Mutex<Option<Arc<Findings>>>,
    /// Statements that sessions lack, of all workers.
    lacking: AtomicU64,
}

impl Board {
    /// What is newer than the findings of that number.
    pub fn news(&self, number: u64) -> Option<Arc<Findings>> {
        if self.number.load(Ordering::Acquire) == number {
            return None;
        }
        let findings = self.findings.lock();
        findings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pin(&self, server: SocketAddr, known: HashMap<SocketAddr, Known>) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.number.load(Ordering::Relaxed) + 1;
        *findings = Some(Arc::new(Findings {
            number,
            server,
            known,
        }));
        self.number.store(number, Ordering::Release);
    }

    /// A worker's sum has changed.
    pub fn lacks(&self, before: u64, now: u64) {
        if before != now {
            let change = now.wrapping_sub(before);
            self.lacking.fetch_add(change, Ordering::Relaxed);
        }
    }
}

/// A probe at work.
#[derive(Debug)]
pub struct Probing {
    probe: Probe,
    connection: Option<Connection>,
    board: Arc<Board>,
    hidden: u64,
    failed: Option<ProbeError>,
}

impl Probing {
    /// Asks for the first time.
    pub fn start(probe: Probe) -> Result<Probing, ProbeError> {
        let mut probing = Probing {
            probe,
            connection: None,
            board: Arc::default(),
            hidden: 0,
            failed: None,
        };
        probing.ask()?;
        Ok(probing)
    }

    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    fn ask(&mut self) -> Result<(), ProbeError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.probe)?,
        };
        let (known, hidden) = connection.ask()?;
        self.hidden = self.hidden.max(hidden);
        self.board.pin(connection.server, known);
        self.connection = Some(connection);
        Ok(())
    }

    /// Asks again and again while somebody lacks something, until `over` is closed. Gives what a
    /// person should be told.
    pub fn run(mut self, over: &Receiver<()>) -> Vec<String> {
        let mut patience = 0;
        while over.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if patience > 0 {
                patience -= 1;
            } else if self.board.lacking.load(Ordering::Relaxed) > 0
                && let Err(error) = self.ask()
            {
                patience = PATIENCE_FAILED;
                self.failed = Some(error);
            }
        }
        if let Some(connection) = &mut self.connection {
            connection.leave();
        }
        self.warnings()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.hidden > 0 {
            warnings.push(format!(
                "the server told nothing of {} connections to the probe's user: grant it pg_read_all_stats",
                self.hidden
            ));
        }
        if let Some(error) = &self.failed {
            warnings.push(format!("the probe could not ask all the time: {error}"));
        }
        warnings
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    server: SocketAddr,
    inquiry: Box<dyn Inquiry>,
}

impl Connection {
    fn open(probe: &Probe) -> Result<Connection, ProbeError> {
        let inquiry = probe.protocol.inquiry(probe.login.clone());
        let mut inquiry = inquiry.ok_or(ProbeError::Nothing(probe.protocol.name()))?;
        let stream = connect(&probe.host, probe.port)?;
        let server = stream.peer_addr()?;
        // A connection of this machine with itself: there is one clock.
        let same_clock = stream.local_addr()?.ip() == server.ip();
        let mut out = Vec::new();
        inquiry.open(same_clock, &mut out)?;
        let mut connection = Connection {
            stream,
            server,
            inquiry,
        };
        connection.converse(out)?;
        Ok(connection)
    }

    fn ask(&mut self) -> Result<(HashMap<SocketAddr, Known>, u64), ProbeError> {
        let mut out = Vec::new();
        self.inquiry.ask(clock::wall(), &mut out)?;
        match self.converse(out)? {
            Told::Connections { known, hidden } => Ok((known, hidden)),
            Told::Ready | Told::Refused(_) => Ok((HashMap::new(), 0)),
        }
    }

    fn converse(&mut self, mut out: Vec<u8>) -> Result<Told, ProbeError> {
        let mut buffer = [0; 16 << 10];
        loop {
            self.stream.write_all(&out)?;
            out.clear();
            let read = self.stream.read(&mut buffer)?;
            let received = buffer.get(..read).unwrap_or_default();
            if received.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            match self.inquiry.receive(received, clock::wall(), &mut out)? {
                Some(Told::Refused(why)) => return Err(ProbeError::Refused(why)),
                Some(told) => return Ok(told),
                None => {}
            }
        }
    }

    fn leave(&mut self) {
        let mut out = Vec::new();
        self.inquiry.goodbye(&mut out);
        // Nobody waits for what the server makes of it.
        let _ = self.stream.write_all(&out);
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_of_one_server() {
        let board = Board::default();
        assert!(board.news(0).is_none());
        let client: SocketAddr = "10.0.0.5:4711".parse().unwrap();
        let server: SocketAddr = "192.0.2.1:5432".parse().unwrap();
        board.pin(server, HashMap::from([(client, Known::default())]));
        let findings = board.news(0).unwrap();
        assert!(board.news(findings.number).is_none());
        let mapped = "[::ffff:10.0.0.5]:4711".parse().unwrap();
        assert!(findings.of(mapped).is_some() && findings.are_of(server));
        for other in ["192.0.2.2:5432", "192.0.2.1:5433"] {
            assert!(!findings.are_of(other.parse().unwrap()));
        }
    }

    #[test]
    fn workers_sum_up_what_they_lack() {
        let board = Board::default();
        for (before, now, sum) in [(0, 3, 3), (0, 2, 5), (3, 1, 3), (2, 0, 1)] {
            board.lacks(before, now);
            assert_eq!(board.lacking.load(Ordering::Relaxed), sum);
        }
    }
}
