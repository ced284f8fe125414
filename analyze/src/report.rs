//! A comparison for people and for machines.

mod columns;
mod html;
mod inspection;
mod svg;
mod terminal;
pub(crate) mod text;

pub use html::html;
pub use inspection::inspection;
pub use terminal::terminal;

use crate::compare::Comparison;
use crate::error::AnalyzeError;

/// The whole comparison; its `format` counts up when a field changes its meaning.
pub fn json(comparison: &Comparison) -> Result<String, AnalyzeError> {
    Ok(serde_json::to_string_pretty(comparison)?)
}
