//! What is refused before anything is sent or restored, and what comes to nothing.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{record, rehearsal, run};
use crate::packets::{Talk, message};
use crate::stopped::{serve, welcome};

const CAPTURED: &str = "postgresql://10.0.0.1:5432";

fn recording(parent: &Path) -> PathBuf {
    let pcap = parent.join("monday.pcap");
    let mut talk = Talk::start(File::create(&pcap).unwrap()).unwrap();
    for number in 0..3 {
        talk.ask(&format!("SELECT {number}")).unwrap();
    }
    let recording = parent.join("monday.rec");
    record(&pcap, &[5432], &recording);
    recording
}

fn told(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// As a capture leaves it that was killed before its manifest told the server.
fn kill_early(recording: &Path) {
    let path = recording.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(manifest["servers"], json!(["10.0.0.1:5432"]));
    manifest["servers"] = json!([]);
    manifest["complete"] = json!(false);
    manifest.as_object_mut().unwrap().remove("checksum");
    fs::write(&path, manifest.to_string()).unwrap();
}

#[test]
fn a_captured_server_is_refused_whatever_the_manifest_tells() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path());
    let refused = |what: &str| {
        let mut replay = rehearsal();
        replay.arg("replay").arg(&recording);
        replay.args(["--target", CAPTURED, "-o"]);
        let output = run(replay.arg(dir.path().join("run")), 1);
        let told = told(&output);
        assert!(
            told.contains("--allow-captured-target 10.0.0.1:5432"),
            "{what}: {told}"
        );
    };
    refused("whole");
    kill_early(&recording);
    refused("killed");
    fs::remove_file(recording.join("manifest.json")).unwrap();
    refused("without a manifest");
    run(rehearsal().args(["verify", "--repair"]).arg(&recording), 0);
    refused("repaired");
}

#[test]
fn nothing_is_restored_for_a_plan_that_will_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let refusing = refuses();
    let plan = dir.path().join("plan.toml");
    for (new, replay, why) in [
        (CAPTURED, "", "--allow-captured-target"),
        ("postgresql://10.0.0.2", "speed = -2.0", "pace"),
        (
            "10.0.0.2",
            "",
            "the plan's [new]: \"10.0.0.2\" is not a URL",
        ),
        ("postgresql://127.0.0.1:1", "", "does not answer"),
        (
            &refusing,
            "",
            "lets nobody of the recording in: login refused: not you",
        ),
    ] {
        let text = format!(
            "recording = \"monday.rec\"\noutput = \"runs\"\n\
             [old]\ntarget = \"postgresql://10.0.0.2\"\nrestore = \"touch restored\"\n\
             [new]\ntarget = \"{new}\"\n[replay]\n{replay}\n"
        );
        fs::write(&plan, text).unwrap();
        let output = rehearsal().arg("run").arg(&plan).output().unwrap();
        assert!(!output.status.success());
        assert!(told(&output).contains(why), "{}", told(&output));
        assert!(!dir.path().join("restored").exists());
        assert!(!dir.path().join("runs").exists());
    }
}

#[test]
fn a_plan_whose_restore_failed_can_be_run_again() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let plan = dir.path().join("plan.toml");
    let text = "recording = \"monday.rec\"\noutput = \"runs\"\n\
                [old]\ntarget = \"postgresql://10.0.0.2\"\nrestore = \"echo broken; false\"\n\
                [new]\ntarget = \"postgresql://10.0.0.2\"\nrestore = \"true\"\n";
    fs::write(&plan, text).unwrap();
    for _ in 0..2 {
        let output = run(rehearsal().arg("run").arg(&plan), 1);
        assert!(told(&output).contains("broken"), "{}", told(&output));
        assert!(!dir.path().join("runs").exists());
    }
}

#[test]
fn a_target_of_another_protocol_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path());
    let plan = dir.path().join("plan.toml");
    let text = "recording = \"monday.rec\"\noutput = \"runs\"\n\
                [old]\ntarget = \"http://10.0.0.2\"\nrestore = \"touch restored\"\n\
                [new]\ntarget = \"http://10.0.0.2\"\n";
    fs::write(&plan, text).unwrap();
    let mut replay = rehearsal();
    replay.arg("replay").arg(&recording);
    replay.args(["--target", "http://10.0.0.2", "-o"]);
    let replayed = run(replay.arg(dir.path().join("run")), 2);
    let mut dry = rehearsal();
    dry.arg("replay").arg(&recording);
    dry.args(["--target", "http://10.0.0.2", "--dry-run"]);
    let planned = run(rehearsal().arg("run").arg(&plan), 2);
    for output in [replayed, run(&mut dry, 2), planned] {
        let said = told(&output);
        let why = "the recording is of postgres, and the target speaks http";
        assert!(said.contains(why), "{said}");
    }
    assert!(!dir.path().join("restored").exists());
}

