//! `rehearsal capture`: packets to a recording.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::capture::{
    Assumed, Budget, CaptureError, Only, Options, Ports, Probe, Progress, Sample, Source,
    Unprivileged,
};
use anyhow::{Context, Result, anyhow};
use bytesize::ByteSize;
use clap::ArgGroup;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{Limits, Protocol};
use recording::{Ledger, StoreError};
use replay::{Target, TlsMode};

use crate::{Exit, Usage, interrupt, stderr};

const MIN_SEGMENT: usize = 64 << 10;
const MIN_DISK: u64 = 1 << 20;
const CUT: &str = "request over the cap";

/// Record traffic from the wire, or from a capture file.
///
/// Live capture needs CAP_NET_RAW (root, or `setcap cap_net_raw+ep rehearsal`). It listens; it never
/// stands between client and server. Stop it with Ctrl-C or SIGTERM: what the kernel still holds is
/// written before it ends. The recording is readable while it grows, and up to the last second after
/// a crash.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("source").required(true),
    after_help = "A SIZE is a number of bytes, or has a unit: 4096, 64KiB, 1GB. A TIME has a unit: 90s, \
                  5m, 24h, 1h 30m."
)]
pub struct Args {
    /// Network interface to listen on; any for all. May be given several times.
    #[arg(short, long = "interface", group = "source", value_name = "NAME")]
    interfaces: Vec<String>,

    /// Read a capture file (pcap or pcapng, also gz or zst) instead; - is standard input. May be
    /// given several times: files are read one after the other.
    #[arg(long = "read", group = "source", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Port of the server: 5432, 8080, or with the protocol's name http:8080. Without the name, what is
    /// spoken at a port that is not a protocol's own is told by the first bytes of each connection, or its
    /// first whole request where it was open. May be given several times.
    #[arg(short, long = "port", required = true, value_name = "[PROTOCOL:]PORT", value_parser = port)]
    ports: Vec<(u16, Option<&'static dyn Protocol>)>,

    /// Where the recording goes: a folder that does not exist yet, or is empty.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Record only this share of the sessions, such as 10% or 0.5%: each whole or not at all, and
    /// the same ones in every capture. The others are counted as sampled out.
    #[arg(long, value_name = "PERCENT")]
    sample: Option<Sample>,

    /// Record only this user's sessions: those of others are dropped as soon as they tell their user.
    /// Sessions that were open before are kept where --assume-user does not name theirs. May be
    /// given several times.
    #[arg(long, value_name = "NAME")]
    only_user: Vec<String>,

    /// The same for a database.
    #[arg(long, value_name = "NAME")]
    only_database: Vec<String>,

    /// Whose sessions those are that were open before the capture, so that they can be replayed.
    #[arg(long, value_name = "NAME")]
    assume_user: Option<String>,

    /// The same for their database.
    #[arg(long, value_name = "NAME")]
    assume_database: Option<String>,

    /// Ask this server whose sessions those are that were open before, and what they execute by the
    /// name of a statement that they had prepared: postgresql://user@127.0.0.1/postgres. One
    /// connection without TLS reads pg_stat_activity, once a second while something is not known. A
    /// user with pg_read_all_stats sees all sessions. The password may be in PGPASSWORD or ~/.pgpass.
    #[arg(long, conflicts_with = "files", value_name = "URL")]
    probe: Option<String>,

    /// Stop after this time, such as 30m or 24h.
    #[arg(long, value_parser = crate::units::duration, value_name = "TIME")]
    duration: Option<Duration>,

    /// How much of each response to keep, so that differences can be shown row by row; 0 for none. Heads of
    /// HTTP are always kept.
    #[arg(long, default_value = "64KiB", value_parser = crate::units::size, value_name = "SIZE")]
    body_limit: u64,

    /// What the capture may hold in memory, beside --buffer-size: 64MiB or more. Where connections need more, the
    /// quietest are ended and counted. It also caps one request, at 9MiB with the default and at 16MiB
    /// at most: longer ones are cut, and not replayed.
    #[arg(long, default_value = "256MiB", value_parser = crate::units::size, value_name = "SIZE")]
    max_memory: u64,

    /// How large a segment may become before it is sealed as Parquet and the next begun: 64KiB or more.
    /// More is a little smaller on disk [default: 16MiB, where --max-memory allows it].
    #[arg(long, value_parser = crate::units::size, value_name = "SIZE")]
    rotate_size: Option<u64>,

    /// Seal segments also after this time, such as 1h.
    #[arg(long, value_parser = crate::units::duration, value_name = "TIME")]
    rotate_every: Option<Duration>,

    /// How large the recording may grow: 1MiB or more. What comes after that is counted and not recorded, and the
    /// exit code is 1.
    #[arg(long, value_parser = crate::units::size, value_name = "SIZE")]
    max_disk: Option<u64>,

    /// The kernel's buffer, below 2GiB: enlarge it where packets are dropped.
    #[arg(
        long,
        default_value = "64MiB",
        conflicts_with = "files",
        value_parser = crate::units::size,
        value_name = "SIZE"
    )]
    buffer_size: u64,

    /// What the kernel hands over, in tcpdump's notation, in place of the filter made from the ports:
    /// 'port 5432 and host 10.0.0.7'. IP fragments and VLAN tags are then yours to let through.
    #[arg(long, conflicts_with = "files", value_name = "BPF")]
    filter: Option<String>,

    /// Bytes of each packet to keep, 256KiB at the most. Longer packets leave gaps, so that their requests are not
    /// recorded whole.
    #[arg(
        long,
        default_value = "256KiB",
        conflicts_with = "files",
        value_parser = crate::units::size,
        value_name = "SIZE"
    )]
    snaplen: u64,

    /// Become this user, once the interfaces are open and before a packet is read. The recording is
    /// the user's, who must be able to enter the folders above it.
    #[arg(long, conflicts_with = "files", value_name = "NAME")]
    user: Option<String>,

    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

