/// Walks over the bytes of one message. Nothing read reaches beyond them.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{what} ends early at byte {offset} of the message")]
    Short { what: &'static str, offset: usize },
    #[error("{what} holds {value} at byte {offset} of the message")]
    Value {
        what: &'static str,
        value: i64,
        offset: usize,
    },
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            bytes,
            len: bytes.len(),
        }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.len - self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes all that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(self.short(what))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ReadError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(self.short(what))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ReadError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16_be(&mut self, what: &'static str) -> Result<u16, ReadError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self, what: &'static str) -> Result<u32, ReadError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn i32_be(&mut self, what: &'static str) -> Result<i32, ReadError> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(crate) fn i64_be(&mut self, what: &'static str) -> Result<i64, ReadError> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// A string up to its zero byte, without it.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a [u8], ReadError> {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let text = self.bytes(end.ok_or(self.short(what))?, what)?;
        self.u8(what)?;
        Ok(text)
    }

    pub(crate) fn bad(&self, what: &'static str, value: i64) -> ReadError {
        ReadError::Value {
            what,
            value,
            offset: self.offset(),
        }
    }

    fn short(&self, what: &'static str) -> ReadError {
        ReadError::Short {
            what,
            offset: self.offset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_never_beyond() {
        let mut reader = Reader::new(b"\x07\x01\x02\xff\xff\xff\xfe\0\0\0\x05name\0rest");
        assert_eq!(reader.u8("a"), Ok(7));
        assert_eq!(reader.u16_be("b"), Ok(0x0102));
        assert_eq!(reader.i32_be("c"), Ok(-2));
        assert_eq!(reader.u32_be("d"), Ok(5));
        assert_eq!(reader.string("e"), Ok(&b"name"[..]));
        assert_eq!(reader.offset(), 16);
        assert_eq!(
            reader.string("f"),
            Err(ReadError::Short {
                what: "f",
                offset: 16
            })
        );
        assert_eq!(
            reader.bytes(5, "g").map_err(|error| error.to_string()),
            Err("g ends early at byte 16 of the message".to_owned())
        );
        assert_eq!(reader.rest(), b"rest");
        assert!(reader.is_empty());
        assert!(reader.u8("h").is_err());
    }
}
