use std::path::Path;

use recording::{ContentKind, Exchange, Manifest, Recording, Timestamp, Writer, WriterOptions};

use super::*;
use crate::testing::{self, Change};

fn written(dir: &Path, id: &str, rows: &[Exchange]) -> Recording {
    let mut manifest = Manifest::new(ContentKind::Recording, Timestamp(0));
    manifest.id = id.to_owned();
    let mut writer = Writer::create(dir, manifest, WriterOptions::default()).expect("a writer");
    for row in rows {
        writer.push(row).expect("a row");
    }
    writer.finish().expect("an end");
    Recording::open(dir).expect("a recording")
}

#[test]
fn directories_are_read_and_described() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rows: Vec<Exchange> = vec![testing::request(1, 1, "select 1")];
    let old = written(&dir.path().join("old"), "monday", &rows);
    rows[0] = rows[0].clone().failed("42601");
    let new = written(&dir.path().join("new"), "tuesday", &rows);

    let inspection = crate::inspect(&new).expect("an inspection");
    assert_eq!(
        (inspection.id.as_str(), inspection.totals.requests),
        ("tuesday", 1)
    );
    assert!(inspection.complete);

    let comparison = compare(&old, &new, None, &Options::default()).expect("a comparison");
    // No session tells a protocol, and the ids are not of one recording.
    let reason = "protocol of the session unknown";
    assert_eq!(comparison.requests.not_comparable.get(reason), Some(&1));
    assert_eq!(comparison.old.about.id, "monday");
    assert!(
        comparison
            .trust
            .iter()
            .any(|issue| issue.weight == crate::Weight::Void)
    );
}
