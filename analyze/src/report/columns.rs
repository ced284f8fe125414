use std::fmt::{Result, Write};

use super::page::Page;
use super::text::line;

const GAP: usize = 2;
/// What is left of a text that is cut.
const LEAST: usize = 12;

/// Cells in columns, two spaces apart.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    rows: Vec<Vec<String>>,
    /// `<` or `>` for each column.
    align: &'static [u8],
}

impl Columns {
    pub fn new(align: &'static str, head: &[&str]) -> Columns {
        let mut columns = Columns {
            rows: Vec::new(),
            align: align.as_bytes(),
        };
        if !head.is_empty() {
            columns.row(head.iter().map(|&cell| cell.to_owned()));
        }
        columns
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A text in the last column is cut where the page ends.
    pub fn print(&self, out: &mut Page) -> Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (cell, width) in row.iter().zip(&mut widths) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if let Some((last, others)) = widths.split_last_mut()
            && self.align.get(others.len()) == Some(&b'<')
        {
            let taken: usize = others.iter().map(|width| width + GAP).sum();
            *last = out.width.saturating_sub(taken + GAP).max(LEAST);
        }
        for row in &self.rows {
            let mut text = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match self.align.get(index) {
                    Some(b'<') if index + 1 == row.len() => {
                        write!(text, "  {}", line(cell, *width))?;
                    }
                    Some(b'<') => write!(text, "  {cell:<width$}")?,
                    _ => write!(text, "  {cell:>width$}")?,
                }
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}
