//! What is written comes back, in order, exactly once: whole, crashed at any step, or damaged.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use arrow_ipc::reader::StreamReader;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::error::StoreError;
use super::files::{open_name, sealed_name};
use super::open::whole_batches;
use super::schema::SCHEMA;
use super::testing::{exchanges, plain};
use super::{Batch, Recording, Writer, WriterOptions};
use crate::{ContentKind, Exchange, Ledger, Manifest, Notes, Timestamp};

pub fn options(flush_rows: usize, rotate_rows: usize) -> WriterOptions {
    WriterOptions {
        flush_rows,
        rotate_rows,
        ..WriterOptions::default()
    }
}

pub fn create(dir: &Path, options: WriterOptions) -> Writer {
    let manifest = Manifest::new(ContentKind::Recording, Timestamp(1));
    Writer::create(dir, manifest, options).unwrap()
}

/// A finished recording, and where it is.
pub fn written(rows: &[Exchange], options: WriterOptions) -> (TempDir, PathBuf) {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(&dir, options);
    for row in rows {
        writer.push(row).unwrap();
    }
    writer.finish().unwrap();
    (parent, dir)
}

/// A recording whose writer stopped dead with all rows in the open segment.
pub fn open(rows: &[Exchange], flush_rows: usize) -> (TempDir, PathBuf) {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(&dir, options(flush_rows, usize::MAX));
    for row in rows {
        writer.push(row).unwrap();
    }
    (parent, dir)
}

pub fn read(dir: &Path) -> (Vec<Exchange>, Vec<String>) {
    let recording = Recording::open(dir).unwrap();
    let rows = recording.rows().unwrap().collect::<Result<_, _>>().unwrap();
    (rows, recording.left_out())
}

fn in_order(mut rows: Vec<Exchange>) -> Vec<Exchange> {
    rows.sort_by_key(Exchange::order);
    rows
}

fn plain_rows(count: u32) -> Vec<Exchange> {
    (0..count)
        .map(|seq| plain(u64::from(seq % 3), seq, i64::from(seq) * 10))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rows_come_back_in_order(
        rows in exchanges(60),
        flush_rows in 1..9_usize,
        rotate_rows in 2..40_usize,
        leisurely: bool,
    ) {
        let options = WriterOptions { leisurely, ..options(flush_rows, rotate_rows) };
        let (_parent, dir) = written(&rows, options);
        prop_assert_eq!(read(&dir), (in_order(rows), Vec::new()));
    }

    #[test]
    fn rows_to_ask_have_no_results_but_what_is_wanted_of_bodies(
        rows in exchanges(20),
        bodies: bool,
    ) {
        let (_parent, dir) = written(&rows, options(8, 16));
        let asked = Recording::open(&dir).unwrap().rows().unwrap();
        let asked = asked.to_ask(bodies.then_some(|body| body.len() / 2));
        let asked: Vec<_> = asked.collect::<Result<_, _>>().unwrap();
        let mut rows = in_order(rows);
        for response in rows.iter_mut().filter_map(|row| row.response.as_mut()) {
            response.body.truncate(if bodies { response.body.len() / 2 } else { 0 });
            response.columns = None;
            response.rows_digest = 0;
            response.rows_digest_unordered = 0;
        }
        prop_assert_eq!(asked, rows);
    }

    #[test]
    fn unsealed_rows_come_back_up_to_the_last_flush(
        mut rows in exchanges(60),
        flush_rows in 1..9_usize,
    ) {
        let (_parent, dir) = open(&rows, flush_rows);
        rows.truncate(rows.len() / flush_rows * flush_rows);
        prop_assert_eq!(read(&dir), (in_order(rows), Vec::new()));
    }

    #[test]
    fn a_changed_byte_of_a_sealed_segment_is_noticed(
        rows in exchanges(40),
        at: prop::sample::Index,
        with in 1..=255_u8,
    ) {
        prop_assume!(!rows.is_empty());
        let (_parent, dir) = written(&rows, options(8, usize::MAX));
        change(&dir.join(sealed_name(0)), at, with);
        prop_assert!(intact_or_told(&dir, rows));
    }

    #[test]
    fn a_changed_byte_of_an_open_segment_is_noticed(
        rows in exchanges(40),
        at: prop::sample::Index,
        with in 1..=255_u8,
    ) {
        prop_assume!(!rows.is_empty());
        let (_parent, dir) = open(&rows, 1);
        let open = (0..).map(|number| dir.join(open_name(number))).find(|path| path.exists());
        change(&open.unwrap(), at, with);
        prop_assert!(intact_or_told(&dir, rows));
    }

    #[test]
    fn a_changed_byte_without_checksums_does_no_harm(
        rows in exchanges(20),
        at: prop::sample::Index,
        with in 1..=255_u8,
    ) {
        prop_assume!(!rows.is_empty());
        let (_parent, dir) = written(&rows, options(8, usize::MAX));
        let path = dir.join(sealed_name(0));
        change(&path, at, with);
        fs::remove_file(dir.join("manifest.json")).unwrap();
        if let Ok(recording) = Recording::open(&dir) {
            recording.rows().unwrap().for_each(drop);
        }
    }
}

