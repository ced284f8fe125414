//! `rehearsal compare`: two runs, request by request.

use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use analyze::{AnalyzeError, Comparison, Gate, Outcome, report};
use anyhow::{Context, Result, bail};
use nix::unistd::{AccessFlags, access};
use recording::Recording;
use serde::Deserialize;

use crate::manner::HTTP;
use crate::{Exit, Usage, print, print_json, width};

/// Compare two runs of one recording, or a recording with a run of it.
///
/// Answers are compared request by request; the order of rows counts only where the statement says
/// ORDER BY (one that an earlier request prepared: in its first 64 KiB). What also differs between OLD
/// and a second run on the old version (--noise) is shown apart and does not count. Exits with 0 when
/// the gate passed, 3 when it failed, 4 when the data cannot carry a verdict. Runs of two recordings, or one
/// run given twice, are wrong usage.
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

    #[command(flatten)]
    terms: Terms,
}

/// What is compared: the same words on the command line and in a plan.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Terms {
    /// Compare a header that is ignored by default, such as ETag. May be given several times.
    #[arg(long, value_name = "NAME", help_heading = HTTP)]
    compare_header: Vec<String>,

    /// Ignore a header. May be given several times.
    #[arg(long, value_name = "NAME", help_heading = HTTP)]
    ignore_header: Vec<String>,
}

impl Terms {
    /// As options that one of the recording's protocols knows.
    pub fn options(&self, recording: &Recording) -> Result<Vec<(Arc<str>, Arc<str>)>> {
        let mut options = Vec::new();
        for (name, values) in [
            ("compare-header", &self.compare_header),
            ("ignore-header", &self.ignore_header),
        ] {
            for value in values {
                let names = recording.manifest().protocols.iter();
                let protocols = names.filter_map(|name| protocol::by_name(name));
                let mut checked = protocols.map(|protocol| protocol.check_term(name, value));
                let first = checked.next().unwrap_or(Ok(()));
                if let Err(why) = checked.fold(first, Result::or) {
                    return Err(Usage::because(format_args!(
                        "what was recorded can't be compared with --{name} {value:?}: {why}"
                    )));
                }
                options.push((Arc::from(name), Arc::from(value.as_str())));
            }
        }
        Ok(options)
    }
}

pub fn run(args: Args) -> Result<Exit> {
    let json_to_stdout = args.json.as_deref() == Some(Path::new("-"));
    // Better told now than after an hour of work.
    for file in args
        .html
        .iter()
        .chain(args.json.iter().filter(|_| !json_to_stdout))
    {
        can_write(file).with_context(|| failed_to_write(file))?;
    }
    let noise = args.noise.as_deref();
    let comparison = compare(&args.old, &args.new, noise, args.fail_on, &args.terms)?;
    // First what can't fail for a file.
    if !json_to_stdout {
        print(&report::terminal(&comparison, width::columns()))?;
    }
    if let Some(file) = args.html {
        write(&file, &report::html(&comparison))?;
    }
    if let Some(file) = args.json {
        let json = report::json(&comparison)?;
        if json_to_stdout {
            print_json(&json)?;
        } else {
            write(&file, &json)?;
        }
    }
    Ok(exit(&comparison))
}

pub fn compare(
    old: &Path,
    new: &Path,
    noise: Option<&Path>,
    gate: Gate,
    terms: &Terms,
) -> Result<Comparison> {
    let old = Recording::open(old)?;
    let options = analyze::Options {
        gate,
        terms: terms.options(&old)?,
    };
    let new = open_run(new)?;
    let noise = noise.map(open_run).transpose()?;
    analyze::compare(&old, &new, noise.as_ref(), &options).map_err(|error| match error {
        AnalyzeError::OtherRecording { .. } | AnalyzeError::SameTwice { .. } => Usage::of(error),
        error => error.into(),
    })
}

fn open_run(dir: &Path) -> Result<Recording> {
    let run = Recording::open(dir)?;
    if run.manifest().run.is_none() {
        return Err(Usage::because(format_args!(
            "{} is a recording, not a run of one: only OLD may be a recording",
            dir.display()
        )));
    }
    Ok(run)
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
    write_private(file, text).with_context(|| failed_to_write(file))
}

fn failed_to_write(file: &Path) -> String {
    format!("failed to write {}", file.display())
}

/// Leaves everything as it is: an earlier report stays until there is a new one.
fn can_write(file: &Path) -> Result<()> {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => bail!("it is a folder"),
        Ok(_) => access(file, AccessFlags::W_OK)?,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            if !parent.is_dir() {
                bail!("make the folder that it is to be in first");
            }
            access(parent, AccessFlags::W_OK | AccessFlags::X_OK)
                .with_context(|| format!("no file can be made in {}", parent.display()))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut open = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    let found = open.metadata()?;
    // One that was there keeps its mode when it is opened. Devices and pipes keep theirs.
    if found.is_file() && found.permissions().mode() & 0o077 != 0 {
        open.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    open.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("report.html");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        write(&file, "new").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        write(&file, "newer").unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
    }

    #[test]
    fn where_nothing_can_be_written_is_known_before() {
        let dir = tempfile::tempdir().unwrap();
        let told = |file: &Path| format!("{:#}", can_write(file).unwrap_err());
        assert_eq!(told(dir.path()), "it is a folder");
        let nowhere = dir.path().join("none/report.html");
        assert!(told(&nowhere).starts_with("make the folder"));
        let report = dir.path().join("report.html");
        can_write(&report).unwrap();
        assert!(!report.exists());
        fs::write(&report, "of before").unwrap();
        can_write(&report).unwrap();
        assert_eq!(fs::read_to_string(&report).unwrap(), "of before");
        assert!(told(&report.join("x")).starts_with("make the folder"));
    }

    #[test]
    fn a_device_keeps_its_mode() {
        let null = Path::new("/dev/null");
        let mode = || fs::metadata(null).unwrap().permissions().mode();
        let before = mode();
        write(null, "nothing").unwrap();
        assert_eq!(mode(), before);
    }
}
