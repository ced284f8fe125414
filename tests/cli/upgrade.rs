//! The main job on real servers: production on 13 is recorded, and rehearsed on 13 and on 18.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{rehearsal, run};
use crate::rehearsed::{Monday, truth};
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
    let monday = Monday::new();
    let shop = production.load(None);
    let dump = monday.dump(&shop);
    let mut traffic = python();
    traffic.args(["tests/workload/traffic.py", &shop, "--duration", "8"]);
    let Some(()) = monday.record(production.port(), &mut traffic) else {
        return;
    };
    let sides = [&old, &new].map(|server| side(server, &dump));
    let gate = "[gate]\nfail-on = \"differences > 0\"\n";
    let report = monday.rehearse(sides, gate);

    let truth: Truth = truth("tests/workload/changed.toml");
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
    let target = old.load(Some(&dump));
    let mut replay = rehearsal();
    replay.args(["replay", "--quiet", "--target", &target]);
    replay.arg(monday.path("monday.rec"));
    run(replay.arg("-o").arg(monday.path("third")), 0);
    monday.compare("runs/old", "third", &["--noise", "runs/old-again"], 0);

    // Against what production answered: what differs is what always does.
    let compared = monday.compare("monday.rec", "third", &[], 3);
    let noise: BTreeSet<(String, String)> = truth
        .noise
        .iter()
        .map(|one| (one_line(&one.sql), "values".to_owned()))
        .collect();
    assert_eq!(differing(&compared["groups"]), noise, "{compared:#}");

    // A report that can't be written takes nothing away from what is printed.
    let mut compare = rehearsal();
    compare.arg("compare").arg(monday.path("runs/old"));
    compare.arg(monday.path("third"));
    let printed = run(compare.args(["--html", "/dev/full"]), 1).stdout;
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("Times of the"), "{printed}");
}

/// The target, and what restores it.
fn side(server: &Server, dump: &Path) -> (String, String) {
    let load = root().join("tests/workload/load");
    let (load, dump) = (load.display(), dump.display());
    let port = server.port();
    (
        format!("postgresql://shop:rehearsal@127.0.0.1:{port}/shop"),
        format!("'{load}' '{}' '{dump}'", server.url),
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
