//! What servers send: <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use recording::Transaction;

use super::framing::Frame;
use super::lists::{Columns, Fields, Oids, Values};
use super::startup::Secret;
use crate::reader::{ReadError, Reader};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Authentication(Authentication<'a>),
    BackendKeyData {
        process: u32,
        secret: Secret<'a>,
    },
    ParameterStatus {
        name: &'a [u8],
        value: &'a [u8],
    },
    /// The server speaks an older minor version, or does not know some options.
    NegotiateProtocolVersion {
        newest: u32,
        unknown_options: u32,
    },
    ReadyForQuery(Transaction),
    RowDescription(Columns<'a>),
    ParameterDescription(Oids<'a>),
    DataRow(Values<'a>),
    CommandComplete {
        tag: &'a [u8],
    },
    EmptyQueryResponse,
    PortalSuspended,
    Error(Fields<'a>),
    Notice(Fields<'a>),
    Notification {
        process: u32,
        channel: &'a [u8],
        payload: &'a [u8],
    },
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    CopyIn,
    CopyOut,
    CopyBoth,
    CopyData {
        bytes: &'a [u8],
    },
    CopyDone,
    FunctionCallResponse {
        value: Option<&'a [u8]>,
    },
    Unknown {
        tag: u8,
        bytes: &'a [u8],
    },
}

/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authentication<'a> {
    Ok,
    CleartextPassword,
    Md5Password {
        salt: [u8; 4],
    },
    /// Names of mechanisms, each with a zero byte after it.
    Sasl {
        mechanisms: &'a [u8],
    },
    SaslContinue(Secret<'a>),
    SaslFinal(Secret<'a>),
    Other {
        method: u32,
    },
}

impl<'a> Message<'a> {
    /// What a frame says, where it is whole.
    #[inline]
    pub(crate) fn of(frame: &Frame<'a>) -> Result<Option<Message<'a>>, ReadError> {
        match *frame {
            Frame::Whole { bytes, .. } => Message::parse(bytes).map(Some),
            Frame::Part { .. } | Frame::Damaged { .. } => Ok(None),
        }
    }

    /// `message` is whole, with its head.
    #[inline]
    pub(crate) fn parse(message: &'a [u8]) -> Result<Message<'a>, ReadError> {
        let mut reader = Reader::new(message);
        let tag = reader.u8("tag")?;
        reader.u32_be("length")?;
        Ok(match tag {
            b'R' => Message::Authentication(Authentication::read(&mut reader)?),
            b'K' => Message::BackendKeyData {
                process: reader.u32_be("BackendKeyData.process")?,
                secret: Secret(reader.rest()),
            },
            b'S' => Message::ParameterStatus {
                name: reader.string("ParameterStatus.name")?,
                value: reader.string("ParameterStatus.value")?,
            },
            b'v' => Message::NegotiateProtocolVersion {
                newest: reader.u32_be("NegotiateProtocolVersion.newest")?,
                unknown_options: reader.u32_be("NegotiateProtocolVersion.count")?,
            },
            b'Z' => Message::ReadyForQuery(match reader.u8("ReadyForQuery.status")? {
                b'I' => Transaction::Idle,
                b'T' => Transaction::Open,
                b'E' => Transaction::Failed,
                other => return Err(reader.bad("ReadyForQuery.status", other.into())),
            }),
            b'T' => Message::RowDescription(Columns::read(&mut reader)?),
            b't' => Message::ParameterDescription(Oids::read(&mut reader, "ParameterDescription")?),
            b'D' => Message::DataRow(Values::rest(&mut reader, "DataRow.count")?),
            b'C' => Message::CommandComplete {
                tag: reader.string("CommandComplete.tag")?,
            },
            b'I' => Message::EmptyQueryResponse,
            b's' => Message::PortalSuspended,
            b'E' => Message::Error(Fields::read(&mut reader)),
            b'N' => Message::Notice(Fields::read(&mut reader)),
            b'A' => Message::Notification {
                process: reader.u32_be("NotificationResponse.process")?,
                channel: reader.string("NotificationResponse.channel")?,
                payload: reader.string("NotificationResponse.payload")?,
            },
            b'1' => Message::ParseComplete,
            b'2' => Message::BindComplete,
            b'3' => Message::CloseComplete,
            b'n' => Message::NoData,
            b'G' => Message::CopyIn,
            b'H' => Message::CopyOut,
            b'W' => Message::CopyBoth,
            b'd' => Message::CopyData {
                bytes: reader.rest(),
            },
            b'c' => Message::CopyDone,
            b'V' => Message::FunctionCallResponse {
                value: match reader.i32_be("FunctionCallResponse.length")? {
                    -1 => None,
                    _ => Some(reader.rest()),
                },
            },
            _ => Message::Unknown {
                tag,
                bytes: reader.rest(),
            },
        })
    }
}

impl<'a> Authentication<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Authentication<'a>, ReadError> {
        Ok(match reader.u32_be("Authentication.method")? {
            0 => Authentication::Ok,
            3 => Authentication::CleartextPassword,
            5 => Authentication::Md5Password {
                salt: reader
                    .u32_be("AuthenticationMD5Password.salt")?
                    .to_be_bytes(),
            },
            10 => Authentication::Sasl {
                mechanisms: reader.rest(),
            },
            11 => Authentication::SaslContinue(Secret(reader.rest())),
            12 => Authentication::SaslFinal(Secret(reader.rest())),
            method => Authentication::Other { method },
        })
    }
}

/// Rows inserted, updated, deleted, merged or copied, from a CommandComplete's tag.
pub(crate) fn affected(tag: &[u8]) -> u64 {
    let mut words = tag.split(|byte| *byte == b' ');
    match words.next() {
        Some(b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE" | b"COPY") => words
            .next_back()
            .and_then(|count| std::str::from_utf8(count).ok()?.parse().ok())
            .unwrap_or(0),
        _ => 0,
    }
}
