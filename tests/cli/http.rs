//! The second protocol's main job: a web application's version 1 is recorded under real clients, and
//! rehearsed on versions 1 and 2.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::rehearsed::{Monday, truth};
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
    let monday = Monday::new();
    let production = databases.load_library("production", None);
    let dump = monday.dump(&production);
    let application = Library::start(1, &production);
    let mut traffic = script("tests/http-app/traffic.py");
    traffic.args([&application.url, "--duration", "10"]);
    // That it is HTTP, the connections tell.
    let Some(()) = monday.record(application.port(), &mut traffic) else {
        return;
    };
    let libraries = [("old", 1), ("new", 2)].map(|(database, version)| {
        let restored = databases.load_library(database, Some(&dump));
        let load = root().join("tests/http-app/load");
        let (load, dump) = (load.display(), dump.display());
        let restore = format!("'{load}' '{}' {database} '{dump}'", databases.url);
        (Library::start(version, &restored), restore)
    });
    let sides = libraries
        .each_ref()
        .map(|(library, restore)| (library.url.clone(), restore.clone()));
    let more = "
        [replay]
        allow-writes = true
        [gate]
        fail-on = \"differences > 0 or fingerprint.p50 > 1.3x + 20ms\"
    ";
    let report = monday.rehearse(sides, more);

    let truth: Truth = truth("tests/http-app/changed.toml");
    assert_eq!(
        found(&report["groups"]),
        known(&truth.changed),
        "{report:#}"
    );
    assert_eq!(found(&report["noise"]), known(&truth.noise), "{report:#}");
    let slower: BTreeSet<&str> = truth.slower.iter().map(|one| &*one.request).collect();
    assert_eq!(told_slower(&report), slower, "{report:#}");
    assert_eq!(report["requests"]["missing"], 0, "{report:#}");
    assert_eq!(report["old"]["protocols"], json!(["http"]));
    for side in ["old", "new", "noise_run"] {
        sent_with_new_cookies(&report[side]);
    }

    // What production answered, sessions and all, differs from the same version by noise alone.
    let same = monday.compare("monday.rec", "runs/old", &[], 3);
    assert_eq!(found(&same["groups"]), known(&truth.noise), "{same:#}");
}

/// Everything is sent, and answered but where the recorded client left without its answer; the later requests
/// of a session with its new cookie.
fn sent_with_new_cookies(side: &Value) {
    let requests = &side["ledger"]["requests"];
    let left = &side["captured"]["ledger"]["requests"]["lost"]["fin"];
    assert_eq!(
        requests["lost"]["client left before the answer"], *left,
        "{side:#}"
    );
    let kept = requests["kept"].as_u64().unwrap() + left.as_u64().unwrap_or(0);
    assert_eq!(requests["seen"], kept, "{side:#}");
    let mut notes = side["notes"].as_array().unwrap().iter();
    assert!(
        notes.any(|note| note.as_str().unwrap().contains("cookies mapped")),
        "{side:#}"
    );
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
