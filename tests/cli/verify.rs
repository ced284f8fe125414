//! `rehearsal verify` on the recordings that version 1 of the format wrote.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{rehearsal, run};
use crate::servers::root;

/// A copy of a case, closed to others as a recording is: version control does not keep that.
fn case(name: &str, parent: &Path) -> PathBuf {
    let dir = parent.join(name);
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(root().join("tests/cases/format-v1").join(name)).unwrap() {
        let entry = entry.unwrap();
        let copy = dir.join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        fs::set_permissions(copy, Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    dir
}

#[test]
fn tells_what_is_wrong_and_repairs_what_is_torn() {
    let parent = tempfile::tempdir().unwrap();
    let monday = case("monday.rec", parent.path());
    let crashed = case("crashed.rec", parent.path());
    let mut printed = String::new();
    let mut verify = |dir: &Path, flags: &[&str], code: i32| {
        let output = run(rehearsal().arg("verify").arg(dir).args(flags), code);
        printed += &String::from_utf8_lossy(&output.stdout);
        printed += &format!("exit {code}\n\n");
    };
    verify(&monday, &[], 0);
    verify(&crashed, &[], 1);
    verify(&crashed, &["--repair"], 0);
    verify(&crashed, &[], 0);

    let segment = monday.join("requests-00000.parquet");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::set_permissions(&monday, Permissions::from_mode(0o755)).unwrap();
    verify(&monday, &[], 1);
    run(rehearsal().arg("inspect").arg(&crashed), 0);
    let damaged = run(rehearsal().arg("inspect").arg(&monday), 1);
    let damaged = String::from_utf8(damaged.stdout).unwrap();
    let (_, told) = damaged.split_once("left out: ").unwrap();
    assert!(told.starts_with("requests-00000.parquet"), "{told}");
    let here = parent.path().display().to_string();
    insta::assert_snapshot!(printed.replace(&here, "HERE"));

    let output = run(rehearsal().args(["verify", "--json"]).arg(&monday), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sound"], Value::Bool(false));
    assert_eq!(report["rows"], 0);
    assert_eq!(report["damage"][0]["file"], "requests-00000.parquet");
    assert_eq!(report["damage"][0]["offset"], 4);
}
