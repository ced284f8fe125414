//! What a client sends before anything has a tag:
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>

use std::fmt;

use crate::reader::{ReadError, Reader};

pub(crate) const CANCEL: u32 = 1234 << 16 | 5678;
pub(crate) const SSL: u32 = 1234 << 16 | 5679;
pub(crate) const GSS_ENCRYPTION: u32 = 1234 << 16 | 5680;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Startup<'a> {
    SslRequest,
    GssEncRequest,
    /// The secret is of 4 bytes before protocol 3.2, of up to 256 since.
    Cancel {
        process: u32,
        secret: Secret<'a>,
    },
    /// A StartupMessage.
    Session {
        minor: u16,
        parameters: Parameters<'a>,
    },
    Unsupported {
        major: u16,
        minor: u16,
    },
}

/// Bytes that must not be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret<'a>(pub(crate) &'a [u8]);

/// Names and values. Ends early where the bytes do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameters<'a>(&'a [u8]);

impl<'a> Startup<'a> {
    /// `packet` is whole, with its length.
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Startup<'a>, ReadError> {
        let mut reader = Reader::new(packet);
        reader.u32_be("startup.length")?;
        let code = reader.u32_be("startup.code")?;
        Ok(match code {
            SSL => Startup::SslRequest,
            GSS_ENCRYPTION => Startup::GssEncRequest,
            CANCEL => Startup::Cancel {
                process: reader.u32_be("CancelRequest.process")?,
                secret: Secret(reader.rest()),
            },
            _ => {
                let (major, minor) = ((code >> 16) as u16, code as u16);
                match major {
                    3 => Startup::Session {
                        minor,
                        parameters: Parameters(reader.rest()),
                    },
                    _ => Startup::Unsupported { major, minor },
                }
            }
        })
    }
}

impl<'a> Parameters<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let name = reader.string("name").ok().filter(|name| !name.is_empty())?;
            Some((name, reader.string("value").ok()?))
        })
    }

    pub(crate) fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(known, _)| *known == name)?.1.into()
    }

    /// Pairs of strings up to an empty one, and nothing after it.
    pub(crate) fn well_formed(self) -> bool {
        let len: usize = self.iter().map(|(a, b)| a.len() + b.len() + 2).sum();
        self.0.get(len..) == Some(&[0])
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (text(name), text(value))))
            .finish()
    }
}