/// Without a protocol where neither the name nor the number tells it.
fn port(text: &str) -> Result<(u16, Option<&'static dyn Protocol>), String> {
    let (name, number) = match text.split_once(':') {
        Some((name, number)) => (Some(name), number),
        None => (None, text),
    };
    let port: u16 = number
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            format!("{number:?} is not a port, 1 to 65535: write it as 5432 or http:8080")
        })?;
    let mut known = protocol::registry().iter().copied();
    let Some(name) = name else {
        let own = known.find(|protocol| protocol.default_port() == port);
        return Ok((port, own));
    };
    let named = known
        .clone()
        .find(|it| it.name() == name || it.url_schemes().contains(&name));
    match named {
        Some(protocol) => Ok((port, Some(protocol))),
        None => {
            let names: Vec<&str> = known.map(|protocol| protocol.name()).collect();
            Err(format!("the protocol is one of: {}", names.join(", ")))
        }
    }
}

/// A port that may be any protocol's is every one's.
fn ports(told: &[(u16, Option<&'static dyn Protocol>)]) -> Ports {
    let known = protocol::registry();
    Ports::new(told.iter().flat_map(|(port, told)| {
        let spoken = told.as_ref().map_or(known, std::slice::from_ref);
        spoken.iter().map(|protocol| (*port, *protocol))
    }))
}

fn probe(url: &str) -> Result<Probe> {
    let mut target = Target::parse(url, protocol::registry())
        .context("--probe")
        .map_err(Usage::of)?;
    if !matches!(target.tls, TlsMode::Disable | TlsMode::Prefer) {
        return Err(Usage::because(
            "--probe asks without TLS: say sslmode=disable, and ask over a network to be trusted",
        ));
    }
    if target.login.user.is_none() {
        return Err(Usage::because("--probe: name the user in the URL"));
    }
    for warning in target.find_password(&|name| std::env::var(name).ok()) {
        tracing::warn!("{warning}");
    }
    Ok(Probe {
        protocol: target.protocol,
        login: target.login_for(None, false),
        port: target.port,
        host: target.host,
    })
}

pub fn run(args: Args) -> Result<Exit> {
    ::capture::harden()?;
    ::capture::give_back();
    let interfaces = args.interfaces.into_iter().map(Source::Interface);
    let files = args.files.into_iter().map(|file| match file {
        file if file == Path::new("-") => Source::Input,
        file => Source::File(file),
    });
    let mut options = Options::new(interfaces.chain(files).collect(), ports(&args.ports));
    options.memory = usize::try_from(args.max_memory).unwrap_or(usize::MAX);
    if options.memory < Budget::LEAST {
        return Err(Usage::because("--max-memory must be 64MiB or more"));
    }
    let budget = Budget::of(options.memory, options.workers);
    let largest = budget.largest_row();
    options.limits.body = usize::try_from(args.body_limit).unwrap_or(usize::MAX);
    if options.limits.body > largest / 2 {
        return Err(Usage::because(format_args!(
            "--body-limit must be at most {} with this --max-memory",
            ByteSize(largest as u64 / 2)
        )));
    }
    let kept = options.limits.body + Limits::HEAD;
    options.limits.request = options.limits.request.min(largest - kept);
    options.writer.flush_bytes = budget.flush_bytes();
    options.live.buffer = u32::try_from(args.buffer_size)
        .ok()
        .filter(|size| i32::try_from(*size).is_ok())
        .ok_or_else(|| Usage::because("--buffer-size must be below 2GiB"))?;
    options.sample = args.sample;
    options.only = Only {
        users: args.only_user,
        databases: args.only_database,
    };
    options.assumed = Assumed {
        user: args.assume_user.map(Into::into),
        database: args.assume_database.map(Into::into),
    };
    options.probe = args.probe.as_deref().map(probe).transpose()?;
    if let Some(probe) = &options.probe
        && options.ports.get(probe.port).is_none()
    {
        let why = format_args!("--probe asks port {}, which is not captured", probe.port);
        return Err(Usage::because(why));
    }
    options.live.filter = args.filter;
    options.live.snaplen = u32::try_from(args.snaplen)
        .ok()
        .filter(|size| (1..=262_144).contains(size))
        .ok_or_else(|| Usage::because("--snaplen must be from 1 to 256KiB"))?;
    options.duration = args.duration;
    let largest = budget.largest_segment();
    options.writer.rotate_bytes = match args.rotate_size.map(usize::try_from).transpose()? {
        None => largest.min(options.writer.rotate_bytes),
        Some(size) if (MIN_SEGMENT..=largest).contains(&size) => size,
        Some(_) => {
            return Err(Usage::because(format_args!(
                "--rotate-size must be from 64KiB to {} with this --max-memory",
                ByteSize(largest as u64)
            )));
        }
    };
    options.writer.rotate_after = args.rotate_every;
    if args.max_disk.is_some_and(|size| size < MIN_DISK) {
        return Err(Usage::because("--max-disk must be 1MiB or more"));
    }
    options.writer.max_bytes = args.max_disk;
    options.user = args.user.as_deref().map(Unprivileged::find).transpose()?;
    let stop = interrupt::flag()?;
    let display = Display::new(args.quiet, options.probe.is_some());
    let summary = capture(&options, &args.output, &stop, &display)?;
    let progress = &summary.progress;
    // What came after it last looked.
    display.warn(progress);
    display.finish();
    for warning in &progress.warnings {
        tracing::warn!("{warning}");
    }
    if !args.quiet {
        stderr::tell(&account(&args.output, progress, options.probe.is_some()));
    }
    if progress.over_limit > 0 {
        tracing::warn!(
            "{} rows came after the recording had reached --max-disk and are not in it: give it more room, or record less with a smaller --body-limit",
            progress.over_limit
        );
    }
    if summary.interrupted.is_none() && saw_nobody(progress) {
        tracing::warn!(
            "nothing was recorded: no connection was seen in {}; look which port the server has, and where its \
             traffic passes",
            options.source()
        );
    }
    match summary.interrupted {
        Some(error) => Err(error).context(format!(
            "the capture is not complete; {} has all that could be read",
            args.output.display()
        )),
        None if progress.over_limit > 0 => Ok(Exit::Failed),
        None => Ok(Exit::Done),
    }
}

fn capture(
    options: &Options,
    output: &Path,
    stop: &AtomicBool,
    display: &Display,
) -> Result<::capture::Summary> {
    let summary = ::capture::run(options, output, stop, &|progress| display.show(progress));
    summary.map_err(|error| {
        let kept = match error {
            CaptureError::Write(StoreError::Io { .. }) | CaptureError::WriterPanicked
                if output.join("manifest.json").exists() =>
            {
                format!("; {} has what was written until then", output.display())
            }
            _ => String::new(),
        };
        anyhow!(error).context(format!("failed to capture from {}{kept}", options.source()))
    })
}

/// What is seen while it runs, on standard error.
struct Display {
    bar: ProgressBar,
    last: Mutex<(Instant, u64)>,
    /// It was told that nothing more is recorded.
    told_full: AtomicBool,
    /// Reasons of losses that were told.
    told: Mutex<BTreeSet<String>>,
    probing: bool,
}

impl Display {
    fn new(quiet: bool, probing: bool) -> Display {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        if let Ok(style) = ProgressStyle::with_template("{elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        Display {
            bar,
            last: Mutex::new((Instant::now(), 0)),
            told_full: AtomicBool::new(false),
            told: Mutex::default(),
            probing,
        }
    }

    fn show(&self, progress: &Progress) {
        if progress.over_limit > 0 && !self.told_full.swap(true, Ordering::Relaxed) {
            self.bar.suspend(|| {
                tracing::warn!(
                    "the recording has reached --max-disk: what comes from now on is counted and not recorded"
                );
            });
        }
        self.warn(progress);
        if progress.unsealed > 0 {
            let message = format!("sealing {} segments that waited", progress.unsealed);
            self.bar.set_message(message);
            return;
        }
        let packets = progress.ledger.account("packets").map_or(0, |it| it.seen);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rate =
            (packets - last.1.min(packets)) as f64 / last.0.elapsed().as_secs_f64().max(0.001);
        *last = (Instant::now(), packets);
        self.bar.set_message(format!(
            "{packets} packets, {rate:.0}/s, {} rows, {} connections open, {} dropped",
            progress.rows,
            progress.flows,
            dropped(&progress.ledger),
        ));
    }

    fn warn(&self, progress: &Progress) {
        for warning in self.untold(progress) {
            self.bar.suspend(|| tracing::warn!("{warning}"));
        }
    }

    /// The losses that something can be done about, each reason once.
    fn untold(&self, progress: &Progress) -> Vec<String> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut untold = Vec::new();
        if progress.cut > 0
            && let Some(remedy) = remedy(CUT, self.probing)
            && told.insert(CUT.to_owned())
        {
            let cut = progress.cut;
            untold.push(format!(
                "{cut} requests so far can't be replayed: {CUT}; {remedy}"
            ));
        }
        for (name, account) in progress.ledger.accounts() {
            for (reason, count) in &account.lost {
                if let Some(remedy) = remedy(reason, self.probing)
                    && told.insert(reason.clone())
                {
                    untold.push(format!("{count} {name} lost so far: {reason}; {remedy}"));
                }
            }
        }
        untold
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Not even a connection that was left out for a reason.
fn saw_nobody(progress: &Progress) -> bool {
    let sessions = progress.ledger.account("sessions");
    progress.rows == 0 && sessions.is_none_or(|sessions| sessions.seen == 0)
}

/// Packets that never arrived here.
fn dropped(ledger: &Ledger) -> u64 {
    let lost = ledger.account("packets").map(|packets| &packets.lost);
    ["kernel drop", "interface drop"]
        .iter()
        .filter_map(|reason| lost?.get(*reason))
        .sum()
}

/// What to do about a loss, unless it is being done.
fn remedy(reason: &str, probing: bool) -> Option<&'static str> {
    recording::remedy(reason).filter(|remedy| !(probing && remedy.contains("--probe")))
}

fn account(output: &Path, progress: &Progress, probing: bool) -> String {
    let mut text = format!("Recorded {} rows: {}\n", progress.rows, output.display());
    for (name, account) in progress.ledger.accounts() {
        text += &format!(
            "  {name:<10} {:>12} seen {:>12} kept\n",
            account.seen, account.kept
        );
        for (reason, count) in &account.lost {
            let remedy = remedy(reason, probing).map_or(String::new(), |it| format!(": {it}"));
            text += &format!("  {:<10} {count:>12} {reason}{remedy}\n", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_by_its_protocol_or_its_urls() {
        for (text, name) in [
            ("postgres:6432", "postgres"),
            ("postgresql:6432", "postgres"),
            ("http:6432", "http"),
        ] {
            let (number, told) = port(text).unwrap();
            assert_eq!((number, told.unwrap().name()), (6432, name), "{text}");
        }
        assert!(port("gopher:70").is_err());
        for wrong in ["http", "5432,5433", "0", "65536", "http:"] {
            assert!(port(wrong).unwrap_err().contains("http:8080"), "{wrong}");
        }
    }

    #[test]
    fn nobody_is_not_who_was_left_out() {
        let mut progress = Progress::default();
        assert!(saw_nobody(&progress));
        let sessions = progress.ledger.account_mut("sessions");
        sessions.seen = 1;
        sessions.lose("sampled out", 1);
        assert!(!saw_nobody(&progress));
    }

    #[test]
    fn requests_over_the_cap_are_told_once() {
        let display = Display::new(true, false);
        let progress = |cut| Progress {
            cut,
            ..Progress::default()
        };
        assert!(display.untold(&progress(0)).is_empty());
        let [told] = &display.untold(&progress(2))[..] else {
            panic!("not one warning");
        };
        assert!(
            told.starts_with("2 requests") && told.contains("--max-memory"),
            "{told}"
        );
        assert!(display.untold(&progress(3)).is_empty());
    }

    #[test]
    fn who_probes_is_not_told_to() {
        let mut ledger = Ledger::default();
        ledger
            .account_mut("statements")
            .lose("prepared before the capture", 5);
        ledger.account_mut("packets").lose("kernel drop", 1);
        let progress = Progress {
            ledger: ledger.clone(),
            ..Progress::default()
        };
        let told = |probing| Display::new(true, probing).untold(&progress);
        let drops = "1 packets lost so far: kernel drop; enlarge --buffer-size, or take a --sample";
        assert_eq!(told(true), [drops]);
        let asks =
            "5 statements lost so far: prepared before the capture; let --probe ask the server";
        assert_eq!(told(false), [drops, asks]);
        for probing in [false, true] {
            let account = account(Path::new("monday.rec"), &progress, probing);
            assert!(account.contains("5 prepared before the capture"));
            assert_eq!(account.contains("--probe"), !probing, "{account}");
        }
    }
}