fn change(path: &Path, at: prop::sample::Index, with: u8) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.index(bytes.len());
    bytes[at] ^= with;
    fs::write(path, bytes).unwrap();
}

fn intact_or_told(dir: &Path, rows: Vec<Exchange>) -> bool {
    let (read, left_out) = read(dir);
    let rows = in_order(rows);
    if left_out.is_empty() {
        return read == rows;
    }
    read.iter().all(|row| rows.contains(row))
}

#[test]
fn a_torn_open_segment_gives_its_whole_batches() {
    let rows = plain_rows(4);
    let (_parent, dir) = open(&rows, 2);
    let path = dir.join(open_name(0));
    let bytes = fs::read(&path).unwrap();
    let ends = whole_batches(&bytes);
    assert_eq!(ends.len(), 2);
    for end in 0..=bytes.len() {
        let whole = ends.iter().filter(|whole| **whole <= end).count();
        assert_eq!(whole_batches(&bytes[..end]), ends[..whole], "at {end}");
    }
    let near = ends.iter().flat_map(|end| [end - 1, *end, end + 1]);
    for end in near.filter(|end| *end <= bytes.len()) {
        fs::write(&path, &bytes[..end]).unwrap();
        let whole = ends.iter().filter(|whole| **whole <= end).count();
        let (read, left_out) = read(&dir);
        assert_eq!(read, rows[..2 * whole], "at {end}");
        assert_eq!(left_out.is_empty(), ends.contains(&end), "at {end}");
    }
}

#[test]
fn a_row_with_one_more_column_begins_a_segment() {
    let mut rows = plain_rows(6);
    for row in &mut rows[3..] {
        row.notes.add(Notes::OVERLAP);
    }
    let (_parent, dir) = open(&rows, 1);
    assert_eq!(read(&dir), (rows, Vec::new()));
    let columns = |number| {
        let bytes = fs::read(dir.join(open_name(number))).unwrap();
        let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        let fields = reader.schema().fields().len();
        (fields, reader.map(|batch| batch.unwrap().num_rows()).sum())
    };
    let required = SCHEMA.fields().iter().filter(|it| !it.is_nullable());
    assert_eq!(columns(1), (required.count() + 1, 3_usize));
}

#[test]
fn what_is_torn_off_is_told() {
    let rows = plain_rows(4);
    let (_parent, dir) = open(&rows, 2);
    let path = dir.join(open_name(0));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let (read, left_out) = read(&dir);
    assert_eq!(read, rows[..2]);
    assert_eq!(left_out.len(), 1);
    assert!(
        left_out[0].starts_with("open-00000.arrows: the last ")
            && left_out[0].ends_with(": not a whole batch"),
        "{}",
        left_out[0]
    );
}

