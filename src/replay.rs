//! `rehearsal replay`: a recording to a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use ::replay::{Due, Options, Progress, ReplayError};
use analyze::report::paragraph;
use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::DriverError;
use recording::{Exchange, Kind, Ledger, Manifest, Notes, Recording, SessionInfo};
use serde::Serialize;

use crate::manner::Manner;
use crate::{Exit, Usage, interrupt, print, print_json, say, stderr, width};

const REFRESH: Duration = Duration::from_millis(200);

/// Replay a recording against a server.
///
/// Each recorded session becomes one connection with its own user, database and start-up parameters,
/// and each request is sent as the client sent it, when the client sent it. A cancel follows its request
/// after the time that it did when recorded, however much faster the replay is, if that is still under
/// way. A user or database in the target's URL goes before the recorded one. The password comes from the
/// URL, from PGPASSWORD or from ~/.pgpass.
///
/// HTTP requests are addressed to the target: Host, Origin, Referer and absolute URLs are changed
/// with it, and a cookie that the recorded server set is sent as the target set it. Redirects are
/// not followed. Credentials are never recorded: those of Basic come from the target's URL, others
/// from --set-header, and a request that lacks them is not sent.
///
/// A replay writes to the target: a database always, an HTTP server with --allow-writes. A server that
/// the recording was captured from is refused.
///
/// A request waits ten minutes for its answer, one that its client broke off ten seconds, or ten times what it took
/// when recorded where that is more.
/// Exits with 1 where the replay was interrupted, or not one request was answered; what was not
/// replayed is told with its reason, and is otherwise no failure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[arg(
        long,
        value_name = "URL",
        help = "The server: postgresql://[user[:password]@]host[:port][/database][?sslmode=...], or \
                http[s]://[user:password@]host[:port]"
    )]
    target: String,

    /// Where the run goes: a folder that does not exist yet, or is empty. Not needed for --dry-run.
    #[arg(short, long, value_name = "RUN", required_unless_present = "dry_run")]
    output: Option<PathBuf>,

    #[command(flatten)]
    manner: Manner,

    /// Print what would be sent, and when, and send nothing.
    #[arg(long)]
    dry_run: bool,

    /// Replay to this endpoint though the recording was captured from it.
    #[arg(long, value_name = "HOST:PORT")]
    allow_captured_target: Option<String>,

    /// Print the summary as JSON.
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,

    /// No progress bar.
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let recording = Recording::open(&args.directory)?;
    let mut options = args.manner.options(&args.target)?;
    options.allow_captured_target = args.allow_captured_target;
    let Some(output) = args.output.filter(|_| !args.dry_run) else {
        return dry_run(&recording, &options);
    };
    let stop = interrupt::flag()?;
    let manifest = replay(&recording, &options, &output, args.quiet, &stop)?;
    let summary = Summary::new(&manifest)?;
    if args.json {
        print_json(&serde_json::to_string_pretty(&summary)?)?;
    } else {
        say(&summary.text(&output))?;
    }
    if let Some(why) = nothing_replayed(&manifest) {
        stderr::tell(&format!("rehearsal: {why}\n"));
        return Ok(Exit::Failed);
    }
    Ok(if manifest.complete {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Why not one request was answered, where none was.
pub fn nothing_replayed(manifest: &Manifest) -> Option<String> {
    let requests = manifest.ledger.account("requests");
    if requests.is_some_and(|requests| requests.kept > 0) {
        return None;
    }
    let lost = requests.and_then(|it| it.lost.iter().max_by_key(|(_, count)| **count));
    let reason = lost.map_or("no request was found in the recording", |(reason, _)| {
        reason
    });
    let target = &manifest.run.as_ref()?.target;
    Some(format!("nothing was replayed against {target}: {reason}"))
}

/// Replays with a progress bar on standard error, where that is a terminal.
pub fn replay(
    recording: &Recording,
    options: &Options,
    output: &Path,
    quiet: bool,
    stop: &Arc<AtomicBool>,
) -> Result<Manifest> {
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        bar(recording)
    };
    let progress = Arc::new(Progress::default());
    let manifest = thread::scope(|scope| {
        let running = scope.spawn(|| ::replay::run(recording, options, output, &progress, stop));
        while !running.is_finished() {
            if !bar.is_hidden() {
                show(&bar, &progress);
            }
            thread::park_timeout(REFRESH);
        }
        running.join()
    });
    bar.finish_and_clear();
    manifest
        .map_err(|_| anyhow!("the replay panicked"))?
        .map_err(failed(options))
}

pub fn failed(options: &Options) -> impl Fn(ReplayError) -> anyhow::Error {
    move |error| refused(error).context(format!("failed to replay against {}", options.target))
}

/// What does not go together is wrong usage.
pub fn refused(error: ReplayError) -> anyhow::Error {
    match error {
        ReplayError::OtherProtocol { .. } => Usage::of(error),
        error => error.into(),
    }
}

/// Its length is the recording's time, in milliseconds.
fn bar(recording: &Recording) -> ProgressBar {
    let segments = &recording.manifest().segments;
    let first = segments.iter().map(|segment| segment.first).min();
    let last = segments.iter().map(|segment| segment.last).max();
    let length = match (first, last) {
        (Some(first), Some(last)) => last.since(first) / 1_000_000,
        _ => 0,
    };
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{elapsed} [{bar:10}] ETA {eta}  {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let now = progress.snapshot();
    if now.unsealed > 0 {
        bar.set_message(format!("sealing {} segments that waited", now.unsealed));
        return;
    }
    let ms = |ns: u64| ns as f64 / 1e6;
    let rate = now.sent as f64 / bar.elapsed().as_secs_f64().max(0.001);
    bar.set_position(now.position.since(now.first) / 1_000_000);
    bar.set_message(format!(
        "{} sent, {rate:.0}/s, {} errors, p50 {:.2} p99 {:.2} ms, late p99 {:.2} ms",
        now.sent,
        now.errors,
        ms(now.service_p50_ns),
        ms(now.service_p99_ns),
        ms(now.lateness_p99_ns),
    ));
}

fn dry_run(recording: &Recording, options: &Options) -> Result<Exit> {
    match ::replay::check(recording, options) {
        Err(error @ (ReplayError::IsRun(_) | ReplayError::OtherProtocol { .. })) => {
            return Err(refused(error));
        }
        Err(error) => tracing::warn!("without --dry-run: {error}"),
        Ok(()) => {}
    }
    for planned in ::replay::plan(recording, options)? {
        let (row, plan) = planned?;
        let at = match plan.due {
            Due::Asap { .. } => "asap".to_owned(),
            Due::At(offset) => format!("{:.6}", offset.as_secs_f64()),
        };
        let (what, skipped) = match (&row.info, plan.unsendable) {
            (Some(info), skipped) => (opening(options, info), skipped),
            (None, None) if row.kind == Kind::Request => fate(options, &row),
            (None, skipped) => (shown(options, &row), skipped),
        };
        let skipped = skipped.map_or(String::new(), |reason| format!("  (skipped: {reason})"));
        print(&format!(
            "{at:>12}  session {:<6} {:<8} {}{skipped}\n",
            row.session,
            row.kind.name(),
            line(&what)
        ))?;
    }
    Ok(Exit::Done)
}

fn shown(options: &Options, row: &Exchange) -> String {
    let shown = options.target.protocol.show_request(row);
    shown
        .statement
        .unwrap_or_else(|| row.request.command.to_string())
}

/// What would be sent for a request, or why it would not. Where requests stand alone, a driver tells.
fn fate(options: &Options, row: &Exchange) -> (String, Option<&'static str>) {
    let target = &options.target;
    if !target.protocol.shares_connections() {
        let secret = row.notes.contains(Notes::SECRET_BLANKED);
        return (
            shown(options, row),
            secret.then_some("request with a secret"),
        );
    }
    let login = target.login_for(None, target.login.tls);
    let mut bytes = Vec::new();
    match target
        .protocol
        .driver(login, options.limits)
        .send(row, &mut bytes)
    {
        Err(DriverError::Unsupported(why)) => (shown(options, row), Some(why)),
        Err(_) => (shown(options, row), None),
        Ok(()) => {
            let first = bytes.split(|byte| *byte == b'\n').next();
            (readable(first.unwrap_or_default()), None)
        }
    }
}

/// What is no UTF-8 is told byte by byte.
fn readable(line: &[u8]) -> String {
    let line = line.trim_ascii_end();
    let text = String::from_utf8(line.to_vec());
    text.unwrap_or_else(|_| line.escape_ascii().to_string())
}

/// One line, without what a terminal might obey.
fn line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    stderr::harmless(&words)
}

/// What beginning a session comes to.
fn opening(options: &Options, info: &SessionInfo) -> String {
    let target = &options.target;
    if target.protocol.logs_in() {
        let user = target.login.user.as_ref().or(info.user.as_ref());
        return format!("log in as {}", user.map_or("?", |user| user));
    }
    match options.connections() {
        None => "connect".to_owned(),
        Some(connections) => format!("share {connections} connections"),
    }
}

/// A run in short.
#[derive(Debug, Serialize)]
struct Summary {
    target: String,
    pacing: String,
    complete: bool,
    seconds: f64,
    ledger: Ledger,
    /// `lateness_ms`, `service_ms`, `response_ms` and the like, of what there is.
    #[serde(flatten)]
    times: BTreeMap<String, Times>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Times {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Summary {
    fn new(manifest: &Manifest) -> Result<Summary> {
        let info = manifest.run.as_ref().context("the run has no summary")?;
        let mut times = BTreeMap::new();
        for (name, text) in &info.histograms {
            let histogram = recording::decode_histogram(text)?;
            if histogram.is_empty() {
                continue;
            }
            let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
            times.insert(
                format!("{}_ms", name.replace(' ', "_")),
                Times {
                    p50: ms(0.5),
                    p90: ms(0.9),
                    p99: ms(0.99),
                    max: ms(1.0),
                },
            );
        }
        Ok(Summary {
            target: info.target.clone(),
            pacing: info.pacing.clone(),
            complete: manifest.complete,
            seconds: info.finished_at.since(info.started_at) as f64 / 1e9,
            ledger: manifest.ledger.clone(),
            times,
            notes: info.notes.clone(),
        })
    }

    fn text(&self, output: &Path) -> String {
        let mut text = format!(
            "Replayed against {} ({}) in {:.1} s: {}\n\n",
            self.target,
            self.pacing,
            self.seconds,
            output.display()
        );
        for (name, account) in self.ledger.accounts() {
            let _ = writeln!(
                text,
                "  {name:<10} {:>10} recorded {:>10} replayed",
                account.seen, account.kept
            );
            for (reason, count) in &account.lost {
                let _ = writeln!(text, "  {:<10} {count:>10} {reason}", "");
            }
        }
        if !self.times.is_empty() {
            let _ = writeln!(
                text,
                "\n  {:<14} {:>10} {:>10} {:>10} {:>10}",
                "ms", "p50", "p90", "p99", "max"
            );
        }
        for (name, times) in &self.times {
            let _ = writeln!(
                text,
                "  {:<14} {:>10.3} {:>10.3} {:>10.3} {:>10.3}",
                name.trim_end_matches("_ms").replace('_', " "),
                times.p50,
                times.p90,
                times.p99,
                times.max
            );
        }
        for note in &self.notes {
            text += "\n";
            text += &paragraph("  ! ", note, width::columns());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use recording::Timestamp;

    use super::*;

    #[test]
    fn nothing_is_replayed_of_a_recording_without_requests() {
        let mut manifest = Manifest::new(recording::ContentKind::Run, Timestamp::default());
        manifest.run = Some(recording::RunInfo {
            recording: String::new(),
            recording_path: String::new(),
            target: "here".to_owned(),
            pacing: String::new(),
            started_at: Timestamp::default(),
            finished_at: Timestamp::default(),
            histograms: BTreeMap::default(),
            new_errors: 0,
            notes: Vec::new(),
            captured: None,
        });
        let told = "nothing was replayed against here: no request was found in the recording";
        assert_eq!(nothing_replayed(&manifest).as_deref(), Some(told));
        manifest.ledger.account_mut("requests").seen = 1;
        manifest.ledger.account_mut("requests").kept = 1;
        assert_eq!(nothing_replayed(&manifest), None);
    }

    #[test]
    fn a_dry_run_tells_the_fate_of_each_request() {
        let row = |bytes: &str, notes: &[Notes]| {
            let mut row = Exchange::new(Kind::Request, Timestamp::default());
            row.request.bytes = bytes.as_bytes().to_vec();
            notes.iter().for_each(|note| row.notes.add(*note));
            row
        };
        let plain = row("GET /api/x HTTP/1.1\r\nHost: h\r\n\r\n", &[]);
        let blanked = "GET /api/x HTTP/1.1\r\nHost: h\r\nAuthorization: Basic ***\r\n\r\n";
        let secret = row(blanked, &[Notes::SECRET_BLANKED]);
        let manner: Manner = toml::from_str("rewrite-url = [\"/api=/v2\"]").unwrap();
        let http = manner.options("http://there").unwrap();
        assert_eq!(line(&fate(&http, &plain).0), "GET /v2/x HTTP/1.1");
        assert_eq!(fate(&http, &plain).1, None);
        assert_eq!(fate(&http, &secret).1, Some("credentials not recorded"));
        let postgres = Manner::default().options("postgresql://h").unwrap();
        assert_eq!(fate(&postgres, &secret).1, Some("request with a secret"));
        assert_eq!(fate(&postgres, &plain).1, None);
    }

    #[test]
    fn a_terminal_obeys_no_recorded_text() {
        assert_eq!(line("SELECT\n  '\u{1b}[2J'"), "SELECT '\u{fffd}[2J'");
        assert_eq!(line("SELECT '\u{202e}'"), "SELECT '\u{fffd}'");
    }

    #[test]
    fn a_session_begins_as_its_protocol_does() {
        let info = SessionInfo {
            protocol: "any".into(),
            client: "127.0.0.1:1".parse().unwrap(),
            server: "127.0.0.1:2".parse().unwrap(),
            user: Some("ada".into()),
            database: None,
            application: None,
            backend: None,
        };
        let options = |target| Manner::default().options(target).unwrap();
        let told = |options: &Options| opening(options, &info);
        assert_eq!(told(&options("postgresql://h")), "log in as ada");
        assert_eq!(told(&options("postgresql://eve@h")), "log in as eve");
        let mut http = options("http://eve:secret@h");
        assert_eq!(told(&http), "connect");
        http.share_connections(NonZeroUsize::MIN).unwrap();
        assert_eq!(told(&http), "share 1 connections");
    }

    #[test]
    fn a_request_of_any_bytes_can_be_read() {
        assert_eq!(readable("GET /é HTTP/1.1\r".as_bytes()), "GET /é HTTP/1.1");
        assert_eq!(readable(b"GET /\xe9 HTTP/1.1\r"), r"GET /\xe9 HTTP/1.1");
    }
}
