//! The format on disk. FORMAT.md is normative.

mod batch;
mod damage;
mod decode;
mod error;
mod files;
mod histogram;
mod leisure;
mod manifest;
mod open;
mod pages;
mod priority;
mod recording;
mod repair;
mod rows;
mod schema;
mod seal;
mod sealed;
mod sort;
mod steady;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;
#[cfg(test)]
mod verify_tests;
mod words;
mod writer;

pub use batch::Batch;
pub use damage::Damage;
pub use error::StoreError;
pub use histogram::{HistogramError, decode_histogram, encode_histogram};
pub use manifest::{Captured, ContentKind, FORMAT, Manifest, NEW_ERRORS, RunInfo, SegmentInfo};
pub use recording::Recording;
pub use rows::Rows;
pub use verify::Verification;
pub use writer::{Writer, WriterOptions};
