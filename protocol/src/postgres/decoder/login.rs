//! From the first byte to the first ReadyForQuery.

use std::mem;
use std::sync::Arc;

use recording::{Exchange, Kind, Notes, Status, Timestamp};

use super::rows::{self, Rows};
use super::session::Session;
use super::statements::Statements;
use super::stream::Place;
use super::{Decoder, Fault};
use crate::postgres::messages::backend::Message;
use crate::postgres::messages::{Frame, Startup};
use crate::postgres::response::Assembler;
use crate::reader::ReadError;

const TLS: &str = "encrypted (TLS)";
const GSSAPI: &str = "encrypted (GSSAPI)";
/// The record that a TLS client begins with: a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// What stands before the key in a CancelRequest.
const CANCEL_HEAD_LEN: usize = 12;

#[derive(Debug)]
pub(super) struct Login {
    pub(super) stage: Stage,
    /// The client asked for encryption at least once.
    pub(super) asked: bool,
    /// Answers to that, of a byte each, that are still to come.
    answers: u32,
    assembler: Assembler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Startup,
    Authenticating,
    /// The server's bytes were lost, and the client asks since: whether the server is ready for
    /// queries by now, its next bytes tell.
    Lost,
    Done,
}

impl Login {
    pub(super) fn new(body_cap: usize) -> Login {
        Login {
            stage: Stage::Startup,
            asked: false,
            answers: 0,
            assembler: Assembler::new(body_cap),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.assembler.held()
    }

    /// A message of the server's, until it is ready for queries or refuses.
    pub(super) fn server(
        &mut self,
        frame: &Frame<'_>,
        began: Timestamp,
        at: Timestamp,
        session: &mut Session,
        rows: &mut Rows<'_>,
    ) -> Result<(), ReadError> {
        session.server_idle = frame.tag() == b'Z';
        let message = Message::of(frame)?;
        self.assembler
            .take(frame, message.as_ref(), began, at, &mut session.shapes)?;
        if let Frame::Damaged { .. } = frame {
            mark(rows);
        }
        let status = match message {
            None => match frame {
                Frame::Damaged { tag: b'Z', .. } => Status::Ok,
                Frame::Damaged { tag: b'E', .. } => {
                    session.ended = session.ended.or(Some(("login failed", at)));
                    Status::Error
                }
                _ => return Ok(()),
            },
            Some(Message::BackendKeyData { process, .. }) => {
                if let Some(info) = rows
                    .order
                    .opening
                    .as_mut()
                    .and_then(|row| row.info.as_mut())
                {
                    info.backend = Some(process.into());
                }
                return Ok(());
            }
            Some(Message::ReadyForQuery(_)) => Status::Ok,
            Some(Message::Error(_)) => {
                session.ended = session.ended.or(Some(("login failed", at)));
                Status::Error
            }
            Some(
                Message::Authentication(_)
                | Message::ParameterStatus { .. }
                | Message::NegotiateProtocolVersion { .. }
                | Message::Notice(_)
                | Message::Unknown { .. },
            ) => return Ok(()),
            Some(_) => {
                return Err(ReadError::Value {
                    what: "login",
                    value: frame.tag().into(),
                    offset: 0,
                });
            }
        };
        self.stage = Stage::Done;
        let mut assembler = mem::replace(&mut self.assembler, Assembler::new(0));
        if let Some(opening) = rows.order.opening.as_mut() {
            opening.status = status;
            opening.reason = None;
            opening.response = Some(assembler.finish());
        }
        rows.open();
        Ok(())
    }

    /// Bytes of the server's were lost, and it is not known which messages.
    pub(super) fn server_gap(&mut self, session: &mut Session, rows: &mut Rows<'_>) {
        if self.stage != Stage::Authenticating {
            return;
        }
        self.assembler.lost();
        mark(rows);
        if !session.waiting.is_empty() {
            // The client did not wait for the login, so that its next request proves nothing.
            session.pipelines = true;
            self.stage = Stage::Lost;
        }
    }

    /// What the client sent may be what only one sends that was let in.
    pub(super) fn client_spoke(&mut self, session: &Session, rows: &mut Rows<'_>) {
        if self.stage == Stage::Authenticating
            && session.server_place != Place::Known
            && !session.waiting.is_empty()
        {
            self.stage = Stage::Lost;
            succeeded(rows);
        }
    }

    /// The server is ready for queries, though it was not seen to say so. When it said so is not
    /// known, so that the opening has no response.
    pub(super) fn passed(&mut self, rows: &mut Rows<'_>) {
        self.stage = Stage::Done;
        self.assembler = Assembler::new(0);
        succeeded(rows);
        rows.open();
    }
}

/// Bytes of the server's are missing in the opening.
fn mark(rows: &mut Rows<'_>) {
    if let Some(opening) = &mut rows.order.opening {
        opening.notes.add(Notes::RESPONSE_GAP);
    }
}

fn succeeded(rows: &mut Rows<'_>) {
    if let Some(opening) = &mut rows.order.opening {
        opening.status = Status::Ok;
        opening.reason = None;
    }
}

/// Is this a whole start-up packet?
pub(super) fn is_startup(bytes: &[u8]) -> bool {
    let whole = bytes
        .first_chunk()
        .is_some_and(|len| u32::from_be_bytes(*len) as usize == bytes.len());
    whole
        && match Startup::parse(bytes) {
            Ok(Startup::Session { parameters, .. }) => parameters.well_formed(),
            Ok(Startup::Unsupported { .. }) | Err(_) => false,
            Ok(_) => true,
        }
}

impl Decoder {
    /// What the connection begins with was seen after all.
    pub(super) fn rejoin_startup(&mut self) {
        self.blind = false;
        self.login.stage = Stage::Startup;
        self.client.framer.set_tagged(false);
        self.client.place = Place::Known;
        self.session.server_place = Place::Known;
        self.session.paired = true;
        self.session.statements = Statements::default();
        if let Some(opening) = &mut self.order.opening {
            opening.notes = Notes::default();
            opening.reason = Some("login not completed".into());
        }
    }

