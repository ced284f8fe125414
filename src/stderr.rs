//! Standard error, where warnings and progress go. That nobody can read them ends no work: all of the
//! program writes there through here, and never by `eprintln!`, which panics.

use std::io::{self, Write};

use analyze::report::is_unruly;

/// What it cannot write is gone.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// What is told may quote others: servers, files, restore commands.
pub fn tell(text: &str) {
    let _ = io::stderr().write_all(harmless(text).as_bytes());
}

/// A text without what a terminal might obey, but for tabs and ends of lines.
pub fn harmless(text: &str) -> String {
    text.replace(
        |letter: char| is_unruly(letter) && !matches!(letter, '\n' | '\t'),
        "\u{fffd}",
    )
}