#[test]
fn each_state_that_a_crash_can_leave_reads_once() {
    let rows = plain_rows(10);
    let (parent, before) = open(&rows, 2);
    let (_parent, after) = written(&rows, options(2, usize::MAX));
    let state = |name: &str, files: &[(&Path, String)]| {
        let dir = parent.path().join(name);
        fs::create_dir(&dir).unwrap();
        for (from, file) in files {
            fs::copy(from.join(file), dir.join(file)).unwrap();
        }
        dir
    };
    let manifest = || "manifest.json".to_owned();
    let before = before.as_path();
    let after = after.as_path();

    let aside = state("aside", &[(before, manifest()), (before, open_name(0))]);
    let half = &fs::read(after.join(sealed_name(0))).unwrap()[..100];
    fs::write(aside.join("requests-00000.parquet.part"), half).unwrap();
    let renamed = state(
        "renamed",
        &[
            (before, manifest()),
            (before, open_name(0)),
            (after, sealed_name(0)),
        ],
    );
    let named = state(
        "named",
        &[
            (after, manifest()),
            (before, open_name(0)),
            (after, sealed_name(0)),
        ],
    );
    let removed = state("removed", &[(after, manifest()), (after, sealed_name(0))]);
    for dir in [aside, renamed, named, removed] {
        assert_eq!(read(&dir), (rows.clone(), Vec::new()), "{}", dir.display());
    }

    let bare = state("bare", &[(after, sealed_name(0))]);
    let (read, left_out) = read(&bare);
    assert_eq!(read, rows);
    assert_eq!(left_out.len(), 1);
}

#[test]
fn at_creation_there_is_a_manifest_before_there_are_rows() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    drop(create(&dir, WriterOptions::default()));
    let recording = Recording::open(&dir).unwrap();
    assert!(!recording.manifest().complete);
    assert_eq!(recording.rows().unwrap().count(), 0);
}

#[test]
fn a_damaged_block_costs_its_rows_only() {
    let (_parent, dir) = written(&plain_rows(100_000), WriterOptions::default());
    let path = dir.join(sealed_name(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (read, left_out) = read(&dir);
    assert_eq!(read.len(), 100_000 - 65_536);
    assert_eq!(left_out.len(), 1);
    assert!(
        left_out[0].starts_with("requests-00000.parquet: block at offset 4 of "),
        "{}",
        left_out[0]
    );
}

#[test]
fn a_missing_or_cut_segment_is_told() {
    let (_parent, dir) = written(&plain_rows(30), options(10, 10));
    fs::remove_file(dir.join(sealed_name(0))).unwrap();
    let path = dir.join(sealed_name(1));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let (read, left_out) = read(&dir);
    assert_eq!(read, plain_rows(30)[20..]);
    assert_eq!(
        left_out,
        [
            "requests-00000.parquet: it is missing, with 10 rows",
            "requests-00001.parquet: the file is cut, or no Parquet",
        ]
    );
}

#[test]
fn files_are_for_their_owner_only() {
    let (_parent, dir) = written(&plain_rows(3), WriterOptions::default());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["manifest.json", "requests-00000.parquet"]);
}

#[test]
fn links_are_not_followed() {
    let (parent, dir) = written(&plain_rows(3), WriterOptions::default());
    let target = parent.path().join("target");
    fs::create_dir(&target).unwrap();
    let link = parent.path().join("link");
    symlink(&target, &link).unwrap();
    let manifest = Manifest::new(ContentKind::Recording, Timestamp(1));
    let error = Writer::create(&link, manifest, WriterOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::NotADirectory(_)), "{error}");

    let moved = parent.path().join("moved.parquet");
    fs::rename(dir.join(sealed_name(0)), &moved).unwrap();
    symlink(&moved, dir.join(sealed_name(0))).unwrap();
    let recording = Recording::open(&dir).unwrap();
    let rows: Vec<_> = recording.rows().unwrap().collect();
    assert!(matches!(rows[..], [Err(StoreError::Io { .. })]));
}

