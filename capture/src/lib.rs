//! Packets to recordings.
//!
//! ```text
//!  source ─► packet ─► flow ─► session ─► rows
//!  (reader thread)     (workers, by flow)  (writer thread)
//! ```

#![deny(clippy::indexing_slicing)]

mod flow;
mod packet;
mod ports;
mod session;
mod source;
mod worker;

pub use ports::Ports;
