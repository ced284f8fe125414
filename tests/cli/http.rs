//! The second protocol's main job: a web application's version 1 is recorded under real clients, and
//! rehearsed on versions 1 and 2.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Capture, inspect, rehearsal, run};
use crate::servers::{Library, Server, root, script};

/// What is known of the two versions: `tests/http-app/changed.toml`.
#[derive(Deserialize)]
struct Truth {
    changed: Vec<Difference>,
    noise: Vec<Difference>,
    slower: Vec<Slower>,
}

#[derive(Deserialize)]
struct Difference {
    request: String,
    kind: String,
    places: Vec<String>,
}

#[derive(Deserialize)]
struct Slower {
    request: String,
}

#[test]
fn a_new_version_of_an_application_shows_what_changed_and_nothing_else() {
    if !Library::setup() {
        return;
    }
    let Some(databases) = Server::postgres(15, "libraries") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (recording, dump) = (path("monday.rec"), path("library.dump"));
    let production = databases.load_library("production", None);
    let dumped = Command::new("pg_dump")
        .args(["--format", "custom", "--file"])
        .arg(&dump)
        .arg(&production)
        .status();
    assert!(dumped.unwrap().success());
    let application = Library::start(1, &production);
    let Some(capture) = Capture::start(format!("http:{}", application.port()), &recording) else {
        return;
    };
    let mut traffic = script("tests/http-app/traffic.py");
    let traffic = traffic
        .args([&application.url, "--duration", "10"])
        .output();
    let traffic = traffic.unwrap();
    assert!(
        traffic.status.success(),
        "{}",
        String::from_utf8_lossy(&traffic.stderr)
    );
    capture.stop();
    let recorded = inspect(&recording);
    assert_eq!(recorded["protocol_violations"], 0, "{recorded:#}");
    assert_eq!(recorded["notes"]["mid-stream"], Value::Null, "{recorded:#}");

    let [old_run, noise_run, new_run] = ["old", "old-again", "new"].map(path);
    for (version, database, runs) in [
        (1, "old", vec![&old_run, &noise_run]),
        (2, "new", vec![&new_run]),
    ] {
        let restored = databases.load_library(database, Some(&dump));
        let application = Library::start(version, &restored);
        for run in runs {
            databases.load_library(database, Some(&dump));
            replay(&recording, &application.url, run);
        }
    }

    let truth = fs::read_to_string(root().join("tests/http-app/changed.toml")).unwrap();
    let truth: Truth = toml::from_str(&truth).unwrap();
    let report = path("report.json");
    let mut changed = compare(&old_run, &new_run);
    changed.arg("--noise").arg(&noise_run);
    changed.args([
        "--fail-on",
        "differences > 0 or fingerprint.p50 > 1.3x + 20ms",
    ]);
    run(changed.arg("--json").arg(&report), 3);
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(
        found(&report["groups"]),
        known(&truth.changed),
        "{report:#}"
    );
    assert_eq!(found(&report["noise"]), known(&truth.noise), "{report:#}");
    assert_eq!(report["requests"]["missing"], 0, "{report:#}");
    let slower: BTreeSet<&str> = truth.slower.iter().map(|one| &*one.request).collect();
    assert_eq!(told_slower(&report), slower, "{report:#}");

    // What production answered, sessions and all, differs from the same version by noise alone.
    let mut same = compare(&recording, &old_run);
    let same = run(
        same.args(["--fail-on", "differences > 0", "--json", "-"]),
        3,
    );
    let same: Value = serde_json::from_slice(&same.stdout).unwrap();
    assert_eq!(found(&same["groups"]), known(&truth.noise), "{same:#}");
}

/// Everything is sent and answered, the later requests of a session with its new cookie.
fn replay(recording: &Path, target: &str, output: &Path) {
    let mut replay = rehearsal();
    replay.args([
        "replay",
        "--quiet",
        "--json",
        "--allow-writes",
        "--target",
        target,
    ]);
    let told = run(replay.arg(recording).arg("-o").arg(output), 0);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let requests = &told["ledger"]["requests"];
    assert_eq!(requests["seen"], requests["kept"], "{told:#}");
    let mut notes = told["notes"].as_array().unwrap().iter();
    assert!(
        notes.any(|note| note.as_str().unwrap().contains("cookies mapped")),
        "{told:#}"
    );
}

fn compare(old: &Path, new: &Path) -> Command {
    let mut compare = rehearsal();
    compare.arg("compare").arg(old).arg(new);
    compare
}

type Place = (String, String, String);

/// Request, kind and place of each difference.
fn known(differences: &[Difference]) -> BTreeSet<Place> {
    differences
        .iter()
        .flat_map(|one| {
            one.places
                .iter()
                .map(|place| (one.request.clone(), one.kind.clone(), settled(place)))
        })
        .collect()
}

fn found(groups: &Value) -> BTreeSet<Place> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let groups = groups.as_array().unwrap().iter();
    groups
        .flat_map(|group| {
            let places = group["places"].as_object().unwrap().keys();
            places.map(|place| {
                (
                    text(&group["statement"]),
                    text(&group["kind"]),
                    settled(place),
                )
            })
        })
        .collect()
}

/// Which line of a list differs first hangs on how many entries other clients had made by then.
fn settled(place: &str) -> String {
    let line = place.split(' ').next().filter(|word| *word == "line");
    line.unwrap_or(place).to_owned()
}

fn told_slower(report: &Value) -> BTreeSet<&str> {
    let fingerprints = report["latency"]["fingerprints"].as_array().unwrap();
    fingerprints
        .iter()
        .filter(|one| !one["slower"].as_array().unwrap().is_empty())
        .map(|one| one["statement"].as_str().unwrap())
        .collect()
}
