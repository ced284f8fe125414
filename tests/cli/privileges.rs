//! What a capture may do once it runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::harness::Capture;

fn id(of: &[&str]) -> u32 {
    let output = Command::new("id").arg("-u").args(of).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap()
}

fn of_nobody(recording: &Path, nobody: u32) {
    for file in fs::read_dir(recording).unwrap() {
        let file = file.unwrap();
        let found = file.metadata().unwrap();
        assert_eq!(
            (found.uid(), found.mode() & 0o777),
            (nobody, 0o600),
            "{file:?}"
        );
    }
    let found = fs::metadata(recording).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (nobody, 0o700));
}

#[test]
fn root_is_dropped_before_a_packet_is_read() {
    if id(&[]) != 0 {
        println!("skipped: only root can become another user");
        return;
    }
    let nobody = id(&["nobody"]);
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let recording = dir.path().join("nobody.rec");
    let Some(capture) = Capture::start_with(1, &recording, &["--user", "nobody"]) else {
        return;
    };
    let process = Path::new("/proc").join(capture.id().to_string());
    let status = fs::read_to_string(process.join("status")).unwrap();
    let is = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(is("Uid:"), [nobody.to_string().as_str(); 4]);
    assert_eq!(is("NoNewPrivs:"), ["1"]);
    assert_eq!(is("CapEff:"), ["0000000000000000"]);
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.contains("core file"))
        .unwrap();
    assert!(
        core.split_whitespace().filter(|it| *it == "0").count() == 2,
        "{core}"
    );
    of_nobody(&recording, nobody);
    capture.stop();
    of_nobody(&recording, nobody);
}
