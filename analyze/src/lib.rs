//! Outcomes to comparison, statistics, report and gate.

mod samples;
mod stats;

pub use samples::Summary;
