//! The repeated parts of messages, read as they are walked over.

use std::fmt;

use crate::reader::{ReadError, Reader};

/// Type OIDs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Oids<'a>(&'a [u8]);

/// Format codes: 0 text, 1 binary.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Formats<'a>(&'a [u8]);

/// Parameters or columns of a row; `None` is NULL. Ends early where the bytes do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Values<'a> {
    pub(crate) count: u16,
    bytes: &'a [u8],
}

/// Columns of a RowDescription. Ends early where the bytes do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns<'a> {
    pub(crate) count: u16,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) type_oid: u32,
    pub(crate) format: u16,
}

/// Fields of an ErrorResponse or NoticeResponse, by their code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Oids<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, ReadError> {
        let count = reader.u16_be(what)?;
        Ok(Oids(reader.bytes(usize::from(count) * 4, what)?))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        let (oids, _) = self.0.as_chunks();
        oids.iter().map(|oid| u32::from_be_bytes(*oid))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Formats<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, ReadError> {
        let count = reader.u16_be(what)?;
        Ok(Formats(reader.bytes(usize::from(count) * 2, what)?))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> + use<'a> {
        let (formats, _) = self.0.as_chunks();
        formats.iter().map(|format| u16::from_be_bytes(*format))
    }

    /// Of the value at `index`: none given means text, a single one is for all.
    pub(crate) fn of(self, index: usize) -> u16 {
        let index = if self.0.len() == 2 { 0 } else { index };
        self.iter().nth(index).unwrap_or(0)
    }
}

impl<'a> Values<'a> {
    pub(super) fn rest(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, ReadError> {
        let count = reader.u16_be(what)?;
        let bytes = reader.rest();
        Ok(Values { count, bytes })
    }

    /// Where something follows, so that the end must be found.
    pub(super) fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, ReadError> {
        let count = reader.u16_be(what)?;
        let bytes = reader.clone().rest();
        let before = reader.offset();
        for _ in 0..count {
            value(reader, what)?;
        }
        let len = reader.offset() - before;
        let bytes = bytes.get(..len).unwrap_or_default();
        Ok(Values { count, bytes })
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| value(&mut reader, "value").ok())
    }
}

fn value<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<Option<&'a [u8]>, ReadError> {
    match reader.i32_be(what)? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| reader.bad(what, len.into()))?;
            reader.bytes(len, what).map(Some)
        }
    }
}

impl<'a> Columns<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, ReadError> {
        let count = reader.u16_be("RowDescription.count")?;
        let bytes = reader.rest();
        Ok(Columns { count, bytes })
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| column(&mut reader).ok())
    }
}

fn column<'a>(reader: &mut Reader<'a>) -> Result<Column<'a>, ReadError> {
    let name = reader.string("RowDescription.name")?;
    // The table's OID and the column's number in it.
    reader.bytes(6, "RowDescription.origin")?;
    let type_oid = reader.u32_be("RowDescription.type")?;
    // The type's size and modifier.
    reader.bytes(6, "RowDescription.size")?;
    let format = reader.u16_be("RowDescription.format")?;
    Ok(Column {
        name,
        type_oid,
        format,
    })
}

impl<'a> Fields<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Self {
        Fields(reader.rest())
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let code = reader.u8("field").ok().filter(|code| *code != 0)?;
            Some((code, reader.string("field").ok()?))
        })
    }

    /// The field with that code: `C` the SQLSTATE, `M` the message, `S` the severity.
    pub(crate) fn get(self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|(known, _)| *known == code)?.1.into()
    }

    /// The severity, which is in the server's language only where it is older than 9.6.
    pub(crate) fn severity(self) -> &'a [u8] {
        self.get(b'V').or(self.get(b'S')).unwrap_or_default()
    }

    /// The error ends the session.
    pub(crate) fn fatal(self) -> bool {
        matches!(self.severity(), b"FATAL" | b"PANIC")
    }
}

impl fmt::Debug for Oids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Formats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(code, text)| (char::from(code), String::from_utf8_lossy(text));
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}
