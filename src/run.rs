//! `rehearsal run`: a whole rehearsal from one plan.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::replay::Options;
use analyze::{Gate, report};
use anyhow::{Context, Result, bail};
use recording::Recording;

use crate::plan::{Plan, Side};
use crate::{Exit, Usage, compare, interrupt, print, replay, stderr};

/// Run a whole rehearsal: restore and replay on the old version, again on the old version, and on the
/// new; compare; gate.
///
/// What differs between the two runs on the old version is noise, and does not count. The report is
/// written as report.html and report.json into the plan's output folder, beside the runs.
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
    let old = plan.replay.options(&plan.old.target)?;
    let new = plan.replay.options(&plan.new.target)?;
    let recording = Recording::open(&plan.recording)?;
    plan.compare.options(&recording)?;
    for options in [&old, &new] {
        ::replay::check(&recording, options)?;
    }
    make(&plan.output)?;
    let rehearsal = Rehearsal {
        recording,
        folder,
        quiet: args.quiet,
        stop: interrupt::flag()?,
    };
    let runs = ["old", "old-again", "new"].map(|name| plan.output.join(name));
    let [old_run, noise_run, new_run] = &runs;
    rehearsal.step("old version", &plan.old, &old, old_run)?;
    rehearsal.step(
        "old version again, for the noise",
        &plan.old,
        &old,
        noise_run,
    )?;
    rehearsal.step("new version", &plan.new, &new, new_run)?;

    let noise_run = Some(noise_run.as_path());
    let comparison = compare::compare(old_run, new_run, noise_run, gate, &plan.compare)?;
    let html = plan.output.join("report.html");
    compare::write(&html, &report::html(&comparison))?;
    let json = plan.output.join("report.json");
    compare::write(&json, &report::json(&comparison)?)?;
    print(&report::terminal(&comparison))?;
    print(&format!("\n{}\n{}\n", html.display(), json.display()))?;
    Ok(compare::exit(&comparison))
}

/// For its owner only, as all that goes into it.
fn make(output: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(output);
    made.with_context(|| {
        format!(
            "failed to make the output folder {}: name one that does not exist yet",
            output.display()
        )
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
    fn step(&self, title: &str, side: &Side, options: &Options, output: &Path) -> Result<()> {
        if let Some(restore) = &side.restore {
            self.say(&format!("restoring for the {title}"));
            self.restore(restore)?;
        }
        self.say(&format!("replaying on the {title}: {}", options.target));
        let manifest = replay::replay(&self.recording, options, output, self.quiet, &self.stop)?;
        if self.stop.load(Ordering::Relaxed) || !manifest.complete {
            bail!(
                "the replay was cut short: {} has what was done until then",
                output.display()
            );
        }
        if let Some(why) = replay::nothing_replayed(&manifest) {
            bail!(why);
        }
        Ok(())
    }

    fn restore(&self, command: &str) -> Result<()> {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.folder)
            .output()
            .context("failed to start a shell for the restore command")?;
        if !output.status.success() {
            bail!(
                "the restore command {command:?} failed ({}):\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            stderr::tell(&format!("==> {what}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
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
    }
}
