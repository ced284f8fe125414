//! Packets to recordings.
//!
//! ```text
//!  source ─► packet ─► flow ─► session ─► rows
//!  (reader threads)    (workers, by flow)  (writer thread)
//! ```

#![deny(clippy::indexing_slicing)]

mod budget;
mod choice;
mod clock;
mod flow;
mod memory;
mod options;
mod packet;
mod pipeline;
mod ports;
mod privileges;
mod probe;
mod reader;
mod session;
mod source;
mod splitter;
mod worker;
mod writer;

pub use budget::Budget;
pub use choice::{Assumed, Only, Sample};
pub use flow::{Connection, Delivery, Inserted, State};
pub use memory::give_back;
pub use options::{Options, Source};
pub use packet::{Dissected, Dissector, Endpoint, Flags, Segment};
pub use pipeline::{CaptureError, Progress, Sink, Summary, run, run_into};
pub use ports::Ports;
pub use privileges::{PrivilegeError, Unprivileged, harden};
pub use probe::{Probe, ProbeError};
pub use source::{FileError, LiveError, LiveOptions, Packet, PacketFile};
