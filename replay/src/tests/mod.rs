//! The engine against a server in this process that speaks a protocol of lines.

mod cancels;
pub(crate) mod fake;
mod faults;
mod lessons;
mod rules;
mod sharing;

pub(crate) use fake::{LINES, Tape};
