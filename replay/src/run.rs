use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use recording::{
    Batch, ContentKind, Exchange, Manifest, Recording, Rows, RunInfo, StoreError, Writer,
};

use crate::clock::Clock;
use crate::engine::{self, Sink};
use crate::error::ReplayError;
use crate::options::Options;
use crate::progress::Progress;
use crate::reach::reach;
use crate::schedule::{Plan, Schedule};
use crate::target;

impl Sink for Writer {
    type Error = StoreError;

    fn write(&mut self, outcomes: Batch) -> Result<(), StoreError> {
        self.gather(outcomes)
    }

    fn tick(&mut self, now: Instant) -> Result<(), StoreError> {
        Writer::tick(self, now)
    }
}

/// Replays `recording` and writes the run to the directory `out`, which must not exist or be empty.
///
/// When `stop` becomes true the run ends soon, with a manifest that is not complete. A target that
/// fails on the way is no error: what became of each request stands in the run.
pub fn run(
    recording: &Recording,
    options: &Options,
    out: &Path,
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> Result<Manifest, ReplayError> {
    check(recording, options)?;
    reach(recording, options, stop)?;
    let _files = MoreFiles::allow();
    let source = recording.manifest();
    let mut manifest = Manifest::new(ContentKind::Run, Clock::start().now());
    manifest.protocols = source.protocols.clone();
    manifest.source = recording.dir().display().to_string();
    manifest.servers = source.servers.clone();
    let info = RunInfo {
        recording: source.id.clone(),
        recording_path: manifest.source.clone(),
        target: options.target.to_string(),
        pacing: options.pacing(),
        started_at: manifest.created_at,
        finished_at: manifest.created_at,
        histograms: Default::default(),
        new_errors: 0,
        notes: Vec::new(),
        captured: Some(source.captured()),
    };
    manifest.run = Some(info.clone());
    let mut writer = Writer::create(out, manifest, engine::writing(options))?;
    let rows = rows(recording, options)?;
    let report = engine::replay(rows, options, &mut writer, progress, stop)?;
    tracing::debug!(report.peak_bytes, "the most that rows held");
    let mut notes = report.notes;
    notes.extend(report.complaints);
    notes.extend(
        recording
            .left_out()
            .into_iter()
            .map(|what| format!("the recording is not whole: {what}")),
    );
    let manifest = writer.manifest_mut();
    manifest.ledger = report.ledger;
    manifest.run = Some(RunInfo {
        started_at: report.started_at,
        finished_at: report.finished_at,
        histograms: report.histograms,
        new_errors: report.new_errors,
        notes,
        ..info
    });
    while writer.unsealed() > 1 {
        progress.sealing(writer.unsealed());
        writer.seal_oldest()?;
    }
    let manifest = if report.cut_short {
        writer.finish_incomplete()
    } else {
        writer.finish()
    };
    Ok(manifest?)
}

/// All rows, with what a driver reads of them.
fn rows(recording: &Recording, options: &Options) -> Result<Rows, StoreError> {
    Ok(recording.rows()?.to_ask(options.target.protocol.needed()))
}

/// What a replay would send and when, without asking the target: the rows in order of time.
pub fn plan(
    recording: &Recording,
    options: &Options,
) -> Result<impl Iterator<Item = Result<(Exchange, Plan), StoreError>>, ReplayError> {
    options.pace.check()?;
    let mut schedule = Schedule::new(options.pace);
    let rows = rows(recording, options)?;
    Ok(rows.map(move |row| {
        let row = row?;
        let plan = schedule.plan(&options.target, &row);
        Ok((row, plan))
    }))
}

/// May the recording be replayed so? Asks nothing of the target, and writes nothing.
pub fn check(recording: &Recording, options: &Options) -> Result<(), ReplayError> {
    let manifest = recording.manifest();
    if manifest.kind == ContentKind::Run {
        return Err(ReplayError::IsRun(recording.dir().to_owned()));
    }
    let target = &options.target;
    let (recorded, spoken) = (&manifest.protocols, target.protocol.name());
    // A manifest that is not complete is older than the rows.
    if manifest.complete && !recorded.is_empty() && !recorded.iter().any(|name| name == spoken) {
        return Err(ReplayError::OtherProtocol {
            recorded: recorded.join(", "),
            target: spoken,
        });
    }
    options.pace.check()?;
    let addresses = target.addresses()?;
    let allowed = options.allow_captured_target.as_deref();
    let servers = servers(recording)?;
    if let Some(endpoint) = target::captured_endpoint(target, &addresses, &servers, allowed) {
        return Err(ReplayError::CapturedTarget {
            target: target.to_string(),
            endpoint,
        });
    }
    Ok(())
}

/// Where the recording was captured. The manifest of a capture that was killed, or that goes on, is older
/// than the rows.
fn servers(recording: &Recording) -> Result<Vec<SocketAddr>, StoreError> {
    let manifest = recording.manifest();
    let mut servers: BTreeSet<SocketAddr> = manifest.servers.iter().copied().collect();
    if !manifest.complete {
        for row in recording.rows()?.to_ask(None) {
            servers.extend(row?.info.map(|info| info.server));
        }
    }
    Ok(servers.into_iter().collect())
}

/// Each session has a connection, and the run its files: as many of them as this user may open, as long as the
/// value lives. What is started later has the limit that was.
struct MoreFiles {
    soft: u64,
    hard: u64,
}

impl MoreFiles {
    fn allow() -> Option<MoreFiles> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        if soft < hard
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        {
            tracing::warn!("no more than {soft} files can be open at once: {error}");
        }
        Some(MoreFiles { soft, hard })
    }
}

impl Drop for MoreFiles {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard);
    }
}
