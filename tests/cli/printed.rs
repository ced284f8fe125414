//! What the command line says of itself, and of what goes wrong.

use std::fs;
use std::process::Output;

use crate::harness::{rehearsal, run};
use crate::servers::{python, root};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help() {
    let commands = [
        vec![],
        vec!["capture"],
        vec!["inspect"],
        vec!["verify"],
        vec!["replay"],
        vec!["compare"],
        vec!["run"],
    ];
    for command in commands {
        let name = format!("help_{}", command.first().unwrap_or(&"rehearsal"));
        let printed = stdout(&run(rehearsal().args(command).arg("--help"), 0));
        insta::assert_snapshot!(name, printed);
    }
}

#[test]
fn pages_are_as_wide_as_told() {
    let case = "tests/cases/format-v1/monday.rec";
    let widest = |columns: &str| {
        let mut inspect = rehearsal();
        inspect.args(["inspect", case]).env("COLUMNS", columns);
        let text = stdout(&run(&mut inspect, 0));
        let widths = text.lines().map(|line| line.chars().count());
        widths.max().unwrap()
    };
    assert!(widest("80") <= 80);
    assert!(widest("60") < widest("100"));
    assert_eq!(widest("1000"), widest("100"));
    assert_eq!(widest("nonsense"), widest("100"));
}

#[test]
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().display().to_string();
    let case = "tests/cases/format-v1/monday.rec";
    let commands: &[(&str, i32, &[&str])] = &[
        ("nothing_there", 1, &["inspect", "{here}/none.rec"]),
        ("no_folder", 1, &["inspect", "Cargo.toml"]),
        (
            "no_packet_file",
            1,
            &[
                "capture",
                "-q",
                "--read",
                "Cargo.toml",
                "-p",
                "5432",
                "-o",
                "{here}/a",
            ],
        ),
        (
            "no_such_interface",
            1,
            &[
                "capture", "-q", "-i", "nowhere0", "-p", "5432", "-o", "{here}/b",
            ],
        ),
        ("no_source", 2, &["capture", "-p", "5432", "-o", "{here}/c"]),
        (
            "two_kinds_of_source",
            2,
            &[
                "capture", "-i", "lo", "--read", "x.pcap", "-p", "5432", "-o", "{here}/c",
            ],
        ),
        (
            "no_such_protocol",
            2,
            &[
                "capture",
                "--read",
                "x.pcap",
                "-p",
                "gopher:70",
                "-o",
                "{here}/d",
            ],
        ),
        (
            "no_such_scheme",
            2,
            &[
                "replay",
                case,
                "--target",
                "gopher://there",
                "-o",
                "{here}/e",
            ],
        ),
        (
            "nobody_listens",
            1,
            &[
                "replay",
                "-q",
                case,
                "--target",
                "postgresql://127.0.0.1:1",
                "-o",
                "{here}/f",
            ],
        ),
        (
            "bad_gate",
            2,
            &["compare", case, case, "--fail-on", "p42 > 1"],
        ),
        (
            "no_such_term",
            2,
            &["compare", case, case, "--ignore-header", "X-Build"],
        ),
        (
            "no_speed",
            2,
            &[
                "replay",
                case,
                "--target",
                "http://there",
                "--speed",
                "fast",
            ],
        ),
        (
            "backwards",
            2,
            &[
                "replay",
                case,
                "--target",
                "http://there",
                "-o",
                "{here}/g",
                "--speed",
                "-1",
            ],
        ),
        (
            "no_connections",
            2,
            &[
                "replay",
                case,
                "--target",
                "http://there",
                "--connections",
                "0",
            ],
        ),
        (
            "no_port",
            2,
            &["capture", "-i", "lo", "-p", "http", "-o", "{here}/h"],
        ),
        (
            "no_time",
            2,
            &[
                "capture",
                "-i",
                "lo",
                "-p",
                "5432",
                "-o",
                "{here}/h",
                "--duration",
                "5",
            ],
        ),
        (
            "no_size",
            2,
            &[
                "capture",
                "-i",
                "lo",
                "-p",
                "5432",
                "-o",
                "{here}/h",
                "--max-disk",
                "lots",
            ],
        ),
        (
            "no_folder_for_a_report",
            1,
            &["compare", case, case, "--html", "{here}/no/such.html"],
        ),
        ("not_a_run", 2, &["compare", case, case]),
        ("no_plan", 1, &["run", "{here}/plan.toml"]),
    ];
    let printed: Vec<String> = commands
        .iter()
        .map(|(name, code, arguments)| {
            let arguments = arguments.iter().map(|word| word.replace("{here}", &here));
            let output = run(rehearsal().args(arguments), *code);
            format!(
                "[{name}: exit {code}]\n{}",
                stderr(&output).replace(&here, "HERE")
            )
        })
        .collect();
    insta::assert_snapshot!(printed.join("\n"));
}

