//! The main job on real servers: production on 13 is recorded, and rehearsed on 13 and on 18.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Capture, inspect, rehearsal, run};
use crate::servers::{Server, python, root};

/// What is known of the traffic: `tests/workload/changed.toml`.
#[derive(Deserialize)]
struct Truth {
    changed: Vec<Changed>,
    noise: Vec<Noise>,
}

#[derive(Deserialize)]
struct Changed {
    sql: String,
    kinds: Vec<String>,
}

#[derive(Deserialize)]
struct Noise {
    name: String,
    sql: String,
}

#[test]
fn an_upgrade_shows_what_changed_and_nothing_else() {
    let (Some(production), Some(old), Some(new)) = (
        Server::postgres(13, "production"),
        Server::postgres(13, "old"),
        Server::postgres(18, "new"),
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("monday.rec");
    let dump = dir.path().join("shop.dump");
    let shop = production.load(None);
    let dumped = Command::new("pg_dump")
        .args(["--format", "custom", "--file"])
        .arg(&dump)
        .arg(&shop)
        .status();
    assert!(dumped.unwrap().success());

    let Some(capture) = Capture::start(production.port(), &recording) else {
        return;
    };
    let mut traffic = python();
    traffic.args(["tests/workload/traffic.py", &shop, "--duration", "8"]);
    let traffic = traffic.output().unwrap();
    assert!(
        traffic.status.success(),
        "{}",
        String::from_utf8_lossy(&traffic.stderr)
    );
    capture.stop();
    let recorded = inspect(&recording);
    assert_eq!(recorded["protocol_violations"], 0, "{recorded:#}");
    assert_eq!(recorded["notes"]["mid-stream"], Value::Null, "{recorded:#}");

    let plan = dir.path().join("plan.toml");
    fs::write(&plan, plan_of(&old, &new, &dump)).unwrap();
    run(rehearsal().args(["run", "--quiet"]).arg(&plan), 3);

    let truth = fs::read_to_string(root().join("tests/workload/changed.toml")).unwrap();
    let truth: Truth = toml::from_str(&truth).unwrap();
    let report = fs::read(dir.path().join("runs/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let expected: BTreeSet<(String, String)> = truth
        .changed
        .iter()
        .flat_map(|one| {
            one.kinds
                .iter()
                .map(|kind| (one_line(&one.sql), kind.clone()))
        })
        .collect();
    assert_eq!(differing(&report["groups"]), expected, "{report:#}");
    assert_eq!(report["requests"]["missing"], 0);
    let noise = report["noise"].as_array().unwrap();
    assert!(
        noise.len() >= truth.noise.len(),
        "each of {:?} makes noise: {noise:#?}",
        truth.noise.iter().map(|one| &one.name).collect::<Vec<_>>()
    );

    // The same version against itself: nothing differs.
    let [first, second, third] =
        ["runs/old", "runs/old-again", "third"].map(|run| dir.path().join(run));
    let target = old.load(Some(&dump));
    let mut replay = rehearsal();
    replay
        .args(["replay", "--quiet", "--target", &target])
        .arg(&recording);
    run(replay.arg("-o").arg(&third), 0);
    let mut compare = rehearsal();
    compare
        .arg("compare")
        .arg(&first)
        .arg(&third)
        .arg("--noise")
        .arg(&second);
    run(compare.args(["--fail-on", "differences > 0"]), 0);

    // Against what production answered: what differs is what always does.
    let mut compare = rehearsal();
    compare.arg("compare").arg(&recording).arg(&third);
    let compared = run(
        compare.args(["--fail-on", "differences > 0", "--json", "-"]),
        3,
    );
    let compared: Value = serde_json::from_slice(&compared.stdout).unwrap();
    let noise: BTreeSet<(String, String)> = truth
        .noise
        .iter()
        .map(|one| (one_line(&one.sql), "values".to_owned()))
        .collect();
    assert_eq!(differing(&compared["groups"]), noise, "{compared:#}");
}

fn plan_of(old: &Server, new: &Server, dump: &Path) -> String {
    let side = |name: &str, server: &Server| {
        let load = root().join("tests/workload/load");
        format!(
            "[{name}]\ntarget = \"postgresql://shop:rehearsal@127.0.0.1:{}/shop\"\nrestore = \"'{}' '{}' '{}'\"\n",
            server.port(),
            load.display(),
            server.url,
            dump.display()
        )
    };
    format!(
        "recording = \"monday.rec\"\noutput = \"runs\"\n{}{}[gate]\nfail-on = \"differences > 0\"\n",
        side("old", old),
        side("new", new)
    )
}

/// Statements that the report names, each with the kind of its difference.
fn differing(groups: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for group in groups.as_array().unwrap() {
        let kind = match group["kind"].as_str().unwrap() {
            "order only" => "order".to_owned(),
            kind => kind.replace(' ', "-"),
        };
        for example in group["examples"].as_array().unwrap() {
            let statement = one_line(example["statement"].as_str().unwrap());
            found.insert((statement, kind.clone()));
        }
    }
    found
}

fn one_line(sql: &str) -> String {
    let words: Vec<&str> = sql
        .trim()
        .trim_end_matches(';')
        .split_whitespace()
        .collect();
    words.join(" ")
}
