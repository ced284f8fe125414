//! What the wire means: bytes in, events out. No sockets, no clocks.
//!
//! A protocol is a folder and a line in [`registry`]. The border is three traits: [`Protocol`],
//! [`Decoder`] for capture and [`Driver`] for replay.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod border;
mod http;
mod keys;
mod learnt;
mod mender;
mod place;
mod postgres;
mod reader;
mod sql;

pub use border::{
    Again, Answer, Decoder, Difference, DifferenceKind, Driver, DriverError, DriverEvent, Executed,
    Inquiry, Known, Learner, Limits, Login, Opening, Probe, Protocol, Shown, Side, Strangers,
    Terms, Told,
};
pub use keys::Keys;
pub use learnt::{Learnt, Mark, Recorded, mark};
pub use mender::Mender;

/// What an [`Inquiry`] calls itself, so that its own session is told from those of production.
pub const PROBE_NAME: &str = "rehearsal probe";

/// Why a request that was answered is not whole: its client stopped sending it, and left.
pub const BROKEN_OFF: &str = "request broken off";

/// Every protocol that Rehearsal speaks.
pub fn registry() -> &'static [&'static dyn Protocol] {
    &[&postgres::Postgres, &http::Http]
}

/// The protocol of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Protocol> {
    registry()
        .iter()
        .copied()
        .find(|protocol| protocol.name() == name)
}