#[test]
fn wrong_usage_is_told_from_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out");
    let case = "tests/cases/format-v1/monday.rec";
    let check = |arguments: &[&str]| {
        run(rehearsal().args(arguments).arg("-o").arg(&output), 2);
        assert!(!output.exists(), "{arguments:?}");
    };
    for wrong in [
        &["--max-memory", "1MiB"][..],
        &["--max-disk", "0"],
        &["--snaplen", "0"],
        &["--buffer-size", "2GiB"],
        &["--rotate-size", "1"],
        &["--rotate-size", "100GiB"],
        &["--body-limit", "100GiB"],
        &["--probe", "garbage"],
        &["--probe", "postgresql://127.0.0.1/db"],
        &["--probe", "postgresql://ann@127.0.0.1:5433/db"],
        &["-p", "0"],
        &["-p", "http:0"],
    ] {
        // An interface that is not there is no wrong usage.
        check(&[&["capture", "-q", "-i", "nowhere0", "-p", "5432"], wrong].concat());
    }
    let target = ["--target", "postgresql://127.0.0.1:1"];
    for wrong in [
        &["--target", "garbage"][..],
        &["--target", "postgresql://127.0.0.1:1?sslmode=maybe"],
        &[&target[..], &["--speed", "0"]].concat(),
        &[&target[..], &["--speed", "nan"]].concat(),
        &[&target[..], &["--allow-writes"]].concat(),
    ] {
        check(&[&["replay", "-q", case], wrong].concat());
    }
}

#[test]
fn a_mistake_in_a_plan_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let case = root().join("tests/cases/format-v1/monday.rec");
    let good = format!(
        "recording = {case:?}\noutput = \"runs\"\n\
         old.target = \"postgresql://127.0.0.1:1\"\nnew.target = \"postgresql://127.0.0.1:1\"\n"
    );
    let plan = dir.path().join("plan.toml");
    let check = |text: &str, code| {
        fs::write(&plan, text).unwrap();
        run(rehearsal().args(["run", "-q"]).arg(&plan), code)
    };
    for wrong in [
        "[gate]\nfail-on = \"p42 > 1\"",
        "outputs = \"a\"",
        "[replay]\nspeed = 0.0",
        "[replay]\nspeed = 2.0\nasap = true",
        "[replay]\nallow-writes = true",
        "[compare]\nignore-header = [\"X-Build\"]",
        "no toml",
    ] {
        check(&format!("{good}{wrong}\n"), 2);
    }
    let garbage = good.replace("postgresql://127.0.0.1:1", "garbage");
    check(&garbage, 2);
    assert!(!dir.path().join("runs").exists());
    // Nobody listens: that is no mistake of the plan's.
    check(&good, 1);
    assert!(!dir.path().join("runs").exists());
}

/// The README's query, as it stands there, over a recording.
#[test]
fn duckdb_reads_a_recording() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```sql\n").unwrap();
    let (query, _) = rest.split_once("```").unwrap();
    let program = "import sys, duckdb\nprint(duckdb.sql(sys.argv[1]).fetchall())";
    let asked = python()
        .args(["-c", program, query])
        .current_dir(root().join("tests/cases/format-v1"))
        .output();
    let Ok(asked) = asked else {
        println!("skipped: scripts/setup has not installed the Python packages");
        return;
    };
    assert!(asked.status.success(), "{}", stderr(&asked));
    assert!(stdout(&asked).starts_with("[("), "{}", stdout(&asked));
}
