//! Repair: what a crash left is brought into the form of an incomplete but tidy recording.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::decode::Wanted;
use super::error::StoreError;
use super::files::{self, Access, SegmentName};
use super::manifest::{ContentKind, Manifest, SegmentInfo};
use super::open::OpenSegment;
use super::recording::{Recording, read_manifest};
use super::rows::Step;
use super::seal::seal;
use super::sealed::{Sealed, SealedReader};
use super::verify::left_over;
use super::writer::write_manifest;
use crate::{Kind, Timestamp};

impl Recording {
    /// Seals open segments up to their last whole batch, removes what is left over, closes the files
    /// to others and writes the manifest anew. Returns what was done, one line each. What a sealed
    /// segment has lost stays lost, and is still told by [`Recording::verify`].
    ///
    /// Fails, and changes nothing, while the recording is being written. A repair that is cut short
    /// leaves what a crash of the writer would.
    pub fn repair(dir: &Path) -> Result<Vec<String>, StoreError> {
        let _lock = files::lock(dir, Access::Alone)?;
        let recording = Recording::open(dir)?;
        let mut done = Vec::new();
        let mut lost = Vec::new();
        let (manifest, changed) = named(dir, read_manifest(dir, &mut lost)?, &recording)?;
        let mut repair = Repair {
            dir,
            manifest,
            changed,
        };
        if !lost.is_empty() {
            done.push(format!("{}: written anew", files::MANIFEST));
        }
        repair.close_to_others(&mut done)?;
        for segment in &recording.open_segments {
            repair.seal(segment, &mut done)?;
        }
        repair.recount(&recording, &mut done)?;
        if repair.changed {
            write_manifest(dir, &repair.manifest)?;
        }
        // Opened again, since an open segment is only left over once it is sealed whole.
        let recording = Recording::open(dir)?;
        for name in left_over(dir, &recording)? {
            if repair.is_needless(&name) {
                files::remove(&dir.join(&name))?;
                done.push(format!("{name}: removed, it was left over"));
            }
        }
        Ok(done)
    }
}

/// The manifest as it should be, and whether it is not that on disk. Segments that are missing stay
/// named, so that their loss is told.
fn named(
    dir: &Path,
    manifest: Option<Manifest>,
    recording: &Recording,
) -> Result<(Manifest, bool), StoreError> {
    let changed = manifest.is_none();
    let mut manifest = match manifest {
        Some(manifest) => manifest,
        None => {
            let created_at = recording.manifest().segments.iter().map(|info| info.first);
            // Only what was replayed has times of that.
            let kind = match recording.rows()?.flatten().any(|row| row.pacing.is_some()) {
                true => ContentKind::Run,
                false => ContentKind::Recording,
            };
            let mut manifest = Manifest::new(kind, created_at.min().unwrap_or_default());
            manifest.source = format!("repaired without its manifest: {}", dir.display());
            manifest
        }
    };
    let before = manifest.segments.len();
    for info in &recording.manifest().segments {
        if !manifest.segments.iter().any(|it| it.file == info.file) {
            manifest.segments.push(info.clone());
        }
    }
    let changed = changed || manifest.segments.len() > before;
    Ok((manifest, changed))
}

struct Repair<'a> {
    dir: &'a Path,
    manifest: Manifest,
    /// The manifest on disk is another.
    changed: bool,
}

impl Repair<'_> {
    fn seal(&mut self, segment: &OpenSegment, done: &mut Vec<String>) -> Result<(), StoreError> {
        let name = files::name_of(&segment.path);
        let Some(SegmentName::Open(number)) = SegmentName::parse(&name) else {
            return Ok(());
        };
        let batches = segment.batches()?;
        if batches.is_empty() {
            files::remove(&segment.path)?;
            done.push(format!("{name}: removed, it had no whole batch"));
            return Ok(());
        }
        let segments = self.manifest.segments.iter();
        let earlier = segments.filter(|info| number_of(&info.file) < Some(number));
        let horizon = earlier.map(|info| info.last).max();
        let horizon = horizon.unwrap_or(Timestamp(i64::MIN));
        let info = seal(self.dir, number, &batches, horizon)?;
        done.push(format!(
            "{name}: sealed as {}, with {} rows",
            info.file, info.rows
        ));
        self.manifest.segments.push(info);
        self.manifest
            .segments
            .sort_by_key(|info| number_of(&info.file));
        self.changed = true;
        write_manifest(self.dir, &self.manifest)?;
        files::remove(&segment.path)
    }

    /// The ledger of a recording that was cut off is older than its rows. These tell what became of
    /// requests; of the rest nothing more is known.
    fn recount(&mut self, recording: &Recording, done: &mut Vec<String>) -> Result<(), StoreError> {
        if self.manifest.complete || self.manifest.kind == ContentKind::Run {
            return Ok(());
        }
        let mut ledger = self.manifest.ledger.clone();
        let requests = ledger.account_mut("requests");
        requests.kept = 0;
        let mut lost = BTreeMap::new();
        for row in recording.rows()?.flatten() {
            match (row.kind, row.lost()) {
                (Kind::Open | Kind::Close | Kind::Prepare, _) => {}
                (_, Some(reason)) => *lost.entry(reason.to_string()).or_default() += 1,
                (_, None) => requests.kept += 1,
            }
        }
        requests.lost.append(&mut lost);
        ledger.cut_off();
        if ledger != self.manifest.ledger {
            let rest = self.manifest.ledger_at.map_or(String::new(), |at| {
                format!("; its other accounts are as of {at}")
            });
            done.push(format!(
                "{}: the ledger's requests are counted by their rows{rest}",
                files::MANIFEST
            ));
            self.manifest.ledger = ledger;
            self.changed = true;
        }
        Ok(())
    }

    /// An open segment whose sealed form is damaged may be the only copy of its rows.
    fn is_needless(&self, name: &str) -> bool {
        let Some(SegmentName::Open(number)) = SegmentName::parse(name) else {
            return true;
        };
        let sealed = files::sealed_name(number);
        let info = self
            .manifest
            .segments
            .iter()
            .find(|info| info.file == sealed);
        info.is_some_and(|info| is_whole(self.dir, info))
    }

    fn close_to_others(&self, done: &mut Vec<String>) -> Result<(), StoreError> {
        let mut close = |path: &Path, name: &str, allowed: u32| {
            let file = files::open_any(path).map_err(StoreError::io("open", path))?;
            let metadata = file.metadata().map_err(StoreError::io("look at", path))?;
            if metadata.permissions().mode() & 0o7777 & !allowed == 0 {
                return Ok(());
            }
            file.set_permissions(Permissions::from_mode(allowed))
                .map_err(StoreError::io("set the permissions of", path))?;
            done.push(format!("{name}: its permissions are {allowed:04o} now"));
            Ok(())
        };
        close(self.dir, ".", 0o700)?;
        for name in files::names(self.dir)? {
            if files::is_own(&name) {
                close(&self.dir.join(&name), &name, 0o600)?;
            }
        }
        Ok(())
    }
}

fn number_of(file: &str) -> Option<u32> {
    match SegmentName::parse(file)? {
        SegmentName::Sealed(number) | SegmentName::Open(number) => Some(number),
    }
}

fn is_whole(dir: &Path, info: &SegmentInfo) -> bool {
    let Ok(sealed) = Sealed::open(&dir.join(&info.file), Some(info)) else {
        return false;
    };
    let mut reader = SealedReader::new(sealed, Wanted::All);
    loop {
        match reader.step() {
            Ok(Step::End) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}
