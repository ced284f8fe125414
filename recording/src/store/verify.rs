//! Verifying: everything that FORMAT.md promises of a recording, by reading all of it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::damage::Damage;
use super::decode::{Decoder, Order, Wanted};
use super::error::StoreError;
use super::files::{self, Access, SegmentName};
use super::manifest::{ContentKind, Manifest, SegmentInfo};
use super::recording::Recording;
use super::rows::Step;
use super::sealed::{Sealed, SealedReader};
use crate::{Kind, Ledger};

/// What was found by reading all of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Its manifest's `id`.
    pub id: String,
    pub complete: bool,
    /// A writer is at work: what only holds at its end was not looked at.
    pub being_written: bool,
    pub segments: usize,
    /// Rows that could be read.
    pub rows: u64,
    /// Of the files.
    pub bytes: u64,
    /// What is wrong. Empty for a sound recording.
    pub damage: Vec<Damage>,
    /// Files that a crash left behind and that are of no account.
    pub left_over: Vec<String>,
}

impl Verification {
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Recording {
    /// Reads every byte of the recording at `dir` and changes none.
    pub fn verify(dir: &Path) -> Result<Verification, StoreError> {
        let lock = files::lock(dir, Access::Shared);
        let being_written = matches!(lock, Err(StoreError::InUse(_)));
        let recording = Recording::open(dir)?;
        let manifest = recording.manifest();
        let mut found = Verification {
            id: manifest.id.clone(),
            complete: manifest.complete,
            being_written,
            segments: manifest.segments.len() + recording.open_segments.len(),
            rows: 0,
            bytes: 0,
            damage: recording.damage(),
            left_over: Vec::new(),
        };
        let mut rows = Rows {
            incomplete: !found.damage.is_empty(),
            ..Rows::default()
        };
        for info in &manifest.segments {
            rows.sealed(dir, info, &mut found.damage);
        }
        for segment in &recording.open_segments {
            rows.begin(files::name_of(&segment.path));
            match segment.load() {
                Ok(mut sorted) => {
                    rows.read(|| sorted.step().map_err(StoreError::damaged(&segment.path)));
                }
                Err(error) => rows.fail(error, &segment.path),
            }
            found.damage.append(&mut rows.damage);
        }
        found.rows = rows.count;
        if being_written {
            // A batch may be on its way to the file.
            let open = |file: &str| matches!(SegmentName::parse(file), Some(SegmentName::Open(_)));
            found.damage.retain(|damage| !open(&damage.file));
        } else {
            if !rows.incomplete {
                rows.sequences(manifest, &mut found.damage);
            }
            if manifest.complete {
                accounts(&manifest.ledger, &rows, &mut found.damage);
            }
        }
        look_at_files(dir, &recording, &mut found)?;
        Ok(found)
    }
}

/// What is learnt from the rows.
#[derive(Default)]
struct Rows {
    file: String,
    last: Option<Order>,
    out_of_order: u64,
    unreadable: u64,
    damage: Vec<Damage>,
    /// There are rows that could not be read: what is not there may have been.
    incomplete: bool,
    count: u64,
    opened: u64,
    requested: u64,
    /// Sessions whose rows are not all there yet.
    sessions: HashMap<u64, Sequence>,
}

/// The sequence numbers of a session, in no order: they are 0 to `max` where their count and sum are
/// those of such a row.
#[derive(Default)]
struct Sequence {
    count: u64,
    sum: u64,
    max: u64,
    closed: bool,
}

impl Sequence {
    fn is_gapless(&self) -> bool {
        self.count == self.max + 1 && u128::from(self.sum) * 2 == triangle(self.max)
    }
}

/// Twice the sum of all numbers up to `max`.
fn triangle(max: u64) -> u128 {
    u128::from(max) * (u128::from(max) + 1)
}

impl Rows {
    fn begin(&mut self, file: String) {
        self.file = file;
        self.last = None;
    }

    fn sealed(&mut self, dir: &Path, info: &SegmentInfo, damage: &mut Vec<Damage>) {
        let path = dir.join(&info.file);
        self.begin(info.file.clone());
        match Sealed::open(&path, Some(info)) {
            Ok(sealed) => {
                let found = sealed.info(info.file.clone());
                for (what, told, found) in [
                    ("rows", info.rows.to_string(), found.rows.to_string()),
                    ("bytes", info.bytes.to_string(), found.bytes.to_string()),
                    ("first", info.first.0.to_string(), found.first.0.to_string()),
                    ("last", info.last.0.to_string(), found.last.0.to_string()),
                ] {
                    if told != found {
                        let problem = format!("the manifest says {what} {told}, and it is {found}");
                        damage.push(Damage::new(&info.file, None, problem));
                    }
                }
                let mut reader = SealedReader::new(sealed, Wanted::All);
                self.read(|| reader.step());
            }
            Err(error) => self.fail(error, &path),
        }
        damage.append(&mut self.damage);
    }

    fn fail(&mut self, error: StoreError, path: &Path) {
        self.incomplete = true;
        self.damage.push(error.into_damage(path));
    }

