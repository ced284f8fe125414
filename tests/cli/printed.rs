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
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().display().to_string();
    let case = "tests/cases/format-v1/monday.rec";
    let commands: &[(&str, i32, &[&str])] = &[
        ("nothing_there", 1, &["inspect", "{here}/none.rec"]),
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
            1,
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
            1,
            &["compare", case, case, "--ignore-header", "X-Build"],
        ),
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
