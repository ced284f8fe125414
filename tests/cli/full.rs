//! What is done where the disk, the room that was given, or where warnings go, is full.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use recording::Recording;
use serde_json::Value;

use crate::harness::{inspect, rehearsal, run};
use crate::packets::Talk;

const REQUESTS: u64 = 1_500;

/// 12 MB of statements that do not compress well.
fn packets(parent: &Path) -> PathBuf {
    let path = parent.join("much.pcap");
    let mut talk = Talk::start(BufWriter::new(File::create(&path).unwrap())).unwrap();
    let chance = RandomState::new();
    for number in 0..REQUESTS {
        let words = (0..500).map(|at| format!("{:016x}", chance.hash_one((number, at))));
        talk.ask(&format!("SELECT '{}'", words.collect::<String>()))
            .unwrap();
    }
    path
}

fn capture(pcap: &Path, recording: &Path) -> Command {
    let mut command = rehearsal();
    command.args(["capture", "--quiet", "-p", "5432", "--read"]);
    command.arg(pcap).arg("-o").arg(recording);
    command
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|it| it.unwrap().metadata().unwrap().len())
        .sum()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_standard_output_is_named() {
    let mut inspect = rehearsal();
    inspect.args(["inspect", "tests/cases/format-v1/monday.rec"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = run(inspect.stdout(full), 1);
    assert!(stderr(&output).contains("standard output"), "{output:?}");
}

#[test]
fn a_recording_does_not_pass_max_disk() {
    let parent = tempfile::tempdir().unwrap();
    let pcap = packets(parent.path());
    let recording = parent.path().join("little.rec");
    let output = run(capture(&pcap, &recording).args(["--max-disk", "4MiB"]), 1);
    assert!(stderr(&output).contains("--max-disk"), "{output:?}");
    assert!(size(&recording) <= 4 << 20);
    let left = inspect(&recording);
    let kept = left["requests"].as_u64().unwrap();
    assert!((1..REQUESTS).contains(&kept), "{left:#}");
    let found = Recording::verify(&recording).unwrap();
    assert!(found.is_sound() && found.complete, "{found:?}");
    let opened = Recording::open(&recording).unwrap();
    let requests = opened.manifest().ledger.account("requests").unwrap();
    assert_eq!((requests.seen, requests.kept), (REQUESTS, kept));
    assert_eq!(requests.lost["over --max-disk"], REQUESTS - kept);
}

/// What was written before stays readable, and is repaired where there is room.
fn ended_loudly(output: &Output, recording: &Path, why: &str) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("failed to write") && told.contains(why),
        "{told}"
    );
    // What the last write could not finish is told too.
    let inspected = run(rehearsal().args(["inspect", "--json"]).arg(recording), 1);
    let left: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let torn = left["left_out"][0].as_str().unwrap();
    assert!(torn.starts_with("open-"), "{torn}");
    let kept = left["requests"].as_u64().unwrap();
    assert!((1..REQUESTS).contains(&kept), "{kept} requests");
}

#[test]
fn a_file_that_may_not_grow_ends_the_capture() {
    let parent = tempfile::tempdir().unwrap();
    let pcap = packets(parent.path());
    let recording = parent.path().join("limited.rec");
    let limited = capture(&pcap, &recording);
    // 6 MiB a file, in blocks of 512 bytes; an error and not a signal.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 12288; exec \"$@\"", "sh"])
        .arg(limited.get_program())
        .args(limited.get_args())
        .output()
        .unwrap();
    ended_loudly(&output, &recording, "File too large");
    Recording::repair(&recording).unwrap();
    assert!(Recording::verify(&recording).unwrap().is_sound());
}

#[test]
fn a_full_disk_ends_the_capture() {
    let parent = tempfile::tempdir().unwrap();
    let pcap = packets(parent.path());
    let disk = parent.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]);
    if !mount
        .arg(&disk)
        .output()
        .is_ok_and(|it| it.status.success())
    {
        println!("skipped: a_full_disk_ends_the_capture: this user may not mount");
        return;
    }
    let mounted = Mounted(&disk);
    let recording = disk.join("full.rec");
    let output = capture(&pcap, &recording).output().unwrap();
    ended_loudly(&output, &recording, "No space left");
    drop(mounted);
}

/// Neither a warning on the way nor the account at the end.
#[test]
fn a_full_standard_error_ends_nothing() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        println!("skipped: a_full_standard_error_ends_nothing: this system has no /dev/full");
        return;
    };
    let parent = tempfile::tempdir().unwrap();
    let mut packets = Vec::new();
    Talk::start(&mut packets).unwrap();
    // A link type that is not read, which is warned of.
    packets[20..24].copy_from_slice(&239_u32.to_ne_bytes());
    let (head, records) = packets.split_at(24);
    let recording = parent.path().join("unheard.rec");
    let mut capture = rehearsal();
    capture.args(["capture", "-p", "5432", "--read", "-", "-o"]);
    let mut capture = capture
        .arg(&recording)
        .stdin(Stdio::piped())
        .stderr(full)
        .spawn()
        .unwrap();
    let mut packets = capture.stdin.take().unwrap();
    packets.write_all(head).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    // Whoever writes the loss down tells it next.
    while !fs::read_to_string(recording.join("manifest.json")).is_ok_and(|it| it.contains("NFLOG"))
        && Instant::now() < patience
    {
        packets.write_all(records).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    drop(packets);
    let ended = loop {
        let ended = capture.try_wait().unwrap();
        if ended.is_some() || Instant::now() > patience {
            break ended;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let _ = capture.kill();
    let ended = ended.expect("the capture hangs");
    assert_eq!(ended.code(), Some(0));
    let found = Recording::verify(&recording).unwrap();
    assert!(found.is_sound() && found.complete, "{found:?}");
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}
