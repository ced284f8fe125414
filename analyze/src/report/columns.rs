use std::fmt::Write;

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

    pub fn print(&self, out: &mut String) {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (cell, width) in row.iter().zip(&mut widths) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a string does not fail.
                let _ = if self.align.get(index) == Some(&b'<') {
                    write!(line, "  {cell:<width$}")
                } else {
                    write!(line, "  {cell:>width$}")
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}
