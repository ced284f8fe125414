//! Says a recorded session to a target:
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

mod names;
mod outbox;
mod sent;
mod startup;
mod types;

use std::sync::Arc;

use recording::{Exchange, Notes, Timestamp};

use self::names::{Missing, Names};
use self::outbox::Outbox;
use self::sent::Sent;
use self::startup::startup_packet;
use super::REPLICATION;
use super::auth::{SCRAM_SHA_256, Scram, ScramError, md5_response};
use super::messages::backend::{Authentication, Message};
use super::messages::{CANCEL, Encode, Fields, Frame, Framer, SSL};
use super::response::{Assembler, Shapes};
use crate::reader::ReadError;
use crate::{Driver, DriverError, DriverEvent, Limits, Login};

pub(super) const PASSWORD_VARIABLE: &str = "PGPASSWORD";
pub(super) const PASSWORD_FILE: &str = ".pgpass";

/// For the run's notes.
const INFERRED: &str =
    "types of parameters left to the target, which has other OIDs for those of users";

const MADE_UP: &str =
    "requests before which statements were prepared or closed, for what did so was not sent";

/// A longer message is passed on in parts. Only rows may be that long.
const MAX_MESSAGE: usize = 256 << 10;

/// ```text
///  New -open-> Encrypting -'S'-> Handshake -tls_ready-> LoggingIn -ReadyForQuery-> Ready
///     \                                                 ^    \                      |
///      `------------- open, without TLS ---------------´      `--- error --> Over <-´ fatal error
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Encrypting,
    Handshake,
    LoggingIn,
    Ready,
    Over,
}

#[derive(Debug)]
pub(super) struct PostgresDriver {
    framer: Framer,
    /// When the first byte of the message that is begun came.
    began: Option<Timestamp>,
    /// Bytes received.
    offset: u64,
    session: Session,
}

#[derive(Debug)]
struct Session {
    state: State,
    login: Login,
    user: String,
    startup: Vec<u8>,
    scram: Option<Scram>,
    scram_verified: bool,
    key: Option<Key>,
    outbox: Outbox,
    names: Names,
    /// Types of parameters that the target was left to infer.
    inferred: u64,
    /// Requests before which what had been passed over was made up for.
    made_up: u64,
    sent: Sent,
    /// Of the login.
    assembler: Assembler,
    shapes: Shapes,
}

/// What allows to cancel.
struct Key {
    process: u32,
    secret: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl PostgresDriver {
    pub(super) fn new(login: Login, limits: Limits) -> PostgresDriver {
        PostgresDriver {
            framer: Framer::new(MAX_MESSAGE),
            began: None,
            offset: 0,
            session: Session {
                state: State::New,
                login,
                user: String::new(),
                startup: Vec::new(),
                scram: None,
                scram_verified: false,
                key: None,
                outbox: Outbox::default(),
                names: Names::default(),
                inferred: 0,
                made_up: 0,
                sent: Sent::new(limits.body),
                assembler: Assembler::new(limits.body),
                shapes: Shapes::default(),
            },
        }
    }

    /// The server's one byte to an SSLRequest.
    fn encryption(
        &mut self,
        bytes: &[u8],
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        match bytes {
            [] => Ok(()),
            [b'S'] => {
                self.session.state = State::Handshake;
                self.offset += 1;
                events.push(DriverEvent::StartTls);
                Ok(())
            }
            // More would be taken for what came encrypted.
            [b'S', ..] => Err(DriverError::Violation {
                what: "clear text after its consent to TLS".to_owned(),
                offset: 1,
            }),
            _ => Err(DriverError::TlsRefused),
        }
    }
}

impl Driver for PostgresDriver {
    fn open(
        &mut self,
        opening: &Exchange,
        out: &mut Vec<u8>,
        _events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        let session = &mut self.session;
        let packet = startup_packet(opening, &session.login)?;
        session.user = packet.user;
        if session.login.tls {
            session.startup = packet.bytes;
            session.state = State::Encrypting;
            out.packet(SSL, |_| {});
        } else {
            session.state = State::LoggingIn;
            out.extend(packet.bytes);
        }
        Ok(())
    }

    fn tls_ready(
        &mut self,
        out: &mut Vec<u8>,
        _events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        self.session.state = State::LoggingIn;
        out.append(&mut self.session.startup);
        Ok(())
    }