    /// Reads a segment to its end.
    fn read(&mut self, mut step: impl FnMut() -> Result<Step, StoreError>) {
        loop {
            match step() {
                Ok(Step::Batch(batch)) => self.batch(&batch),
                Ok(Step::Later(_)) => {}
                Ok(Step::End) => break,
                Err(error) => {
                    let goes_on = matches!(
                        error,
                        StoreError::Damaged {
                            offset: Some(_),
                            ..
                        }
                    );
                    let file = self.file.clone();
                    self.fail(error, Path::new(&file));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        let counts = [
            (std::mem::take(&mut self.out_of_order), "are out of order"),
            (
                std::mem::take(&mut self.unreadable),
                "have values not known here",
            ),
        ];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            let problem = format!("{count} rows {what}");
            self.damage.push(Damage::new(&self.file, None, problem));
        }
    }

    fn batch(&mut self, batch: &Decoder) {
        for at in 0..batch.rows() {
            let order = batch.order(at);
            self.out_of_order += u64::from(order <= self.last);
            self.last = order;
            let Some(row) = batch.row(at, Wanted::All) else {
                self.unreadable += 1;
                self.incomplete = true;
                continue;
            };
            self.count += 1;
            self.opened += u64::from(row.kind == Kind::Open);
            if matches!(row.kind, Kind::Request | Kind::Cancel) {
                self.requested += 1;
            }
            let session = self.sessions.entry(row.session).or_default();
            session.count += 1;
            session.sum += u64::from(row.seq);
            session.max = session.max.max(u64::from(row.seq));
            session.closed |= row.kind == Kind::Close;
            if session.closed && session.is_gapless() {
                self.sessions.remove(&row.session);
            }
        }
    }

    /// A run that was cut short has the rows that had ended, and they need not be a session's first.
    fn sequences(&self, manifest: &Manifest, damage: &mut Vec<Damage>) {
        if manifest.kind == ContentKind::Run && !manifest.complete {
            return;
        }
        let gaps = self.sessions.iter().filter(|(_, it)| !it.is_gapless());
        let count = gaps.clone().count();
        if let Some((number, session)) = gaps.min_by_key(|(number, _)| **number) {
            let problem = format!(
                "rows are missing in {count} sessions: session {number} has {} rows and goes up to seq {}",
                session.count, session.max
            );
            damage.push(Damage::new(".", None, problem));
        }
    }
}

/// What the ledger of a complete recording must say.
fn accounts(ledger: &Ledger, rows: &Rows, damage: &mut Vec<Damage>) {
    let mut wrong = |problem| damage.push(Damage::new(files::MANIFEST, None, problem));
    for (name, account) in ledger.accounts().filter(|(_, it)| !it.balanced()) {
        let lost: u64 = account.lost.values().sum();
        wrong(format!(
            "the ledger's {name} do not balance: {} seen, {} kept, {lost} lost",
            account.seen, account.kept
        ));
    }
    if rows.incomplete {
        return;
    }
    if let Some(requests) = ledger.account("requests")
        && !(requests.kept..=requests.seen).contains(&rows.requested)
    {
        wrong(format!(
            "the ledger has {} requests kept of {} seen, and there are {} rows of requests",
            requests.kept, requests.seen, rows.requested
        ));
    }
    if let Some(sessions) = ledger.account("sessions")
        && rows.opened > sessions.seen
    {
        wrong(format!(
            "the ledger has {} sessions seen, and {} were opened",
            sessions.seen, rows.opened
        ));
    }
}

/// Permissions, and what is left over.
fn look_at_files(
    dir: &Path,
    recording: &Recording,
    found: &mut Verification,
) -> Result<(), StoreError> {
    let mut look = |name: &str, path: &Path, allowed: u32| {
        // It may have been sealed and removed meanwhile.
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            found.damage.push(Damage::new(name, None, "it is a link"));
        } else if mode & !allowed != 0 {
            let problem = format!("its permissions are {mode:04o}, and should be {allowed:04o}");
            found.damage.push(Damage::new(name, None, problem));
        }
        if metadata.is_file() {
            found.bytes += metadata.len();
        }
    };
    look(".", dir, 0o700);
    for name in files::names(dir)? {
        if files::is_own(&name) {
            look(&name, &dir.join(&name), 0o600);
        }
    }
    if !found.being_written {
        found.left_over = left_over(dir, recording)?;
    }
    Ok(())
}

/// Files that were being written aside, and open segments that are sealed.
pub(super) fn left_over(dir: &Path, recording: &Recording) -> Result<Vec<String>, StoreError> {
    let names = files::names(dir)?.into_iter().filter(|name| {
        files::is_aside(name)
            || match SegmentName::parse(name) {
                Some(SegmentName::Open(number)) => {
                    let sealed = files::sealed_name(number);
                    let mut sealed_ones = recording.manifest().segments.iter();
                    sealed_ones.any(|info| info.file == sealed)
                }
                _ => false,
            }
    });
    Ok(names.collect())
}
