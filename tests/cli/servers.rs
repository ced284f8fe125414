//! Real servers, started by the project's own script and stopped with the value.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub struct Server {
    name: String,
    /// Of the superuser.
    pub url: String,
}

impl Server {
    /// PostgreSQL of that major with nothing in it. `None` where the machine can't start one: the
    /// reason is printed.
    pub fn postgres(major: u32, name: &str) -> Option<Server> {
        let name = format!("test-{name}-{}", std::process::id());
        let started = script("scripts/servers")
            .args(["start", "postgres", &major.to_string(), "--name", &name])
            .output()
            .unwrap();
        if !started.status.success() {
            println!(
                "skipped: no PostgreSQL {major}: {}",
                String::from_utf8_lossy(&started.stderr)
            );
            return None;
        }
        let server = Server {
            name,
            url: last_line(&started),
        };
        Some(server)
    }

    /// Puts the shop onto it, from a dump where there is one; the URL of its owner.
    pub fn load(&self, dump: Option<&Path>) -> String {
        printed(script("tests/workload/load").arg(&self.url).args(dump))
    }

    /// Puts the library into a database of its own, likewise; the database's URL.
    pub fn load_library(&self, database: &str, dump: Option<&Path>) -> String {
        let mut load = script("tests/http-app/load");
        printed(load.args([&self.url, database]).args(dump))
    }

    pub fn port(&self) -> u16 {
        let (_, rest) = self.url.rsplit_once(':').unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = script("scripts/servers")
            .args(["stop", "postgres", &self.name, "--remove"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !std::thread::panicking() {
            assert!(stopped.unwrap().success(), "{} does not stop", self.name);
        }
    }
}

/// The library of `tests/http-app`, behind its nginx.
pub struct Library {
    name: String,
    pub url: String,
}

impl Library {
    /// Installs what it and its clients need. `false`, and why, where that can't be had.
    pub fn setup() -> bool {
        let ready = script("scripts/http-app").arg("setup").output().unwrap();
        if !ready.status.success() {
            let told = String::from_utf8_lossy(&ready.stderr);
            println!("skipped: no nginx, curl, chromium, wrk or waitress: {told}");
        }
        ready.status.success()
    }

    pub fn start(version: u32, database: &str) -> Library {
        let name = format!("test-{}-{}", database_name(database), std::process::id());
        let mut start = script("scripts/http-app");
        start.args(["start", "--version", &version.to_string()]);
        start.args(["--name", &name, "--database", database]);
        let url = printed(&mut start);
        Library { name, url }
    }

    pub fn port(&self) -> u16 {
        let (_, port) = self.url.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let mut stop = script("scripts/http-app");
        let stopped = stop.args(["stop", &self.name]).output().unwrap();
        if !std::thread::panicking() {
            assert!(stopped.status.success(), "{} does not stop", self.name);
        }
    }
}

fn database_name(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the project's own.
pub fn script(path: &str) -> Command {
    let mut command = Command::new(root().join(path));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The Python of `scripts/setup`, with the clients' packages.
pub fn python() -> Command {
    let printed = Command::new("bash")
        .args(["-c", "source scripts/lib.sh && echo \"$python\""])
        .current_dir(root())
        .output()
        .unwrap();
    let mut command = Command::new(last_line(&printed));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs it to its good end; the last line that it prints.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    last_line(&output)
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim_end().lines().last().unwrap_or("").to_owned()
}
