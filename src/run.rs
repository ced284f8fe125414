//! `rehearsal run`: a whole rehearsal from one plan.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::replay::Options;
use analyze::{Comparison, Gate, report};
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use recording::{Manifest, Recording};

use crate::plan::{Plan, Side};
use crate::{Exit, Usage, compare, interrupt, print, replay, stderr, width};

/// How often a restore is looked after.
const LOOK: Duration = Duration::from_millis(20);
/// How long a restore that was told to end may take for it.
const GRACE: Duration = Duration::from_secs(5);
/// How much of what a restore said is shown when it failed.
const TAIL: u64 = 16 << 10;

/// Run a whole rehearsal: restore and replay on the old version, again on the old version, and on the
/// new; compare; gate.
///
/// A target that has no restore command is tried before anything else: it must be there and let the
/// recorded users in.
///
/// What differs between the two runs on the old version is noise, and does not count. The report is
/// written as report.html and report.json into the plan's output folder, beside the runs. Exits as
/// compare does: with 0 when the gate passed, 3 when it failed, 4 when the data cannot carry a verdict.
#[derive(Debug, clap::Args)]
#[command(after_help = "A plan:

  recording = \"monday.rec\"
  output = \"monday.runs\"              # made by the run; may not exist yet

  [old]
  target = \"postgresql://old-copy:5432\"
  restore = \"./restore.sh old-copy\"   # shell command, run before each replay; optional

  [new]
  target = \"postgresql://new-copy:5432\"
  restore = \"./restore.sh new-copy\"

  [replay]                             # optional
  speed = 1.0                          # or: asap = true; other options of rehearsal replay
                                       # by their names: allow-writes = true, path = [\"/api\"]

  [compare]                            # optional: options of rehearsal compare by their names
  ignore-header = [\"X-Build\"]

  [gate]                               # optional
  fail-on = \"differences > 0\"          # see rehearsal compare --help

Paths are relative to the plan's folder, and restore commands run in it.")]
pub struct Args {
    /// The plan.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// No progress bars.
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let (plan, folder) = Plan::read(&args.plan)?;
    let gate: Gate = match &plan.gate.fail_on {
        Some(text) => text
            .parse()
            .with_context(|| format!("failed to understand the plan's fail-on {text:?}"))
            .map_err(Usage::of)?,
        None => Gate::default(),
    };
    // Everything that can be wrong with the plan is found before the first restore.
    let options = |name: &'static str, side: &Side| {
        let options = plan.replay.options(&side.target);
        options.with_context(|| format!("the plan's [{name}]"))
    };
    let (old, new) = (options("old", &plan.old)?, options("new", &plan.new)?);
    let recording = Recording::open(&plan.recording)?;
    plan.compare.options(&recording)?;
    for options in [&old, &new] {
        ::replay::check(&recording, options).map_err(replay::refused)?;
    }
    for what in recording.left_out() {
        tracing::warn!("the recording is not whole: {what}");
    }
    make(&plan.output)?;
    let rehearsal = Rehearsal {
        recording,
        folder,
        quiet: args.quiet,
        stop: interrupt::flag()?,
    };
    let comparison = rehearsal.rehearse(&plan, [&old, &new], gate);
    if comparison.is_err() {
        // Only where it is empty: the plan can then be run again as it is.
        let _ = fs::remove_dir(&plan.output);
    }
    let comparison = comparison?;
    let html = plan.output.join("report.html");
    compare::write(&html, &report::html(&comparison))?;
    let json = plan.output.join("report.json");
    compare::write(&json, &report::json(&comparison)?)?;
    print(&report::terminal(&comparison, width::columns()))?;
    print(&format!("\n{}\n{}\n", html.display(), json.display()))?;
    Ok(compare::exit(&comparison))
}

/// For its owner only, as all that goes into it.
fn make(output: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(output);
    made.map_err(|error| {
        let what = format!("failed to make the output folder {}", output.display());
        match error.kind() {
            ErrorKind::AlreadyExists => {
                anyhow!(error).context(format!("{what}: name one that does not exist yet"))
            }
            ErrorKind::NotFound => {
                anyhow!(error).context(format!("{what}: make the folder that it is to be in"))
            }
            _ => anyhow!(error).context(what),
        }
    })
}

