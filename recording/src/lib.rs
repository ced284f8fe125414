//! The vocabulary of Rehearsal, and its format on disk.
//!
//! A recording and a run are both a stream of [`Exchange`]s in order of time, with a
//! [`Manifest`] and a [`Ledger`] beside them.

mod exchange;
mod ledger;
mod remedy;
mod store;
mod time;

pub use exchange::{
    Exchange, Kind, Notes, Pacing, Request, Response, SessionInfo, Statement, Status, Transaction,
};
pub use ledger::{Account, Ledger};
pub use remedy::remedy;
pub use store::{
    Batch, Captured, ContentKind, Damage, FORMAT, HistogramError, Manifest, NEW_ERRORS, Recording,
    Rows, RunInfo, SegmentInfo, StoreError, Verification, Writer, WriterOptions, decode_histogram,
    encode_histogram,
};
pub use time::{Timestamp, civil};