#[test]
fn a_replay_of_which_nothing_was_answered_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path());
    // Lets everyone in, and hangs up.
    let target = server(|mut client| {
        read_start(&mut client)?;
        client.write_all(&welcome())
    });
    let mut replay = rehearsal();
    replay.arg("replay").arg(&recording).args(["--asap"]);
    replay.args(["--target", &target, "-o"]);
    let output = run(replay.arg(dir.path().join("run")), 1);
    let said = told(&output);
    assert!(said.contains("nothing was replayed"), "{said}");
    let mut again = rehearsal();
    again.arg("replay").arg(dir.path().join("run"));
    again.args(["--target", &target, "-o"]);
    let output = run(again.arg(dir.path().join("again")), 1);
    let said = told(&output);
    assert!(said.contains("is a run, not a recording"), "{said}");
}

/// In words that a terminal would obey.
fn refuse(mut client: TcpStream) -> io::Result<()> {
    read_start(&mut client)?;
    let told = b"SFATAL\0C28P01\0Mnot you, \x1b[2Jann\0\0";
    client.write_all(&message(b'E', told))
}

fn read_start(client: &mut TcpStream) -> io::Result<()> {
    let mut len = [0; 4];
    client.read_exact(&mut len)?;
    client.read_exact(&mut vec![0; u32::from_be_bytes(len) as usize - 4])
}

/// The URL of a server that does so with each client; it ends with the process.
fn server(mut each: impl FnMut(TcpStream) -> io::Result<()> + Send + 'static) -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "postgresql://{}?sslmode=disable",
        server.local_addr().unwrap()
    );
    thread::spawn(move || {
        for client in server.incoming() {
            // Some only look whether it is there.
            let _ = client.and_then(&mut each);
        }
    });
    url
}

fn refuses() -> String {
    server(refuse)
}

#[test]
fn a_target_that_lets_nobody_in_is_not_replayed_against() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path());
    let output = dir.path().join("run");
    let mut replay = rehearsal();
    replay.args(["replay", "-q"]).arg(&recording);
    replay.args(["--target", &refuses(), "-o"]).arg(&output);
    let said = told(&run(&mut replay, 1));
    let why = "lets nobody of the recording in: login refused: not you, \u{fffd}[2Jann (28P01)";
    assert!(said.contains(why), "{said}");
    assert!(!output.exists());
}

#[test]
fn a_target_whose_tls_fails_is_not_replayed_against() {
    let dir = tempfile::tempdir().unwrap();
    let [pcap, recording, output] =
        ["web.pcap", "web.rec", "run"].map(|name| dir.path().join(name));
    let mut talk = Talk::connect(File::create(&pcap).unwrap(), 80).unwrap();
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    talk.exchange("GET / HTTP/1.1\r\n\r\n", ok).unwrap();
    talk.end().unwrap();
    record(&pcap, &[80], &recording);
    let plain = server(move |mut client| client.write_all(ok.as_bytes()));
    let target = plain
        .replace("postgresql", "https")
        .replace("?sslmode=disable", "");
    let mut replay = rehearsal();
    replay.args(["replay", "-q"]).arg(&recording);
    replay.args(["--target", &target, "-o"]).arg(&output);
    let said = told(&run(&mut replay, 1));
    let why = "lets nobody of the recording in: TLS failed";
    assert!(said.contains(why), "{said}");
    assert!(!output.exists());
}

#[test]
fn a_plan_of_which_nothing_was_answered_tells_why() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let plan = dir.path().join("plan.toml");
    // The first is let in, and no one after it.
    let mut logins = 0;
    let target = server(move |mut client| {
        read_start(&mut client)?;
        logins += 1;
        match logins {
            1 => client.write_all(&welcome()),
            _ => client.write_all(&message(b'E', b"SFATAL\0C53300\0Mtoo many\0\0")),
        }
    });
    let target = format!("target = \"{target}\"\nrestore = \"true\"\n");
    let text =
        format!("recording = \"monday.rec\"\noutput = \"runs\"\n[old]\n{target}[new]\n{target}");
    fs::write(&plan, text).unwrap();
    let said = told(&run(rehearsal().args(["run", "-q"]).arg(&plan), 1));
    assert!(said.contains("nothing was replayed"), "{said}");
    assert!(said.contains("login refused: too many (53300)"), "{said}");
}

/// The URL of a server that gives everything the same answer.
fn serves() -> String {
    server(|client| {
        thread::spawn(move || serve(client));
        Ok(())
    })
}

