//! What stands on the wire: <https://www.postgresql.org/docs/current/protocol-message-formats.html>
//!
//! Both sides use the same tag bytes for different messages, so each has an enum of its own. All of
//! them borrow from the bytes they were read from.

pub(crate) mod backend;
pub(crate) mod frontend;

mod encode;
mod framing;
mod lists;
mod split;
mod startup;
#[cfg(test)]
mod tests;

pub(crate) use encode::Encode;
pub(crate) use framing::{Frame, FrameError, Framer};
pub(crate) use lists::{Columns, Fields, Formats, Oids, Values};
pub(crate) use split::Messages;
#[cfg(test)]
pub(crate) use startup::GSS_ENCRYPTION;
pub(crate) use startup::{CANCEL, SSL, Startup};
