//! From a recorded opening to a session that stands.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::{Driver, DriverError, DriverEvent};
use recording::{Exchange, Response, Status};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::reason;
use crate::stream::Stream;
use crate::tls::{self, TlsMode};
use crate::worker::Worker;

const READ_BUFFER: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) response: Response,
}

/// Why a session could not be opened.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
    pub(crate) response: Option<Response>,
    pub(crate) complaint: String,
    tls_refused: bool,
}

impl Failure {
    fn new(reason: &'static str, complaint: String) -> Failure {
        Failure {
            status: Status::Unanswered,
            reason,
            response: None,
            complaint,
            tls_refused: false,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::new(reason::SESSION_LOST, format!("login failed: {error}"))
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Failure {
        let reason = match error {
            DriverError::Unsupported(_) => reason::UNSUPPORTED,
            DriverError::TlsRefused => reason::TLS_FAILED,
            DriverError::Authentication(_) | DriverError::NoPassword { .. } => {
                reason::LOGIN_REFUSED
            }
            DriverError::Violation { .. } | DriverError::Ended(_) => reason::SESSION_LOST,
        };
        Failure {
            tls_refused: error == DriverError::TlsRefused,
            ..Failure::new(reason, format!("login failed: {error}"))
        }
    }
}

/// Connects and logs in, without TLS where that is only preferred and the target refuses it.
pub(crate) async fn connect(worker: &Worker, opening: &Exchange) -> Result<Connection, Failure> {
    let shared = &worker.shared;
    let tls = shared.tls.is_some() && !shared.without_tls.load(Ordering::Relaxed);
    match attempt(worker, opening, tls).await {
        Err(failure) if failure.tls_refused && shared.target.tls == TlsMode::Prefer => {
            shared.without_tls.store(true, Ordering::Relaxed);
            attempt(worker, opening, false).await
        }
        other => other,
    }
}

async fn attempt(worker: &Worker, opening: &Exchange, tls: bool) -> Result<Connection, Failure> {
    let shared = &worker.shared;
    let login = shared.target.login_for(opening.info.as_deref(), tls);
    let mut driver = shared.target.protocol.driver(login, shared.limits);
    let (stream, response) = open(worker, opening, driver.as_mut()).await?;
    Ok(Connection {
        stream,
        driver,
        response,
    })
}

/// A connection for the driver's session: its first, or another one.
pub(crate) async fn open(
    worker: &Worker,
    opening: &Exchange,
    driver: &mut dyn Driver,
) -> Result<(Stream, Response), Failure> {
    let mut out = Vec::new();
    let mut events = Vec::new();
    if let Err(error) = driver.open(opening, &mut out, &mut events) {
        return Err(Failure {
            status: Status::Skipped,
            ..error.into()
        });
    }
    let mut stream = Stream::Plain(tcp(worker).await?);
    let mut bytes = vec![0; READ_BUFFER];
    loop {
        while !events.is_empty() {
            match events.remove(0) {
                DriverEvent::StartTls => {
                    stream = start_tls(worker, stream).await?;
                    driver.tls_ready(&mut out, &mut events)?;
                }
                DriverEvent::Opened(mut response) => {
                    stream.write_all(&out).await?;
                    if response.wire_len == 0 {
                        response.first_byte_at = worker.now();
                        response.last_byte_at = response.first_byte_at;
                    }
                    return Ok((stream, response));
                }
                DriverEvent::Refused {
                    code,
                    message,
                    response,
                } => {
                    let complaint = format!("login refused: {message} ({code})");
                    return Err(Failure {
                        status: Status::Error,
                        response: Some(response),
                        ..Failure::new(reason::LOGIN_REFUSED, complaint)
                    });
                }
                DriverEvent::Learnt
                | DriverEvent::Answered(_)
                | DriverEvent::Unanswered(_)
                | DriverEvent::Reconnect { .. } => {
                    let complaint = "login failed: an answer came before it".to_owned();
                    return Err(Failure::new(reason::SESSION_LOST, complaint));
                }
            }
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        let read = stream.read(&mut bytes).await?;
        let received = bytes.get(..read).unwrap_or_default();
        if received.is_empty() {
            let complaint = "login failed: the target closed the connection".to_owned();
            return Err(Failure::new(reason::SESSION_LOST, complaint));
        }
        driver.receive(received, worker.now(), &mut out, &mut events)?;
    }
}

pub(crate) async fn tcp(worker: &Worker) -> Result<TcpStream, Failure> {
    let addresses = worker.shared.addresses.as_slice();
    let connected = TcpStream::connect(addresses).await;
    let ready = connected.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp));
    ready.map_err(|error| {
        Failure::new(
            reason::CONNECT_FAILED,
            format!("connection failed: {error}"),
        )
    })
}

async fn start_tls(worker: &Worker, stream: Stream) -> Result<Stream, Failure> {
    let failed = |why: String| Failure::new(reason::TLS_FAILED, format!("TLS failed: {why}"));
    let (Some(config), Stream::Plain(tcp)) = (&worker.shared.tls, stream) else {
        return Err(failed("it was not asked for".to_owned()));
    };
    let name = ServerName::try_from(worker.shared.target.host.clone())
        .map_err(|error| failed(error.to_string()))?;
    let connector = TlsConnector::from(Arc::clone(config));
    let tls = connector.connect(name, tcp).await;
    tls.map(|tls| Stream::Tls(Box::new(tls)))
        .map_err(|error| failed(tls::complaint(&error)))
}