#[test]
fn what_is_given_twice_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path());
    let once = dir.path().join("run");
    let mut replay = rehearsal();
    replay.args(["replay", "-q", "--asap"]).arg(&recording);
    run(replay.args(["--target", &serves(), "-o"]).arg(&once), 0);
    let said = told(&run(rehearsal().arg("compare").args([&once, &once]), 2));
    assert!(said.contains("NEW is the same run as OLD"), "{said}");
}

#[test]
fn a_folder_that_is_not_there_is_to_be_made_first() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let mut capture = rehearsal();
    capture.args(["capture", "-q", "-p", "5432", "--read"]);
    capture.arg(dir.path().join("monday.pcap")).arg("-o");
    let said = told(&run(capture.arg(dir.path().join("no/such.rec")), 1));
    let why = "no/such.rec: make the folder that it is to be in first";
    assert!(said.contains(why), "{said}");
}

#[test]
fn damage_is_no_lack_of_requests() {
    let dir = tempfile::tempdir().unwrap();
    let recording = recording(dir.path());
    fs::remove_file(recording.join("requests-00000.parquet")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!(
        "target = \"postgresql://{}\"\n",
        server.local_addr().unwrap()
    );
    let plan = dir.path().join("plan.toml");
    let text =
        format!("recording = \"monday.rec\"\noutput = \"runs\"\n[old]\n{target}[new]\n{target}");
    fs::write(&plan, text).unwrap();
    let said = told(&run(rehearsal().args(["run", "-q"]).arg(&plan), 1));
    assert!(said.contains("no request was found"), "{said}");
    assert!(
        said.contains("requests-00000.parquet: it is missing"),
        "{said}"
    );
}

#[test]
fn a_restore_has_the_limits_of_who_started_the_run() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let side = format!(
        "target = \"{}\"\nrestore = \"ulimit -n >>limits\"\n",
        serves()
    );
    let text = format!(
        "recording = \"monday.rec\"\noutput = \"runs\"\nreplay.asap = true\n[old]\n{side}[new]\n{side}"
    );
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, text).unwrap();
    let program = "ulimit -S -n 200; exec \"$0\" run -q \"$1\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", program, env!("CARGO_BIN_EXE_rehearsal")]);
    // Too few requests for a verdict.
    run(limited.arg(&plan), 4);
    let limits = fs::read_to_string(dir.path().join("limits")).unwrap();
    assert_eq!(limits, "200\n".repeat(3));
}

/// Not even one that does not heed the end.
#[test]
fn a_second_signal_leaves_no_restore_behind() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let mut pipes = Command::new("mkfifo");
    run(pipes.args(["told", "never"]).current_dir(dir.path()), 0);
    // The shells have the pipe open until they end.
    let restore = "trap '' TERM; exec 3>told; echo begun >&3; (cat <>never); cat <>never";
    let side = format!("target = \"postgresql://10.0.0.2\"\nrestore = \"{restore}\"\n");
    let text = format!("recording = \"monday.rec\"\noutput = \"runs\"\n[old]\n{side}[new]\n{side}");
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, text).unwrap();
    let mut rehearse = rehearsal();
    rehearse.arg("run").arg(&plan).stderr(Stdio::piped());
    let mut running = rehearse.spawn().unwrap();
    let mut told = BufReader::new(File::open(dir.path().join("told")).unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    let id = Pid::from_raw(i32::try_from(running.id()).unwrap());
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    kill(id, Signal::SIGINT).unwrap();
    let ending = said.find(|line| line.as_ref().unwrap() == "==> ending the restore command");
    assert!(ending.is_some());
    kill(id, Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(told.read_line(&mut line).unwrap(), 0);
}

#[test]
fn a_comparison_is_ended_by_the_first_signal() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path());
    let url = serves();
    // Nobody reads the report, so that it is never done.
    let restore = "mkfifo runs/report.html";
    let text = format!(
        "recording = \"monday.rec\"\noutput = \"runs\"\n[old]\ntarget = \"{url}\"\n\
         [new]\ntarget = \"{url}\"\nrestore = \"{restore}\"\n[replay]\nasap = true\n"
    );
    let plan = dir.path().join("plan.toml");
    fs::write(&plan, text).unwrap();
    let mut rehearse = rehearsal();
    rehearse.arg("run").arg(&plan).stderr(Stdio::piped());
    let mut running = rehearse.spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    let comparing = said.find(|line| line.as_ref().unwrap() == "==> comparing");
    assert!(comparing.is_some());
    let id = i32::try_from(running.id()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGINT).unwrap();
    let said = said.map(Result::unwrap).collect::<String>();
    assert_eq!(running.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("the runs are done"), "{said}");
}
