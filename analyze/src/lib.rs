//! Outcomes to comparison, statistics, report and gate.

mod error;
mod gate;
mod inspect;
mod join;
mod samples;
mod stats;
mod table;
#[cfg(test)]
mod testing;

pub use error::{AnalyzeError, Which};
pub use gate::{Gate, GateError};
pub use inspect::{Inspection, inspect_rows};
pub use samples::Summary;
pub use table::Named;
