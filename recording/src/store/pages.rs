//! Looks through the page headers of a column before they are decoded: the decoder allocates what
//! they ask for, up to 2 GiB, and an allocation that fails ends the process.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/>, in Thrift's compact protocol.

/// A page of the writer's has at most the bytes of a segment, or of the one row that is larger.
const MAX_PAGE: u64 = 384 << 20;
const MAX_DEPTH: u32 = 4;

/// Fields of a page header.
const UNCOMPRESSED: i64 = 2;
const COMPRESSED: i64 = 3;
const DATA_PAGE: i64 = 5;
const DICTIONARY_PAGE: i64 = 7;
const DATA_PAGE_V2: i64 = 8;
/// Of each of the three kinds.
const VALUES: i64 = 1;

/// Checks that each page is within the chunk and asks for no more than a block of `rows` can have.
pub fn check(chunk: &[u8], rows: u64) -> Result<(), &'static str> {
    let mut thrift = Thrift { rest: chunk };
    while !thrift.rest.is_empty() {
        let header = thrift.page().ok_or("a page header is damaged")?;
        if header.uncompressed > MAX_PAGE || header.values > rows {
            return Err("a page is larger than a block can have");
        }
        thrift
            .take(header.compressed)
            .ok_or("a page is longer than its column")?;
    }
    Ok(())
}

#[derive(Default)]
struct PageHeader {
    uncompressed: u64,
    compressed: u64,
    values: u64,
}

struct Thrift<'a> {
    rest: &'a [u8],
}

impl Thrift<'_> {
    fn page(&mut self) -> Option<PageHeader> {
        let mut header = PageHeader::default();
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            match (id, kind) {
                (UNCOMPRESSED, 5) => header.uncompressed = self.size()?,
                (COMPRESSED, 5) => header.compressed = self.size()?,
                (DATA_PAGE | DICTIONARY_PAGE | DATA_PAGE_V2, 12) => {
                    header.values = self.values()?
                }
                _ => self.skip(kind, 0)?,
            }
        }
        Some(header)
    }

    fn values(&mut self) -> Option<u64> {
        let mut values = 0;
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            match (id, kind) {
                (VALUES, 5) => values = self.size()?,
                _ => self.skip(kind, 0)?,
            }
        }
        Some(values)
    }

    /// The type of the next field, whose number is left in `id`. `Some(None)` at the struct's end.
    fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *id = match head >> 4 {
            0 => self.zigzag()?,
            step => *id + i64::from(step),
        };
        Some(Some(head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            1 | 2 => {}
            3 => self.take(1)?,
            4..=6 => {
                self.varint()?;
            }
            7 => self.take(8)?,
            8 => {
                let length = self.varint()?;
                self.take(length)?;
            }
            12 if depth < MAX_DEPTH => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            // A page header has no lists and no maps.
            _ => return None,
        }
        Some(())
    }

    /// Not negative.
    fn size(&mut self) -> Option<u64> {
        u64::try_from(self.zigzag()?).ok()
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn take(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type 0, 100 bytes, 3 compressed, a data page of 7 values; then the three bytes.
    const PAGE: &[u8] = &[
        0x15, 0x00, 0x15, 0xc8, 0x01, 0x15, 0x06, 0x2c, 0x15, 0x0e, 0x15, 0x00, 0x00, 0x00, 1, 2, 3,
    ];

    #[test]
    fn a_page_of_a_block_passes() {
        assert_eq!(check(PAGE, 7), Ok(()));
        assert_eq!(check(&[PAGE, PAGE].concat(), 7), Ok(()));
        assert_eq!(check(b"", 0), Ok(()));
    }

    #[test]
    fn more_values_than_rows_do_not() {
        assert_eq!(
            check(PAGE, 6),
            Err("a page is larger than a block can have")
        );
    }

    #[test]
    fn a_cut_page_does_not() {
        for end in 1..PAGE.len() {
            assert!(check(&PAGE[..end], 7).is_err(), "at {end}");
        }
    }

    #[test]
    fn a_length_of_2_gib_does_not() {
        let mut page = PAGE.to_vec();
        page.splice(3..5, [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(
            check(&page, 7),
            Err("a page is larger than a block can have")
        );
    }
}
