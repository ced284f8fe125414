//! A hundred captures, each killed at a moment of chance while it reads from a pipe.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use recording::{Exchange, Kind, Recording};

use crate::harness::rehearsal;
use crate::packets::Talk;

const AT_ONCE: usize = 10;
const ROUNDS: usize = 10;
const LONGEST_MS: u64 = 2_500;
/// What a crash may cost.
const LOST: Duration = Duration::from_secs(1);
/// On a row's way to the disk: reader, worker, writer.
const THREADS: u32 = 3;

#[test]
fn a_hundred_kills_cost_a_second_each_at_most() {
    let parent = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for lane in 0..AT_ONCE {
            let parent = parent.path();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    feed_and_kill(&parent.join(format!("{lane}-{round}.rec")));
                }
            });
        }
    });
}

fn feed_and_kill(dir: &Path) {
    let mut capture = rehearsal()
        .args(["capture", "--quiet", "--read", "-", "-p", "5432", "-o"])
        .arg(dir)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while !dir.join("open-00000.arrows").exists() {
        assert!(Instant::now() < patience, "the capture does not start");
        thread::sleep(Duration::from_millis(5));
    }
    let mut talk = Talk::start(capture.stdin.take().unwrap()).unwrap();
    let life = Duration::from_millis(RandomState::new().hash_one(dir) % LONGEST_MS);
    let start = Instant::now();
    let mut fed = Vec::new();
    // The machine may stop each of the capture's threads as long as it stops the feeder.
    let mut stalled = Duration::ZERO;
    let mut last = start;
    while start.elapsed() < life {
        talk.ask(&format!("SELECT {}", fed.len())).unwrap();
        fed.push(Instant::now());
        thread::sleep(Duration::from_millis(5));
        stalled = stalled.max(last.elapsed());
        last = Instant::now();
    }
    let killed_at = Instant::now();
    capture.kill().unwrap();
    capture.wait().unwrap();

    let found = Recording::verify(dir).unwrap();
    let torn_only = |file: &str| file.starts_with("open-");
    assert!(
        found.damage.iter().all(|it| torn_only(&it.file)),
        "{found:?}"
    );
    let before = requests(dir);
    Recording::repair(dir).unwrap();
    let found = Recording::verify(dir).unwrap();
    assert!(found.is_sound() && !found.complete, "{found:?}");
    assert_eq!(requests(dir), before);

    let sure = fed.partition_point(|at| killed_at.duration_since(*at) > LOST + THREADS * stalled);
    let told = format!(
        "{} fed in {life:?}, {sure} of them in time, {} kept, stalled {stalled:?}",
        fed.len(),
        before.len()
    );
    println!("{told}");
    assert!((sure..=fed.len()).contains(&before.len()), "{told}");
    for (number, row) in before.iter().enumerate() {
        let text = format!("SELECT {number}\0");
        assert!(row.request.bytes.ends_with(text.as_bytes()), "{row:?}");
    }
}

fn requests(dir: &Path) -> Vec<Exchange> {
    let recording = Recording::open(dir).unwrap();
    let rows = recording.rows().unwrap().map(Result::unwrap);
    rows.filter(|row| row.kind == Kind::Request).collect()
}