    fn send(&mut self, request: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError> {
        if self.session.state != State::Ready {
            return Err(DriverError::Unsupported("session not open"));
        }
        for (note, reason) in [
            (Notes::REQUEST_CUT, "request over the cap"),
            (Notes::REQUEST_GAP, "request with a gap"),
            (Notes::SECRET_BLANKED, "request with a secret"),
        ] {
            if request.notes.contains(note) {
                return Err(DriverError::Unsupported(reason));
            }
        }
        if *request.request.command == *REPLICATION {
            return Err(DriverError::Unsupported(REPLICATION));
        }
        let session = &mut self.session;
        let bytes = &request.request.bytes;
        let prepare = session.names.make_up(bytes).map_err(|Missing| {
            DriverError::Unsupported("statement whose preparation was not sent")
        })?;
        if request.notes.contains(Notes::UNKNOWN_STATEMENT) && session.names.lack(bytes) {
            return Err(DriverError::Unsupported(
                "statement prepared before the capture",
            ));
        }
        let (sent, inferred) = types::inferred(bytes);
        if !prepare.is_empty() {
            Outbox::check(&sent)?;
            let (said, inferred) = types::inferred(&prepare);
            session.outbox.push(&said, out)?;
            session.sent.push(&said, true);
            session.names.making_up(&prepare);
            session.inferred += inferred;
            session.made_up += 1;
        }
        session.outbox.push(&sent, out)?;
        session.sent.push(&sent, false);
        session.inferred += inferred;
        session.names.follow(bytes);
        Ok(())
    }

    fn roll_back(&mut self, request: &Exchange, out: &mut Vec<u8>) -> Result<(), DriverError> {
        if self.session.state != State::Ready {
            return Err(DriverError::Unsupported("session not open"));
        }
        self.pass_over(request);
        let mut query = Vec::new();
        query.message(b'Q', |body| body.string(b"ROLLBACK"));
        self.session.outbox.push(&query, out)?;
        self.session.sent.push(&query, false);
        Ok(())
    }

    fn pass_over(&mut self, request: &Exchange) {
        let blanked = request.notes.contains(Notes::SECRET_BLANKED);
        (self.session.names).pass_over(&request.request.bytes, blanked);
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), DriverError> {
        if self.session.state == State::Encrypting {
            return self.encryption(bytes, events);
        }
        let mut input = bytes;
        let mut began = self.began.take().unwrap_or(at);
        loop {
            let offset = self.offset + (bytes.len() - input.len()) as u64;
            let frame = self.framer.next(&mut input);
            let violation = |what| DriverError::Violation { what, offset };
            let Some(frame) = frame.map_err(|error| {
                let tag = char::from(error.tag);
                violation(format!("a message {tag:?} of length {}", error.len))
            })?
            else {
                break;
            };
            self.session
                .frame(&frame, began, at, out, events)
                .map_err(|fault| match fault {
                    Fault::Driver(error) => error,
                    Fault::Violation(what) => violation(what),
                })?;
            began = at;
        }
        self.began = self.framer.partial().map(|_| began);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn goodbye(&mut self, out: &mut Vec<u8>) {
        if matches!(self.session.state, State::LoggingIn | State::Ready) {
            out.message(b'X', |_| {});
        }
        self.session.state = State::Over;
    }

    fn cancel(&self) -> Option<Vec<u8>> {
        let key = self.session.key.as_ref()?;
        if self.session.state != State::Ready {
            return None;
        }
        let mut bytes = Vec::new();
        bytes.packet(CANCEL, |out| {
            out.extend(key.process.to_be_bytes());
            out.extend_from_slice(&key.secret);
        });
        Some(bytes)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            (INFERRED, self.session.inferred),
            (MADE_UP, self.session.made_up),
        ]
    }
}

/// What ends a session. The place of a violation is known to the caller.
enum Fault {
    Driver(DriverError),
    Violation(String),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Fault {
        Fault::Violation(format!("a message in which {error}"))
    }
}

impl From<ScramError> for Fault {
    fn from(error: ScramError) -> Fault {
        Fault::Violation(error.to_string())
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Fault {
        Fault::Driver(error)
    }
}

impl Session {
    fn frame(
        &mut self,
        frame: &Frame<'_>,
        began: Timestamp,
        at: Timestamp,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), Fault> {
        if self.state == State::Over {
            return Ok(());
        }
        if self.state == State::Ready && self.outbox.is_empty() {
            return self.unasked(frame);
        }
        let message = Message::of(frame)?;
        let (ready, shapes) = (self.state == State::Ready, &mut self.shapes);
        match ready {
            true => (self.sent).take(frame, message.as_ref(), began, at, shapes)?,
            false => (self.assembler).take(frame, message.as_ref(), began, at, shapes)?,
        }
        match message {
            None => Ok(()),
            Some(message) if ready => self.answer(message, out, events),
            Some(message) => self.logging_in(message, out, events),
        }
    }

    /// A message while no request is under way.
    fn unasked(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        match frame.tag() {
            b'N' | b'S' | b'A' => Ok(()),
            // The server goes down, or the session was idle for too long.
            b'E' => match Message::of(frame)? {
                Some(Message::Error(fields)) => Err(self.ended(fields)),
                _ => Ok(()),
            },
            tag => {
                let tag = char::from(tag);
                Err(Fault::Violation(format!(
                    "a message {tag:?} that no request asked for"
                )))
            }
        }
    }

