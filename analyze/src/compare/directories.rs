use std::path::Path;

use recording::{
    ContentKind, Exchange, Manifest, Recording, RunInfo, Timestamp, Writer, WriterOptions,
};

use super::*;
use crate::testing::{self, Change};

/// A run where it is told of what.
fn written(dir: &Path, id: &str, of: Option<&str>, rows: &[Exchange]) -> Recording {
    let mut manifest = Manifest::new(ContentKind::Recording, Timestamp(0));
    manifest.id = id.to_owned();
    manifest.run = of.map(|of| RunInfo {
        recording: of.to_owned(),
        recording_path: format!("{of}.rec"),
        target: "here".to_owned(),
        pacing: "asap".to_owned(),
        started_at: Timestamp(0),
        finished_at: Timestamp(0),
        histograms: BTreeMap::new(),
        new_errors: 0,
        notes: Vec::new(),
        captured: None,
    });
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
    let old = written(&dir.path().join("old"), "monday", None, &rows);
    rows[0] = rows[0].clone().failed("42601");
    let new = written(&dir.path().join("new"), "tuesday", Some("monday"), &rows);

    let inspection = crate::inspect(&new).expect("an inspection");
    assert_eq!(
        (inspection.id.as_str(), inspection.totals.requests),
        ("tuesday", 1)
    );
    assert!(inspection.complete);

    let comparison = compare(&old, &new, None, &Options::default()).expect("a comparison");
    // No session tells a protocol.
    let reason = "protocol of the session unknown";
    assert_eq!(comparison.requests.not_comparable.get(reason), Some(&1));
    assert_eq!(comparison.old.about.id, "monday");
    assert_eq!(comparison.new.about.recording, "monday");
}

#[test]
fn what_is_not_of_one_recording_or_given_twice_is_not_compared() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |id: &str, of: &str| written(&dir.path().join(id), id, Some(of), &[]);
    let (a, b, c) = (run("a", "monday"), run("b", "monday"), run("c", "tuesday"));
    let told = |old, new, noise| {
        let compared = compare(old, new, noise, &Options::default());
        compared.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(told(&a, &b, None), Ok(()));
    let other = "OLD is of the recording monday (monday.rec), and NEW of the recording tuesday \
                 (tuesday.rec): compare runs of one recording";
    assert_eq!(told(&a, &c, None), Err(other.to_owned()));
    let noise = other.replace("NEW", "the noise run");
    assert_eq!(told(&a, &b, Some(&c)), Err(noise));
    let twice = "NEW is the same run as OLD: compared with itself nothing differs";
    assert_eq!(told(&a, &a, None), Err(twice.to_owned()));
    for (noise, which) in [(&a, "OLD"), (&b, "NEW")] {
        let twice = format!("the noise run is the same run as {which}");
        let told = told(&a, &b, Some(noise)).expect_err("a refusal");
        assert!(told.starts_with(&twice), "{told}");
    }
}
