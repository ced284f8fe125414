//! The threads that read packets.

use std::io;
use std::time::{Duration, Instant};

use recording::Timestamp;

use crate::clock;
use crate::options::{Options, Source};
use crate::pipeline::{CaptureError, Control, Progress, Reporter};
use crate::source::{FULL_SNAPLEN, FileError, Live, PacketFile, READ_TIMEOUT_MS};
use crate::splitter::Splitter;

/// By when the kernel has handed over a block of its ring that is not full: it takes two time-outs,
/// and a busy machine more.
const HANDED_OVER: Duration = Duration::from_millis(10 * READ_TIMEOUT_MS as u64);
/// How long the kernel's ring is read after the end, at most.
const DRAIN: Duration = Duration::from_secs(10);

pub fn listen(
    mut live: Live,
    name: &str,
    options: &Options,
    mut splitter: Splitter,
    mut reporter: Reporter,
    control: &Control<'_>,
) -> Result<(), CaptureError> {
    let warnings = Vec::from_iter(cut_warning(name, options.live.snaplen));
    let mut outcome = Ok(());
    let mut ending: Option<(Instant, Timestamp)> = None;
    for count in 0_u64.. {
        let quiet = match live.next_packet() {
            Ok(Some(packet)) => {
                // What was sent after the end is not part of the capture.
                if ending.is_some_and(|(_, end)| packet.at > end) {
                    break;
                }
                splitter.packet(packet);
                false
            }
            Ok(None) => {
                splitter.flush();
                true
            }
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        };
        if !quiet && count % 256 != 0 {
            continue;
        }
        if reporter.due() {
            let drops = live.drops(false);
            reporter.tell(reader_progress(&mut splitter, drops, warnings.clone()));
        }
        match ending {
            None if control.stopping() => ending = Some((clock::instant(), clock::wall())),
            Some((since, _)) => {
                let waited = clock::elapsed(since);
                if quiet && (live.is_drained() || waited > HANDED_OVER) || waited > DRAIN {
                    break;
                }
            }
            None => {}
        }
    }
    splitter.finish();
    let drops = live.drops(true);
    reporter.tell(reader_progress(&mut splitter, drops, warnings));
    outcome
}

pub fn read(
    files: &[Source],
    mut splitter: Splitter,
    mut reporter: Reporter,
    control: &Control<'_>,
) -> Result<(), CaptureError> {
    let mut warnings = Vec::new();
    let mut drops = (0, 0);
    let mut outcome = Ok(());
    for source in files {
        let file = match source {
            Source::File(path) => PacketFile::open(path),
            _ => PacketFile::new(source.to_string(), Box::new(io::stdin())),
        };
        let ended = file.and_then(|mut file| {
            let before = drops;
            let ended = read_file(&mut file, &mut splitter, control, |splitter, file| {
                if reporter.due() {
                    let (kernel, interface) = file.drops();
                    let drops = (before.0 + kernel, before.1 + interface);
                    reporter.tell(reader_progress(splitter, drops, warnings.clone()));
                }
            });
            let (kernel, interface) = file.drops();
            drops = (before.0 + kernel, before.1 + interface);
            warnings.extend(file.left_out().map(str::to_owned));
            let snaplen = file.snaplen().unwrap_or(FULL_SNAPLEN);
            warnings.extend(cut_warning(&source.to_string(), snaplen));
            ended
        });
        match ended {
            Ok(()) => {}
            // The files after it may be whole.
            Err(error @ FileError::Damaged { .. }) => match outcome {
                Ok(()) => outcome = Err(error.into()),
                Err(_) => warnings.push(error.to_string()),
            },
            Err(error) => {
                outcome = outcome.and(Err(error.into()));
                break;
            }
        }
    }
    splitter.finish();
    reporter.tell(reader_progress(&mut splitter, drops, warnings));
    outcome
}

fn read_file(
    file: &mut PacketFile,
    splitter: &mut Splitter,
    control: &Control<'_>,
    mut report: impl FnMut(&mut Splitter, &PacketFile),
) -> Result<(), FileError> {
    for count in 0_u64.. {
        if file.is_drained() {
            // The next read may wait for long.
            splitter.flush();
            report(splitter, file);
        }
        match file.next_packet()? {
            Some(packet) => splitter.packet(packet),
            None => break,
        }
        if count % 4096 == 0 {
            report(splitter, file);
            if control.stopping() {
                break;
            }
        }
    }
    Ok(())
}

fn cut_warning(source: &str, snaplen: u32) -> Option<String> {
    (snaplen < FULL_SNAPLEN).then(|| {
        format!(
            "{source} was captured with a snap length of {snaplen}: longer packets are cut and leave gaps; capture whole packets"
        )
    })
}

fn reader_progress(splitter: &mut Splitter, drops: (u64, u64), warnings: Vec<String>) -> Progress {
    Progress {
        at: splitter.last_at(),
        ledger: splitter.ledger(drops),
        warnings,
        ..Progress::default()
    }
}