    /// The client's packets up to its StartupMessage.
    pub(super) fn startup(
        &mut self,
        input: &mut &[u8],
        at: Timestamp,
        out: &mut Vec<Exchange>,
    ) -> Result<(), Fault> {
        while self.login.stage == Stage::Startup {
            if self.client.framer.partial().is_none() {
                match input.first() {
                    None => return Ok(()),
                    Some(0) => {}
                    Some(&TLS_HANDSHAKE) => {
                        self.encrypted(TLS, out);
                        return Ok(());
                    }
                    Some(_) => {
                        self.rejected = Some("no PostgreSQL start-up message");
                        return Ok(());
                    }
                }
            }
            let Some(Frame::Whole { bytes, .. }) = self.client.framer.next(input)? else {
                return Ok(());
            };
            match Startup::parse(bytes)? {
                Startup::SslRequest | Startup::GssEncRequest => {
                    self.login.asked = true;
                    self.login.answers = self.login.answers.saturating_add(1);
                }
                Startup::Session { parameters, .. } if parameters.well_formed() => {
                    if let Some(opening) = &mut self.order.opening {
                        opening.request.bytes = bytes.to_vec();
                        opening.request.wire_len = bytes.len() as u64;
                        opening.request.last_byte_at = at;
                        let text = |name: &[u8]| -> Option<Arc<str>> {
                            let value = parameters.get(name)?;
                            Some(String::from_utf8_lossy(value).into())
                        };
                        if let Some(info) = &mut opening.info {
                            info.user = text(b"user");
                            info.database = text(b"database").or(info.user.clone());
                            info.application = text(b"application_name");
                        }
                    }
                    self.login.stage = Stage::Authenticating;
                    self.client.framer.set_tagged(true);
                }
                Startup::Cancel { process, .. } => {
                    let mut row = rows::row(Kind::Cancel, at, "cancel");
                    row.request.wire_len = bytes.len() as u64;
                    row.request.bytes = bytes.to_vec();
                    let key = row.request.bytes.get_mut(CANCEL_HEAD_LEN..);
                    key.unwrap_or_default().fill(0);
                    row.notes.add(Notes::SECRET_BLANKED);
                    self.cancel(process, row, out);
                    return Ok(());
                }
                Startup::Unsupported { major: 2, .. } => {
                    self.rejected = Some("PostgreSQL protocol 2.0 is not supported");
                    return Ok(());
                }
                Startup::Session { .. } | Startup::Unsupported { .. } => {
                    self.rejected = Some("no PostgreSQL start-up message");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, process: u32, row: Exchange, out: &mut Vec<Exchange>) {
        if let Some(opening) = &mut self.order.opening {
            opening.status = Status::Ok;
            opening.reason = None;
            if let Some(info) = &mut opening.info {
                info.backend = Some(process.into());
            }
        }
        self.order.rows(out).push(row);
        self.login.stage = Stage::Done;
        self.session.ended = None;
        self.over = true;
    }

    /// Answers to wishes to encrypt were lost, and nothing else: what the client sends next tells
    /// what they were.
    pub(super) fn lost_answers(&mut self, len: u64) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let left = self.login.answers.checked_sub(len).filter(|_| len > 0);
        self.login.answers = left.unwrap_or(0);
        left.is_some()
    }

    /// What the server says before the client's StartupMessage: a byte for each wish to encrypt.
    pub(super) fn negotiate(&mut self, input: &mut &[u8], at: Timestamp, out: &mut Vec<Exchange>) {
        if self.login.stage == Stage::Startup && !self.login.asked {
            // Without the client's first words only what is certain is believed.
            let certain = matches!(
                input,
                [b'N' | b'S' | b'G'] | [b'R', 0, 0, 0, _, 0, 0, 0, ..]
            );
            if certain {
                self.client.framer.gap(0);
                self.join_mid_stream();
            } else {
                self.rejected = Some("the server speaks first");
            }
            return;
        }
        while self.login.answers > 0
            && let Some((answer, rest)) = input.split_first()
        {
            self.login.answers -= 1;
            match answer {
                b'N' => *input = rest,
                b'S' => return self.encrypted(TLS, out),
                b'G' => return self.encrypted(GSSAPI, out),
                b'E' => return self.refused_in_plain_text(at, out),
                _ => {
                    self.rejected = Some("no PostgreSQL server");
                    return;
                }
            }
        }
        if self.login.stage == Stage::Startup && !input.is_empty() {
            self.refused_in_plain_text(at, out);
        }
    }

    /// A server that is too old to know the request, or too busy to speak properly, answers with an
    /// error that has no code.
    pub(super) fn refused_in_plain_text(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        if let Some(opening) = &mut self.order.opening {
            opening.status = Status::Error;
            opening.reason = None;
        }
        self.session.ended = self.session.ended.or(Some(("login failed", at)));
        self.order.rows(out).open();
        self.over = true;
    }

    fn encrypted(&mut self, reason: &'static str, out: &mut Vec<Exchange>) {
        self.opaque = Some(reason);
        if let Some(opening) = &mut self.order.opening {
            opening.notes.add(Notes::ENCRYPTED);
            opening.reason = Some(reason.into());
        }
        self.order.rows(out).open();
    }
}
