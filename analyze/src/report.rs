//! A comparison for people and for machines.

mod columns;
mod html;
mod inspection;
mod page;
mod svg;
mod terminal;
pub(crate) mod text;

pub use html::html;
pub use inspection::inspection;
pub use terminal::terminal;
pub use text::is_unruly;

use self::page::Page;
use crate::compare::Comparison;
use crate::error::AnalyzeError;

/// The whole comparison; its `format` counts up when a field changes its meaning.
pub fn json(comparison: &Comparison) -> Result<String, AnalyzeError> {
    Ok(serde_json::to_string_pretty(comparison)?)
}

/// Words behind a mark, wrapped for a terminal of so many columns.
pub fn paragraph(mark: &str, text: &str, columns: usize) -> String {
    let mut page = Page::new(columns);
    // Writing to a string does not fail.
    let _ = page.paragraph(mark, text);
    page.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn json_keeps_its_names() {
        let mut comparison = sample::fail();
        comparison.groups.truncate(1);
        for group in &mut comparison.groups {
            group.examples.truncate(1);
        }
        comparison.latency.fingerprints.truncate(1);
        comparison.latency.curve.truncate(1);
        comparison.latency.over_time.buckets.truncate(1);
        insta::assert_snapshot!(json(&comparison).expect("JSON"));
    }
}
