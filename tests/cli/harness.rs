use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub fn rehearsal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehearsal"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("PGPASSWORD").env_remove("REHEARSAL_LOG");
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
