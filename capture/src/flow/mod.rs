//! Segments to bytes, connection by connection.

mod assembler;
mod connection;
mod table;

pub use assembler::Inserted;
pub use connection::{Connection, Delivery, Place, State};
pub use table::{Class, FlowKey, Handle, Table};
