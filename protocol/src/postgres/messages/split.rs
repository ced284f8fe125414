/// Whole messages that stand one after another: the tag and the bytes with their head. Ends at the
/// first that is cut.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Messages<'a> {
        Messages(bytes)
    }

    /// What was not walked over.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, counted) = self.0.split_first()?;
        let len = u32::from_be_bytes(*counted.first_chunk()?).max(4) as usize;
        let (message, rest) = self.0.split_at_checked(len.checked_add(1)?)?;
        self.0 = rest;
        Some((*tag, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_at_what_is_cut() {
        let mut messages = Messages::new(b"S\0\0\0\x04Q\0\0\0\x06a\0H\0\0\0\x05");
        assert_eq!(messages.next(), Some((b'S', &b"S\0\0\0\x04"[..])));
        assert_eq!(messages.next(), Some((b'Q', &b"Q\0\0\0\x06a\0"[..])));
        assert_eq!(messages.next(), None);
        assert_eq!(messages.rest(), b"H\0\0\0\x05");
    }
}