struct Rehearsal {
    recording: Recording,
    /// Where restore commands run.
    folder: PathBuf,
    quiet: bool,
    stop: Arc<AtomicBool>,
}

impl Rehearsal {
    fn rehearse(&self, plan: &Plan, [old, new]: [&Options; 2], gate: Gate) -> Result<Comparison> {
        for (side, options) in [(&plan.old, old), (&plan.new, new)] {
            // What is restored may not be there before.
            if side.restore.is_none() {
                let reached = ::replay::reach(&self.recording, options, &self.stop);
                reached.map_err(replay::failed(options))?;
            }
        }
        let runs = ["old", "old-again", "new"].map(|name| plan.output.join(name));
        let [old_run, noise_run, new_run] = &runs;
        self.step("old version", &plan.old, old, old_run)?;
        let again = "old version again, for the noise";
        self.step(again, &plan.old, old, noise_run)?;
        self.step("new version", &plan.new, new, new_run)?;
        let noise_run = Some(noise_run.as_path());
        interrupt::at_once();
        self.say("comparing");
        if self.stop.load(Ordering::SeqCst) {
            bail!("interrupted: the runs are done, and rehearsal compare takes them");
        }
        compare::compare(old_run, new_run, noise_run, gate, &plan.compare)
    }

    fn step(&self, title: &str, side: &Side, options: &Options, output: &Path) -> Result<()> {
        if let Some(restore) = &side.restore {
            self.say(&format!("restoring for the {title}"));
            self.restore(restore)?;
        }
        self.say(&format!("replaying on the {title}: {}", options.target));
        let manifest = replay::replay(&self.recording, options, output, self.quiet, &self.stop)?;
        if self.stop.load(Ordering::Relaxed) || !manifest.complete {
            bail!(
                "the replay was cut short: {} has what was done until then{}",
                output.display(),
                notes(&manifest)
            );
        }
        if let Some(why) = replay::nothing_replayed(&manifest) {
            bail!("{why}{}", notes(&manifest));
        }
        Ok(())
    }

    /// Waits for the command itself: what it leaves running may keep what the command wrote to.
    fn restore(&self, command: &str) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted: nothing was restored");
        }
        let mut said = tempfile::tempfile().context("failed to make a file for what it says")?;
        let mut child = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .process_group(0)
            .spawn()
            .context("failed to start a shell for the restore command")?;
        let group = Pid::from_raw(child.id().try_into()?);
        let _children = interrupt::Children::watch(group);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.stop.load(Ordering::Relaxed) {
                self.say("ending the restore command");
                let how = end(&mut child, group)?;
                bail!("interrupted: the restore command {command:?} {how}");
            }
            thread::sleep(LOOK);
        };
        if !status.success() {
            let said = tail(&mut said).unwrap_or_default();
            bail!("the restore command {command:?} failed ({status}):\n{said}");
        }
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted after the restore: nothing was replayed");
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            stderr::tell(&format!("==> {what}\n"));
        }
    }
}

/// Ends a command with all that it started, and tells how.
fn end(child: &mut Child, group: Pid) -> Result<&'static str> {
    let patience = Instant::now() + GRACE;
    let _ = killpg(group, Signal::SIGTERM);
    loop {
        child.try_wait()?;
        if killpg(group, None).is_err() {
            return Ok("was told to end");
        }
        if Instant::now() > patience {
            let _ = killpg(group, Signal::SIGKILL);
            child.wait()?;
            return Ok("was told to end, did not, and was killed");
        }
        thread::sleep(LOOK);
    }
}

/// What a run tells of itself, such as the words of a target that refused a login.
fn notes(manifest: &Manifest) -> String {
    let notes = manifest.run.iter().flat_map(|run| &run.notes);
    notes.map(|note| format!("\n  ! {note}")).collect()
}

