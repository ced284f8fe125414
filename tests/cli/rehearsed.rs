//! A whole rehearsal of two real versions, whatever they speak: what their tests have in common.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Capture, inspect, rehearsal, run};
use crate::servers::root;

/// What is known of two versions: a `changed.toml`.
pub fn truth<T: DeserializeOwned>(path: &str) -> T {
    let text = fs::read_to_string(root().join(path)).unwrap();
    toml::from_str(&text).unwrap()
}

/// The folder of a rehearsal: `monday.rec`, `monday.dump`, and `runs` when it is done.
pub struct Monday(TempDir);

impl Monday {
    pub fn new() -> Monday {
        Monday(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Keeps a database as it is before the day.
    pub fn dump(&self, database: &str) -> PathBuf {
        let dump = self.path("monday.dump");
        let mut command = Command::new("pg_dump");
        command.args(["--format", "custom", "--file"]).arg(&dump);
        succeed(command.arg(database));
        dump
    }

    /// Records what the clients say, which is everything that is said on the port. `None`, and why,
    /// where this user may not listen.
    pub fn record(&self, port: impl Display, clients: &mut Command) -> Option<()> {
        let recording = self.path("monday.rec");
        let capture = Capture::start(port, &recording)?;
        succeed(clients);
        capture.stop();
        let recorded = inspect(&recording);
        assert_eq!(recorded["protocol_violations"], 0, "{recorded:#}");
        assert_eq!(recorded["notes"]["mid-stream"], Value::Null, "{recorded:#}");
        Some(())
    }

    /// Rehearses by a plan whose gate fails: the report. Each side is a target, and the command that
    /// restores it.
    pub fn rehearse(&self, sides: [(String, String); 2], more: &str) -> Value {
        let mut plan = "recording = \"monday.rec\"\noutput = \"runs\"\n".to_owned();
        for (name, (target, restore)) in ["old", "new"].into_iter().zip(sides) {
            plan += &format!("[{name}]\ntarget = \"{target}\"\nrestore = \"{restore}\"\n");
        }
        let file = self.path("plan.toml");
        fs::write(&file, plan + more).unwrap();
        run(rehearsal().args(["run", "--quiet"]).arg(&file), 3);
        let report = fs::read(self.path("runs/report.json")).unwrap();
        serde_json::from_slice(&report).unwrap()
    }

    /// Compares two directories by a gate that fails at any difference: the report.
    pub fn compare(&self, old: &str, new: &str, more: &[&str], code: i32) -> Value {
        let mut compare = rehearsal();
        compare.current_dir(self.0.path());
        compare
            .args(["compare", old, new, "--json", "-"])
            .args(more);
        let compared = run(compare.args(["--fail-on", "differences > 0"]), code);
        serde_json::from_slice(&compared.stdout).unwrap()
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
