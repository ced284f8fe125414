//! What clients send after start-up:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use super::lists::{Formats, Oids, Values};
use super::startup::Secret;
use crate::reader::{ReadError, Reader};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Query {
        text: &'a [u8],
    },
    Parse {
        name: &'a [u8],
        text: &'a [u8],
        /// As far as the client says them; OID 0 leaves one to the server.
        parameter_types: Oids<'a>,
    },
    Bind {
        portal: &'a [u8],
        statement: &'a [u8],
        formats: Formats<'a>,
        parameters: Values<'a>,
        result_formats: Formats<'a>,
    },
    Describe {
        target: Target,
        name: &'a [u8],
    },
    Execute {
        portal: &'a [u8],
        /// 0 for all.
        max_rows: u32,
    },
    Close {
        target: Target,
        name: &'a [u8],
    },
    Flush,
    Sync,
    FunctionCall {
        oid: u32,
        arguments: &'a [u8],
    },
    CopyData {
        bytes: &'a [u8],
    },
    CopyDone,
    CopyFail {
        reason: &'a [u8],
    },
    /// A password, a SASL or a GSSAPI message: which one tells only the server's message before.
    Authentication(Secret<'a>),
    Terminate,
    Unknown {
        tag: u8,
        bytes: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Statement,
    Portal,
}

impl<'a> Message<'a> {
    /// `message` is whole, with its head.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Message<'a>, ReadError> {
        let mut reader = Reader::new(message);
        let tag = reader.u8("tag")?;
        reader.u32_be("length")?;
        Ok(match tag {
            b'Q' => Message::Query {
                text: reader.string("Query.text")?,
            },
            b'P' => Message::Parse {
                name: reader.string("Parse.name")?,
                text: reader.string("Parse.text")?,
                parameter_types: Oids::read(&mut reader, "Parse.parameter_types")?,
            },
            b'B' => Message::Bind {
                portal: reader.string("Bind.portal")?,
                statement: reader.string("Bind.statement")?,
                formats: Formats::read(&mut reader, "Bind.formats")?,
                parameters: Values::read(&mut reader, "Bind.parameters")?,
                result_formats: Formats::read(&mut reader, "Bind.result_formats")?,
            },
            b'D' => Message::Describe {
                target: target(&mut reader, "Describe.target")?,
                name: reader.string("Describe.name")?,
            },
            b'E' => Message::Execute {
                portal: reader.string("Execute.portal")?,
                max_rows: reader.u32_be("Execute.max_rows")?,
            },
            b'C' => Message::Close {
                target: target(&mut reader, "Close.target")?,
                name: reader.string("Close.name")?,
            },
            b'H' => Message::Flush,
            b'S' => Message::Sync,
            b'F' => Message::FunctionCall {
                oid: reader.u32_be("FunctionCall.oid")?,
                arguments: reader.rest(),
            },
            b'd' => Message::CopyData {
                bytes: reader.rest(),
            },
            b'c' => Message::CopyDone,
            b'f' => Message::CopyFail {
                reason: reader.string("CopyFail.reason")?,
            },
            b'p' => Message::Authentication(Secret(reader.rest())),
            b'X' => Message::Terminate,
            _ => Message::Unknown {
                tag,
                bytes: reader.rest(),
            },
        })
    }
}

/// The name in a Parse that may be cut behind it.
pub(crate) fn parse_name(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message.strip_prefix(b"P")?);
    reader.u32_be("length").ok()?;
    reader.string("Parse.name").ok()
}

fn target(reader: &mut Reader<'_>, what: &'static str) -> Result<Target, ReadError> {
    match reader.u8(what)? {
        b'S' => Ok(Target::Statement),
        b'P' => Ok(Target::Portal),
        other => Err(reader.bad(what, other.into())),
    }
}