    fn ended(&mut self, fields: Fields<'_>) -> Fault {
        self.state = State::Over;
        let message = fields.get(b'M').unwrap_or_default();
        let message = String::from_utf8_lossy(message).into_owned();
        DriverError::Ended(message).into()
    }

    fn answer(
        &mut self,
        message: Message<'_>,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), Fault> {
        match message {
            Message::CopyIn => self.outbox.copy_in(out),
            Message::CopyBoth => return Err(DriverError::Unsupported(REPLICATION).into()),
            Message::Error(fields) if fields.fatal() => {
                self.answered(events);
                return Err(self.ended(fields));
            }
            Message::Error(_) | Message::CommandComplete { .. } | Message::EmptyQueryResponse => {
                if let Message::CommandComplete {
                    tag: b"DEALLOCATE ALL" | b"DISCARD ALL",
                } = message
                {
                    self.names.forget_passed_over();
                }
                let (completions, failed) = self.sent.progress();
                self.outbox.completed(completions, failed, out);
            }
            Message::ReadyForQuery(_) => {
                self.answered(events);
                self.outbox.pop(out);
            }
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, events: &mut Vec<DriverEvent>) {
        match self.sent.answered() {
            Some((response, true)) => self.names.made_up(response.error_code.is_some()),
            Some((response, false)) => events.push(DriverEvent::Answered(response)),
            None => {}
        }
    }

    fn logging_in(
        &mut self,
        message: Message<'_>,
        out: &mut Vec<u8>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), Fault> {
        match message {
            Message::Authentication(authentication) => self.authenticate(authentication, out)?,
            Message::BackendKeyData { process, secret } => {
                self.key = Some(Key {
                    process,
                    secret: secret.0.to_vec(),
                });
            }
            Message::Error(fields) => {
                let text = |code| String::from_utf8_lossy(fields.get(code).unwrap_or_default());
                let (code, message) = (Arc::from(text(b'C')), text(b'M').into_owned());
                self.state = State::Over;
                events.push(DriverEvent::Refused {
                    code,
                    message,
                    response: self.assembler.finish(),
                });
            }
            Message::ReadyForQuery(_) => {
                self.state = State::Ready;
                self.scram = None;
                events.push(DriverEvent::Opened(self.assembler.finish()));
            }
            _ => {}
        }
        Ok(())
    }

    fn authenticate(
        &mut self,
        authentication: Authentication<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match authentication {
            Authentication::Ok if self.scram.is_some() && !self.scram_verified => {
                return Err(Fault::Violation(
                    "its consent without the SCRAM signature".to_owned(),
                ));
            }
            Authentication::Ok => {}
            Authentication::CleartextPassword => {
                let password = self.password()?;
                out.message(b'p', |body| body.string(password.as_bytes()));
            }
            Authentication::Md5Password { salt } => {
                let response = md5_response(&self.user, &self.password()?, salt);
                out.message(b'p', |body| body.string(response.as_bytes()));
            }
            Authentication::Sasl { mechanisms } => {
                if !mechanisms
                    .split(|byte| *byte == 0)
                    .any(|mechanism| mechanism == SCRAM_SHA_256)
                {
                    let names = String::from_utf8_lossy(mechanisms);
                    let names = names.trim_end_matches('\0').replace('\0', " or ");
                    return Err(DriverError::Authentication(names).into());
                }
                let scram = Scram::new(&self.password()?, self.login.keys.clone(), nonce());
                let first = scram.first();
                out.message(b'p', |body| {
                    body.string(SCRAM_SHA_256);
                    body.extend((first.len() as u32).to_be_bytes());
                    body.extend_from_slice(first.as_bytes());
                });
                self.scram = Some(scram);
            }
            Authentication::SaslContinue(challenge) => {
                let scram = self.scram.as_mut().ok_or(ScramError::Early)?;
                let answer = scram.answer(challenge.0)?;
                out.message(b'p', |body| body.extend_from_slice(answer.as_bytes()));
            }
            Authentication::SaslFinal(signature) => {
                let scram = self.scram.as_ref().ok_or(ScramError::Early)?;
                scram.verify(signature.0)?;
                self.scram_verified = true;
            }
            Authentication::Other { method } => {
                let name = match method {
                    2 => "Kerberos V5".to_owned(),
                    6 => "SCM credentials".to_owned(),
                    7 => "GSSAPI".to_owned(),
                    9 => "SSPI".to_owned(),
                    _ => format!("authentication method {method}"),
                };
                return Err(DriverError::Authentication(name).into());
            }
        }
        Ok(())
    }

    fn password(&self) -> Result<Arc<str>, DriverError> {
        self.login
            .password
            .clone()
            .ok_or_else(|| DriverError::NoPassword {
                user: self.user.clone(),
                variable: PASSWORD_VARIABLE,
                file: PASSWORD_FILE,
            })
    }
}

/// 128 bits, printable.
fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::exchange as test_exchange;
