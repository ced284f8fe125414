//! How wide a page is: one rule for the help, which clap has, and for reports.

use std::env;

/// Lines that are longer are hard to read.
pub const MOST: usize = 100;

/// As wide as the terminal, or COLUMNS where there is none.
pub fn columns() -> usize {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let told = || env::var("COLUMNS").ok()?.parse().ok();
    let columns = terminal.or_else(told).filter(|columns| *columns > 0);
    columns.unwrap_or(MOST).min(MOST)
}
