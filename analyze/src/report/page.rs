use std::fmt::{Result, Write};

use super::text::line;

/// What is written for a terminal of a width.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    /// Columns of text, without the margin.
    pub width: usize,
}

const MARGIN: usize = 2;
/// On fewer columns tables would have no room for their numbers.
const LEAST: usize = 60;

impl Page {
    pub fn new(columns: usize) -> Page {
        Page {
            text: String::new(),
            width: columns.max(LEAST) - MARGIN,
        }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// Words wrapped at the width; later lines stand under the first one's text.
    pub fn paragraph(&mut self, mark: &str, text: &str) -> Result {
        let indent = " ".repeat(mark.chars().count());
        let mut current = mark.to_owned();
        let mut empty = true;
        for word in line(text, usize::MAX).split(' ') {
            if !empty && current.chars().count() + 1 + word.chars().count() > self.width {
                writeln!(self, "{current}")?;
                current.clone_from(&indent);
                empty = true;
            }
            if !empty {
                current.push(' ');
            }
            current.push_str(word);
            empty = false;
        }
        writeln!(self, "{current}")
    }
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> Result {
        self.text.push_str(text);
        Ok(())
    }
}
