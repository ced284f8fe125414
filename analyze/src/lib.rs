//! Outcomes to comparison, statistics, report and gate.
//!
//! [`inspect`] sums up a directory, [`compare`] sets two or three side by side, [`report`] makes text
//! of what they found. Nothing here prints or opens a socket.

#![cfg_attr(test, allow(clippy::expect_used))]

mod compare;
mod differences;
mod error;
mod example;
mod gate;
mod inspect;
mod join;
mod learnt;
mod noise;
pub mod report;
mod samples;
mod stats;
mod table;
#[cfg(test)]
mod testing;
mod times;
mod trust;
mod verdict;

pub use compare::{About, Comparison, Counts, Options, Side, Span, compare};
pub use differences::{Group, NoiseGroup};
pub use error::{AnalyzeError, Which};
pub use example::{Cell, Example, ShownAnswer};
pub use gate::{Gate, GateError};
pub use inspect::{Inspection, inspect};
pub use samples::Summary;
pub use table::Named;
pub use times::{Bucket, CurvePoint, FingerprintTimes, Latency, Means, OverTime, Sides, Slower};
pub use trust::{Concerns, Issue, Weight};
pub use verdict::{Outcome, State, Verdict, Weighed};
