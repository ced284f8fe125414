//! What is wrong is found, and what a crash left is tidied up without a row less.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::StoreError;
use super::files::{open_name, sealed_name};
use super::open::whole_batches;
use super::testing::plain;
use super::tests::{create, open, options, read, written};
use super::{Manifest, Recording, Verification, WriterOptions};
use crate::{ContentKind, Exchange, Kind, Ledger, Pacing, Status, Timestamp};

/// Two sessions in turn, whole but for their ends.
fn rows(count: u32) -> Vec<Exchange> {
    let row = |at: u32| plain(u64::from(at % 2), at / 2, i64::from(at) * 10);
    (0..count).map(row).collect()
}

fn verify(dir: &Path) -> Verification {
    Recording::verify(dir).unwrap()
}

fn problems(dir: &Path) -> Vec<String> {
    let found = verify(dir);
    found.damage.iter().map(ToString::to_string).collect()
}

fn edit_manifest(dir: &Path, edit: impl FnOnce(&mut Manifest)) {
    let path = dir.join("manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn what_was_written_is_sound() {
    let (_parent, dir) = written(&rows(30), options(4, 12));
    let found = verify(&dir);
    assert_eq!(problems(&dir), Vec::<String>::new());
    assert_eq!((found.rows, found.segments, found.complete), (30, 3, true));
    let bytes = |name: &str| fs::metadata(dir.join(name)).unwrap().len();
    let segments = (0..3).map(|number| bytes(&sealed_name(number)));
    assert_eq!(found.bytes, segments.sum::<u64>() + bytes("manifest.json"));

    let (_parent, dir) = open(&rows(6), 2);
    let found = verify(&dir);
    assert_eq!(problems(&dir), Vec::<String>::new());
    assert_eq!((found.rows, found.complete), (6, false));
}

#[test]
fn a_changed_byte_of_the_manifest_is_told() {
    let (_parent, dir) = written(&rows(6), options(4, 12));
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let told =
        "manifest.json: it is not as it was written, by its checksum: what it says may be wrong";
    let place = text.find("\"id\": \"").unwrap() + 7;
    for (byte, found) in [(place, vec![told]), (text.len() - 5, vec![told])] {
        let mut bytes = text.clone().into_bytes();
        bytes[byte] = if bytes[byte] == b'a' { b'b' } else { b'a' };
        fs::write(&path, bytes).unwrap();
        assert_eq!(problems(&dir), found);
        assert_eq!(verify(&dir).rows, 6);
    }
    fs::write(&path, text).unwrap();
    assert_eq!(problems(&dir), Vec::<String>::new());
}

#[test]
fn a_changed_byte_is_told_by_file_and_offset() {
    let (_parent, dir) = written(&rows(30), options(4, 12));
    let path = dir.join(sealed_name(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = verify(&dir);
    assert_eq!(found.rows, 18);
    assert_eq!(found.damage.len(), 1, "{:?}", found.damage);
    assert_eq!(found.damage[0].file, sealed_name(1));
    assert_eq!(found.damage[0].offset, Some(4));
    assert!(found.damage[0].problem.ends_with("its checksum is wrong"));
}

#[test]
fn a_missing_segment_is_told_also_after_a_repair() {
    let (_parent, dir) = written(&rows(30), options(4, 12));
    fs::remove_file(dir.join(sealed_name(0))).unwrap();
    let told = ["requests-00000.parquet: it is missing, with 12 rows"];
    assert_eq!(problems(&dir), told);
    assert_eq!(Recording::repair(&dir).unwrap(), Vec::<String>::new());
    assert_eq!(problems(&dir), told);
}

#[test]
fn the_manifest_must_say_what_the_segments_hold() {
    let (_parent, dir) = written(&rows(6), WriterOptions::default());
    edit_manifest(&dir, |manifest| {
        manifest.segments[0].rows = 7;
        manifest.segments[0].last.0 = 51;
        let packets = manifest.ledger.account_mut("packets");
        packets.seen = 5;
        packets.kept = 4;
        let requests = manifest.ledger.account_mut("requests");
        requests.seen = 5;
        requests.kept = 5;
    });
    assert_eq!(
        problems(&dir),
        [
            "requests-00000.parquet: the manifest says rows 7, and it is 6",
            "requests-00000.parquet: the manifest says last 51, and it is 50",
            "manifest.json: the ledger's packets do not balance: 5 seen, 4 kept, 0 lost",
            "manifest.json: the ledger has 5 requests kept of 5 seen, and there are 6 rows of requests",
        ]
    );
}

#[test]
fn a_row_that_is_not_there_is_missed() {
    let mut rows = rows(12);
    let mut end = plain(1, 6, 200);
    end.kind = Kind::Close;
    rows.push(end);
    rows.remove(4);
    let (_parent, dir) = written(&rows, options(2, 4));
    assert_eq!(
        problems(&dir),
        [".: rows are missing in 1 sessions: session 0 has 5 rows and goes up to seq 5"]
    );
}

#[test]
fn what_others_may_read_is_told_and_closed() {
    let (_parent, dir) = written(&rows(6), WriterOptions::default());
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.join("manifest.json"), Permissions::from_mode(0o640)).unwrap();
    let told = [
        ".: its permissions are 0755, and should be 0700",
        "manifest.json: its permissions are 0640, and should be 0600",
    ];
    assert_eq!(problems(&dir), told);
    assert_eq!(Recording::repair(&dir).unwrap().len(), 2);
    assert!(verify(&dir).is_sound());
}

#[test]
fn a_torn_segment_is_sealed() {
    let rows = rows(8);
    for torn in [0, 1] {
        let (_parent, dir) = open(&rows, 2);
        let path = dir.join(open_name(0));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - torn]).unwrap();
        let whole = rows.len() - 2 * torn;
        let end = whole_batches(&bytes)[whole / 2 - 1] as u64;
        let found = verify(&dir);
        assert_eq!(found.damage.len(), torn);
        assert!(found.damage.iter().all(|it| it.offset == Some(end)));

        assert_eq!(
            Recording::repair(&dir).unwrap(),
            [
                format!("open-00000.arrows: sealed as requests-00000.parquet, with {whole} rows"),
                "manifest.json: the ledger's requests are counted by their rows".to_owned(),
            ]
        );
        let found = verify(&dir);
        assert!(found.is_sound() && !found.complete, "{found:?}");
        assert_eq!(read(&dir), (rows[..whole].to_vec(), Vec::new()));
        assert!(!path.exists());
        assert_eq!(Recording::repair(&dir).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn what_is_left_over_is_removed_once_it_is_needless() {
    let rows = rows(8);
    let (_before, before) = open(&rows, 2);
    let (_parent, dir) = written(&rows, options(2, usize::MAX));
    let leave = || fs::copy(before.join(open_name(0)), dir.join(open_name(0))).unwrap();
    leave();
    fs::write(dir.join("requests-00000.parquet.part"), "half").unwrap();
    fs::write(dir.join("notes.txt.part"), "not ours").unwrap();
    let aside = dir.join("requests-00000.parquet.part");
    fs::set_permissions(aside, Permissions::from_mode(0o600)).unwrap();
    let found = verify(&dir);
    assert!(found.is_sound(), "{found:?}");
    let left_over = ["open-00000.arrows", "requests-00000.parquet.part"];
    assert_eq!(found.left_over, left_over);
    assert_eq!(Recording::repair(&dir).unwrap().len(), 2);
    assert!(dir.join("notes.txt.part").exists());
    assert_eq!(read(&dir), (rows, Vec::new()));

    // The sealed form is damaged: the open one is the only copy.
    leave();
    let path = dir.join(sealed_name(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    Recording::repair(&dir).unwrap();
    assert!(dir.join(open_name(0)).exists());
}

#[test]
fn a_lost_manifest_is_written_anew() {
    let (_parent, dir) = written(&rows(8), options(2, 4));
    fs::write(dir.join("manifest.json"), "{").unwrap();
    assert_eq!(problems(&dir).len(), 1);
    let done = Recording::repair(&dir).unwrap();
    assert_eq!(
        done,
        [
            "manifest.json: written anew",
            "manifest.json: the ledger's requests are counted by their rows"
        ]
    );
    let found = verify(&dir);
    assert!(found.is_sound() && !found.complete, "{found:?}");
    assert_eq!(read(&dir), (rows(8), Vec::new()));
}

#[test]
fn a_run_that_lost_its_manifest_is_a_run() {
    let mut rows = rows(8);
    let at = rows[5].started_at;
    rows[5].pacing = Some(Pacing {
        intended_at: at,
        ready_at: at,
        sent_at: at,
    });
    let (_parent, dir) = written(&rows, options(2, 4));
    fs::remove_file(dir.join("manifest.json")).unwrap();
    Recording::repair(&dir).unwrap();
    let recording = Recording::open(&dir).unwrap();
    assert_eq!(recording.manifest().kind, ContentKind::Run);
}

/// Of what was captured after the manifest was written, only rows tell.
#[test]
fn requests_are_counted_again_after_a_crash() {
    let mut rows = rows(8);
    rows[1].status = Status::Unanswered;
    rows[1].reason = Some("gap".into());
    let (_parent, dir) = open(&rows, 2);
    edit_manifest(&dir, |manifest| {
        let requests = manifest.ledger.account_mut("requests");
        (requests.seen, requests.kept) = (4, 1);
        requests.lose("row too large", 1);
        requests.lose(Ledger::UNDER_WAY, 2);
        let packets = manifest.ledger.account_mut("packets");
        (packets.seen, packets.kept) = (9, 7);
        packets.lose(Ledger::UNDER_WAY, 2);
        manifest.ledger_at = Some(Timestamp(0));
    });
    let done = Recording::repair(&dir).unwrap();
    let told = "manifest.json: the ledger's requests are counted by their rows; its other accounts are as of 1970-01-01";
    assert!(done[1].starts_with(told), "{done:?}");
    let recording = Recording::open(&dir).unwrap();
    let ledger = &recording.manifest().ledger;
    assert!(ledger.balanced(), "{ledger:?}");
    let asked = rows.iter().filter(|row| row.kind == Kind::Request).count() as u64;
    let account = |name: &str| {
        let account = ledger.account(name).unwrap();
        let lost = account
            .lost
            .iter()
            .map(|(reason, it)| (reason.as_str(), *it));
        (account.seen, account.kept, lost.collect::<Vec<_>>())
    };
    let lost = vec![("gap", 1), ("row too large", 1)];
    assert_eq!(account("requests"), (asked + 1, asked - 1, lost));
    assert_eq!(account("packets"), (9, 7, vec![("cut off", 2)]));
}

#[test]
fn what_is_being_written_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("monday.rec");
    let mut writer = create(&dir, options(2, 4));
    for row in rows(7) {
        writer.push(&row).unwrap();
    }
    let error = Recording::repair(&dir).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    let found = verify(&dir);
    assert!(found.being_written && found.is_sound(), "{found:?}");
    assert_eq!(found.rows, 6);
    writer.finish().unwrap();
    let found = verify(&dir);
    assert!(!found.being_written && found.is_sound(), "{found:?}");
}
