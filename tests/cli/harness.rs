use std::env;
use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub fn rehearsal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehearsal"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("PGPASSWORD").env_remove("REHEARSAL_LOG");
    command.env_remove("COLUMNS");
    command
}

/// Runs it and insists on the exit code.
pub fn run(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n--- stdout\n{}\n--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Records a capture file and returns what `inspect --json` says of it.
pub fn record(pcap: &Path, ports: &[u16], recording: &Path) -> Value {
    let mut capture = rehearsal();
    capture.args(["capture", "--read"]).arg(pcap);
    for port in ports {
        capture.args(["-p", &port.to_string()]);
    }
    run(capture.arg("-o").arg(recording), 0);
    inspect(recording)
}

pub fn inspect(recording: &Path) -> Value {
    let output = run(rehearsal().arg("inspect").arg(recording).arg("--json"), 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Captures that others made lie beside the project, where they are at all.
pub fn traces() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    let traces = env::var_os("REHEARSAL_TRACES").map_or(beside, PathBuf::from);
    traces.is_dir().then_some(traces)
}

pub fn psql(url: &str, sql: &str) {
    let asked = Command::new("psql")
        .args(["-qAtX", url, "-c", sql])
        .output();
    let asked = asked.unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
}

/// A capture of the loopback; killed with the value.
pub struct Capture(Child);

impl Capture {
    /// `None`, and why, where this user may not listen.
    pub fn start(port: impl Display, recording: &Path) -> Option<Capture> {
        Capture::start_with(port, recording, &[])
    }

    pub fn start_with(port: impl Display, recording: &Path, more: &[&str]) -> Option<Capture> {
        let mut command = rehearsal();
        command.args([
            "capture",
            "--quiet",
            "-i",
            "lo",
            "-p",
            &port.to_string(),
            "-o",
        ]);
        let mut child = command
            .arg(recording)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        while !recording.join("manifest.json").exists() {
            if child.try_wait().unwrap().is_some() {
                let output = child.wait_with_output().unwrap();
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(told.contains("cap_net_raw"), "{told}");
                println!("skipped: {told}");
                return None;
            }
            assert!(Instant::now() < patience, "the capture does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Some(Capture(child))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as its user would, insists that it ended well, and returns what it told.
    pub fn stop(mut self) -> String {
        let told = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(told.unwrap().success());
        let mut told = String::new();
        let mut stderr = self.0.stderr.take().unwrap();
        stderr.read_to_string(&mut told).unwrap();
        assert!(self.0.wait().unwrap().success(), "{told}");
        told
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
