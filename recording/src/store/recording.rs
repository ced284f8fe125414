use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::damage::Damage;
use super::error::StoreError;
use super::files::{self, Access, SegmentName};
use super::manifest::{ContentKind, FORMAT, Manifest, SegmentInfo};
use super::open::OpenSegment;
use super::rows::Rows;
use super::sealed::Sealed;
use crate::Timestamp;

/// A recording or a run on disk: whole, crashed, damaged, or still being written.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(super) dir: PathBuf,
    manifest: Manifest,
    pub(super) open_segments: Vec<Arc<OpenSegment>>,
    pub(super) left_out: Arc<Mutex<Vec<Damage>>>,
}

/// More than this is no manifest.
const MAX_MANIFEST: u64 = 256 << 20;

impl Recording {
    /// Reads the manifest and looks through the open segment, if there is one. Sealed segments are
    /// read when their rows are asked for.
    pub fn open(dir: &Path) -> Result<Recording, StoreError> {
        let mut left_out = Vec::new();
        let listed = list(dir)?;
        let manifest = read_manifest(dir, &mut left_out)?;
        if manifest.is_none() && listed.is_empty() {
            return Err(StoreError::NotARecording(dir.to_owned()));
        }
        let mut manifest = manifest.unwrap_or_else(|| {
            let mut manifest = Manifest::new(ContentKind::Recording, Timestamp::default());
            manifest.id = String::new();
            manifest.tool = String::new();
            manifest
        });
        name_sealed(dir, &listed, &mut manifest, &mut left_out);
        let mut open_segments = Vec::new();
        for path in open_paths(dir, &listed, &manifest) {
            match OpenSegment::read(&path) {
                Ok(segment) => {
                    left_out.extend(segment.left_out.clone());
                    open_segments.push(Arc::new(segment));
                }
                // Sealed since the directory was listed.
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Recording::open(dir);
                }
                Err(error) => left_out.push(error.into_damage(&path)),
            }
        }
        Ok(Recording {
            dir: dir.to_owned(),
            manifest,
            open_segments,
            left_out: Arc::new(Mutex::new(left_out)),
        })
    }

    /// As on disk; where it was behind or lost, with the segments that were found.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Is its writer at work? Not known, and false, where the file system has no locks.
    pub fn is_being_written(&self) -> bool {
        let lock = files::lock(&self.dir, Access::Shared);
        matches!(lock, Err(StoreError::InUse(_)))
    }

    /// What could not be read so far, one line each: which file, where, how much, why. Damage to a
    /// sealed segment is found as its rows are read: ask again after the last row.
    pub fn left_out(&self) -> Vec<String> {
        self.damage().iter().map(Damage::to_string).collect()
    }

    pub(super) fn damage(&self) -> Vec<Damage> {
        self.left_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// All rows in order of [`Exchange::order`](crate::Exchange::order).
    pub fn rows(&self) -> Result<Rows, StoreError> {
        Ok(Rows::new(self))
    }
}

/// The segments to read, by number. Where both forms are there, the sealed one counts.
fn list(dir: &Path) -> Result<BTreeMap<u32, SegmentName>, StoreError> {
    let mut listed = BTreeMap::new();
    let entries = fs::read_dir(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => StoreError::NotARecording(dir.to_owned()),
        _ => StoreError::io("list", dir)(error),
    })?;
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        match entry.file_name().to_str().and_then(SegmentName::parse) {
            Some(name @ SegmentName::Sealed(number)) => {
                listed.insert(number, name);
            }
            Some(name @ SegmentName::Open(number)) => {
                listed.entry(number).or_insert(name);
            }
            None => {}
        }
    }
    Ok(listed)
}

#[derive(Deserialize)]
struct Envelope {
    format: u32,
    /// Absent in recordings of an early version.
    checksum: Option<String>,
}

/// `None` where there is none, or it is damaged.
pub(super) fn read_manifest(
    dir: &Path,
    left_out: &mut Vec<Damage>,
) -> Result<Option<Manifest>, StoreError> {
    let path = dir.join(files::MANIFEST);
    let file = match files::open_file(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let problem = "it is missing; the segments are read without it";
            left_out.push(Damage::new(files::MANIFEST, None, problem));
            return Ok(None);
        }
        Err(error) => return Err(StoreError::io("open", &path)(error)),
    };
    let mut json = Vec::new();
    file.take(MAX_MANIFEST)
        .read_to_end(&mut json)
        .map_err(StoreError::io("read", &path))?;
    if let Ok(Envelope { format, checksum }) = serde_json::from_slice(&json) {
        if format > FORMAT {
            return Err(StoreError::TooNew { path, format });
        }
        if checksum.is_some() && checksum != Manifest::checksum(&json) {
            let problem = "it is not as it was written, by its checksum: what it says may be wrong";
            left_out.push(Damage::new(files::MANIFEST, None, problem));
        }
    }
    match serde_json::from_slice(&json) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            let problem = format!("{error}; the segments are read without it");
            left_out.push(Damage::new(files::MANIFEST, None, problem));
            Ok(None)
        }
    }
}

/// Adds the segments that were sealed after the manifest was last written, and takes out those that
/// are gone.
fn name_sealed(
    dir: &Path,
    listed: &BTreeMap<u32, SegmentName>,
    manifest: &mut Manifest,
    left_out: &mut Vec<Damage>,
) {
    let mut named: BTreeMap<u32, SegmentInfo> = BTreeMap::new();
    for info in manifest.segments.drain(..) {
        let Some(SegmentName::Sealed(number)) = SegmentName::parse(&info.file) else {
            left_out.push(Damage::new(
                &info.file,
                None,
                "is not the name of a segment",
            ));
            continue;
        };
        // It may have been sealed since the directory was listed.
        if listed.get(&number) == Some(&SegmentName::Sealed(number))
            || dir.join(&info.file).exists()
        {
            named.insert(number, info);
        } else {
            let problem = format!("it is missing, with {} rows", info.rows);
            left_out.push(Damage::new(&info.file, None, problem));
        }
    }
    for (&number, &name) in listed {
        if name != SegmentName::Sealed(number) || named.contains_key(&number) {
            continue;
        }
        let file = files::sealed_name(number);
        let path = dir.join(&file);
        match Sealed::open(&path, None) {
            Ok(sealed) => {
                named.insert(number, sealed.info(file));
            }
            Err(error) => left_out.push(error.into_damage(&path)),
        }
    }
    manifest.segments = named.into_values().collect();
}

/// The open segments that are not sealed.
fn open_paths(
    dir: &Path,
    listed: &BTreeMap<u32, SegmentName>,
    manifest: &Manifest,
) -> Vec<PathBuf> {
    let sealed = |number| {
        let name = files::sealed_name(number);
        manifest.segments.iter().any(|info| info.file == name)
    };
    listed
        .values()
        .filter_map(|name| match *name {
            SegmentName::Open(number) if !sealed(number) => Some(files::open_name(number)),
            _ => None,
        })
        .map(|name| dir.join(name))
        .collect()
}
