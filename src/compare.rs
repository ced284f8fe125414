//! `rehearsal compare`: two runs, request by request.

use std::fs;
use std::path::{Path, PathBuf};

use analyze::{Comparison, Gate, Outcome, report};
use anyhow::{Context, Result};
use recording::{Ledger, Recording};

use crate::{Exit, print};

/// Compare two runs of one recording, or a recording with a run of it.
///
/// Answers are compared request by request; the order of rows counts only where the statement says
/// ORDER BY. What also differs between OLD and a second run on the old version (--noise) is shown
/// apart and does not count. Exits with 0 when the gate passed, 3 when it failed, 4 when the data
/// cannot carry a verdict.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("The gate (--fail-on):\n\n{}", Gate::HELP))]
pub struct Args {
    /// The run on the old version; or the recording: what production answered.
    old: PathBuf,

    /// The run on the new version.
    new: PathBuf,

    /// A second run on the old version.
    #[arg(long, value_name = "RUN")]
    noise: Option<PathBuf>,

    /// Write the report as one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write everything as JSON; - is standard output, in the place of the summary.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// When the comparison fails: see the end of this help.
    #[arg(long, value_name = "EXPR", default_value = Gate::DEFAULT)]
    fail_on: Gate,
}

pub fn run(args: Args) -> Result<Exit> {
    let comparison = compare(&args.old, &args.new, args.noise.as_deref(), args.fail_on)?;
    let json_to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = args.html {
        write(&file, &report::html(&comparison))?;
    }
    if let Some(file) = args.json {
        let json = report::json(&comparison)?;
        if json_to_stdout {
            print(&json)?;
        } else {
            write(&file, &json)?;
        }
    }
    if !json_to_stdout {
        print(&report::terminal(&comparison))?;
    }
    Ok(exit(&comparison))
}

pub fn compare(old: &Path, new: &Path, noise: Option<&Path>, gate: Gate) -> Result<Comparison> {
    let old = Recording::open(old)?;
    let new = Recording::open(new)?;
    let noise = noise.map(Recording::open).transpose()?;
    let options = analyze::Options {
        gate,
        capture: captured(&new),
    };
    Ok(analyze::compare(&old, &new, noise.as_ref(), &options)?)
}

/// What became of everything when it was captured, where the recording behind a run is at hand.
fn captured(run: &Recording) -> Option<Ledger> {
    let info = run.manifest().run.as_ref()?;
    let recording = Recording::open(Path::new(&info.recording_path)).ok()?;
    let manifest = recording.manifest();
    (manifest.id == info.recording).then(|| manifest.ledger.clone())
}

pub fn exit(comparison: &Comparison) -> Exit {
    match comparison.verdict.outcome {
        Outcome::Pass => Exit::Done,
        Outcome::Fail => Exit::GateFailed,
        Outcome::Inconclusive => Exit::Inconclusive,
    }
}

/// Reports quote what clients sent, so they are for their owner only.
pub fn write(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write {}", file.display()))
}