#[test]
fn a_directory_in_use_is_refused() {
    let (_parent, dir) = written(&plain_rows(3), WriterOptions::default());
    let create = |dir: &Path| {
        let manifest = Manifest::new(ContentKind::Recording, Timestamp(1));
        Writer::create(dir, manifest, WriterOptions::default()).unwrap_err()
    };
    let error = create(&dir);
    assert!(matches!(error, StoreError::NotEmpty(_)), "{error}");
    let error = create(&dir.join("none/monday.rec"));
    assert!(matches!(error, StoreError::NoParent(_)), "{error}");
}

#[test]
fn what_is_no_recording_or_too_new_is_refused() {
    let parent = tempdir().unwrap();
    let error = Recording::open(parent.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotARecording(_)), "{error}");

    let manifest = parent.path().join("manifest.json");
    fs::write(&manifest, r#"{"format": 2, "of": "tomorrow"}"#).unwrap();
    let error = Recording::open(parent.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::TooNew { format: 2, .. }),
        "{error}"
    );
}

#[test]
fn ticks_flush_and_rotate() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(
        &dir,
        WriterOptions {
            rotate_after: Some(Duration::from_secs(60)),
            ..WriterOptions::default()
        },
    );
    let start = Instant::now();
    let rows = plain_rows(2);
    writer.tick(start).unwrap();
    writer.push(&rows[0]).unwrap();
    writer.tick(start + Duration::from_millis(200)).unwrap();
    assert_eq!(read(&dir).0, []);
    writer.tick(start + Duration::from_millis(250)).unwrap();
    assert_eq!(read(&dir).0, rows[..1]);
    writer.push(&rows[1]).unwrap();
    writer.tick(start + Duration::from_secs(61)).unwrap();
    assert!(dir.join(open_name(1)).exists());
    assert_eq!(read(&dir).0, rows);
    assert_eq!(writer.finish().unwrap().segments.len(), 1);
    assert_eq!(read(&dir).0, rows);
}

fn leisurely() -> WriterOptions {
    WriterOptions {
        leisurely: true,
        ..options(2, 4)
    }
}

#[test]
fn what_waits_to_be_sealed_can_be_sealed_one_by_one() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(&dir, leisurely());
    let rows = plain_rows(41);
    for row in &rows {
        writer.push(row).unwrap();
    }
    // One may be with the thread that seals, and is no more to be taken from it.
    for left in (0..writer.unsealed()).rev() {
        writer.seal_oldest().unwrap();
        assert_eq!(writer.unsealed(), left);
    }
    writer.seal_oldest().unwrap();
    assert_eq!(read(&dir).0, rows[..40]);
    assert_eq!(writer.finish().unwrap().segments.len(), 11);
    assert_eq!(read(&dir).0, rows);
}

#[test]
fn sealing_waits_for_a_processor_to_spare() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(&dir, leisurely());
    let now = Instant::now();
    writer.tick(now).unwrap();
    writer.pretend_busy(true);
    let rows = plain_rows(20);
    for row in &rows {
        writer.push(row).unwrap();
    }
    writer.tick(now).unwrap();
    assert_eq!(writer.unsealed(), 5);
    writer.pretend_busy(false);
    writer.tick(now).unwrap();
    assert_eq!(writer.unsealed(), 4);
    assert_eq!(writer.finish().unwrap().segments.len(), 5);
    assert_eq!(read(&dir).0, rows);
}

#[test]
fn what_may_not_wait_is_sealed_when_the_process_is_busy() {
    let limited = WriterOptions {
        max_bytes: Some(1 << 30),
        ..leisurely()
    };
    let beside_server = WriterOptions {
        beside_server: true,
        ..leisurely()
    };
    for (options, most) in [(limited, 0), (beside_server, 4)] {
        let parent = tempdir().unwrap();
        let dir = parent.path().join("monday.rec");
        let mut writer = create(&dir, options);
        writer.pretend_busy(true);
        let rows = plain_rows(20);
        for row in &rows {
            writer.push(row).unwrap();
        }
        assert!(writer.unsealed() <= most);
        writer.finish().unwrap();
        assert_eq!(read(&dir).0, rows);
    }
}