/// The end of what a restore command said.
fn tail(file: &mut File) -> Result<String> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    // Bars of progress write over their line.
    let text = String::from_utf8_lossy(&bytes)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let text = text.trim_end();
    if len <= TAIL {
        return Ok(text.to_owned());
    }
    // From a whole line on, where there is one.
    let whole = text.split_once('\n').map_or(text, |(_, rest)| rest);
    Ok(format!("[...]\n{whole}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_output_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("monday.runs");
        make(&output).unwrap();
        let mode = fs::metadata(&output).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let error = make(&output).unwrap_err().to_string();
        assert!(error.contains("does not exist yet"), "{error}");
        let error = make(&dir.path().join("none/runs")).unwrap_err().to_string();
        assert!(error.contains("make the folder"), "{error}");
    }

    fn rehearsal(folder: &Path) -> Rehearsal {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/format-v1/monday.rec");
        Rehearsal {
            recording: Recording::open(&case).unwrap(),
            folder: folder.to_owned(),
            quiet: true,
            stop: Arc::default(),
        }
    }

    #[test]
    fn a_restore_is_over_when_its_command_is_whatever_it_leaves_running() {
        let dir = tempfile::tempdir().unwrap();
        let rehearsal = rehearsal(dir.path());
        // The cat keeps what the command wrote to, until somebody writes to the pipe.
        let server = "mkfifo held; cat held & echo started";
        rehearsal.restore(server).unwrap();
        fs::write(dir.path().join("held"), "").unwrap();
        let failing = "echo begun; echo broken >&2; exit 3";
        let error = rehearsal.restore(failing).unwrap_err().to_string();
        assert!(error.ends_with("begun\nbroken"), "{error}");
        let long = "seq 1 10000; printf 'a\\rb\\n'; false";
        let error = rehearsal.restore(long).unwrap_err().to_string();
        let (_, said) = error.split_once(":\n").unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "[...]");
        assert_eq!(lines[1].len(), 4, "a whole line");
        assert_eq!(lines[lines.len() - 3..], ["10000", "a", "b"]);
    }

    /// One in which a command tells how far it is, and one that it waits at.
    fn make_pipes(dir: &Path) {
        let mut mkfifo = Command::new("mkfifo");
        let made = mkfifo.args(["told", "never"]).current_dir(dir).status();
        assert!(made.unwrap().success());
    }

    #[test]
    fn what_is_stopped_in_a_restore_ends_it_and_replays_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let rehearsal = rehearsal(dir.path());
        make_pipes(dir.path());
        let told = || fs::read_to_string(dir.path().join("told")).unwrap();
        let command = "trap 'echo ended >told; exit 0' TERM; cat <>never & echo begun >told; wait";
        thread::scope(|scope| {
            let restoring = scope.spawn(|| rehearsal.restore(command));
            assert_eq!(told(), "begun\n");
            rehearsal.stop.store(true, Ordering::Relaxed);
            assert_eq!(told(), "ended\n");
            let error = restoring.join().unwrap().unwrap_err().to_string();
            assert!(error.contains("interrupted"), "{error}");
        });
        let error = rehearsal.restore("true").unwrap_err().to_string();
        assert!(error.contains("interrupted"), "{error}");
    }

    #[test]
    fn a_restore_that_does_not_heed_the_end_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let rehearsal = rehearsal(dir.path());
        make_pipes(dir.path());
        // Both shells have the pipe open until they end.
        let command = "trap '' TERM; exec 3>told; echo begun >&3; (cat <>never); cat <>never";
        thread::scope(|scope| {
            let restoring = scope.spawn(|| rehearsal.restore(command));
            let mut told = BufReader::new(File::open(dir.path().join("told")).unwrap());
            let mut line = String::new();
            told.read_line(&mut line).unwrap();
            assert_eq!(line, "begun\n");
            rehearsal.stop.store(true, Ordering::Relaxed);
            assert_eq!(told.read_line(&mut line).unwrap(), 0);
            let error = restoring.join().unwrap().unwrap_err().to_string();
            assert!(error.contains("was killed"), "{error}");
        });
    }
}