#[test]
fn the_ledger_on_disk_is_some_seconds_old() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(&dir, WriterOptions::default());
    let start = Instant::now();
    writer.tick(start).unwrap();
    writer.manifest_mut().ledger.account_mut("packets").seen = 7;
    writer.tick(start + Duration::from_millis(1_999)).unwrap();
    let on_disk = || Recording::open(&dir).unwrap().manifest().ledger.clone();
    assert_eq!(on_disk(), Ledger::default());
    writer.tick(start + Duration::from_secs(2)).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while on_disk() == Ledger::default() {
        assert!(Instant::now() < patience, "it is not written");
        thread::yield_now();
    }
    assert_eq!(on_disk().account("packets").unwrap().seen, 7);
}

/// A request of an hour ends in a late segment, and comes first.
#[test]
fn late_rows_have_blocks_of_their_own() {
    let mut rows = plain_rows(40);
    let long = plain(9, 0, -5);
    rows.push(long.clone());
    let (_parent, dir) = written(&rows, options(4, 20));
    let recording = Recording::open(&dir).unwrap();
    let segments = &recording.manifest().segments;
    let rows_of: Vec<u64> = segments.iter().map(|segment| segment.rows).collect();
    assert_eq!(rows_of, [20, 20, 1]);
    assert_eq!(segments[2].first, Timestamp(-5));
    assert_eq!(read(&dir).0[0], long);
}

#[test]
fn few_rows_and_many_are_gathered_in_order() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.run");
    let options = WriterOptions::default();
    let mut writer = create(&dir, options);
    let mut seqs = 0..;
    let mut rows = Vec::new();
    for count in [1, 2, 0, 600, 3] {
        // A crash here leaves no row without those before it.
        let crashed = self::read(&dir).0;
        assert_eq!(crashed, rows[..crashed.len()]);
        let some: Vec<_> = seqs.by_ref().take(count).collect();
        let some = some.into_iter().map(|seq| plain(0, seq, i64::from(seq)));
        let mut batch = Batch::new(&options);
        for row in some {
            batch.push(&row).unwrap();
            rows.push(row);
        }
        writer.gather(batch).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(read(&dir), (rows, Vec::new()));
}

#[test]
fn the_directory_never_passes_its_limit() {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let limit = 1 << 20;
    let mut writer = create(
        &dir,
        WriterOptions {
            max_bytes: Some(limit),
            ..WriterOptions::default()
        },
    );
    let size = || -> u64 {
        let entries = fs::read_dir(&dir).unwrap();
        // What was listed may be renamed or removed meanwhile.
        let sizes = entries.filter_map(|entry| Some(entry.unwrap().metadata().ok()?.len()));
        sizes.sum()
    };
    let mut taken = 0;
    let refused = (0..100_000_u32).find_map(|seq| {
        let mut row = plain(0, seq, i64::from(seq));
        let noise = (0..64_u64)
            .map(|at| xxhash_rust::xxh3::xxh3_64(&(u64::from(seq) << 32 | at).to_le_bytes()));
        row.request.bytes = noise.flat_map(u64::to_le_bytes).collect();
        let pushed = writer.push(&row);
        assert!(size() <= limit);
        taken += usize::from(pushed.is_ok());
        pushed.err()
    });
    let refused = refused.unwrap();
    assert!(matches!(refused, StoreError::OverLimit { .. }), "{refused}");
    writer.finish().unwrap();
    assert!((limit / 2..limit).contains(&size()), "{}", size());
    let (rows, left_out) = read(&dir);
    assert_eq!((rows.len(), left_out), (taken, Vec::new()));
}
