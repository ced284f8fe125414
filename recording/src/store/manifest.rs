use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Ledger, Timestamp};

/// The version of the format that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Between what the checksum is of and the checksum.
const SEAL: &str = ",\n  \"checksum\": \"";

/// What a recording or a run says of itself: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub kind: ContentKind,
    /// Tells this recording from every other. A run names its recording by it.
    pub id: String,
    pub created_at: Timestamp,
    /// Name and version of the program that wrote it.
    pub tool: String,
    #[serde(default)]
    pub protocols: Vec<String>,
    /// `interface lo, port 5432`, `file x.pcap`, a recording's path.
    #[serde(default)]
    pub source: String,
    /// The endpoints captured from, as far as learnt.
    #[serde(default)]
    pub servers: Vec<SocketAddr>,
    /// The writer came to its end: nothing was cut off.
    #[serde(default)]
    pub complete: bool,
    /// The sealed segments, by number. The open one is not among them.
    #[serde(default)]
    pub segments: Vec<SegmentInfo>,
    #[serde(default)]
    pub ledger: Ledger,
    /// Of a recording: the time of the last packet that the ledger has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_at: Option<Timestamp>,
    /// In runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentKind {
    Recording,
    Run,
}

/// One sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Name within the directory.
    pub file: String,
    pub rows: u64,
    /// Of the file.
    pub bytes: u64,
    /// The earliest `started_at`. It may lie long before the segment was opened: rows arrive when
    /// they end.
    pub first: Timestamp,
    /// The latest `started_at`.
    pub last: Timestamp,
    /// XXH3-64 of the file's footer in hexadecimal; the footer has the checksums of the blocks.
    pub checksum: String,
}

/// What the note about [`RunInfo::new_errors`] begins with.
pub const NEW_ERRORS: &str = "requests answered with an error, and without when recorded";

/// What a run says beside what a recording does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The recording's `id`.
    pub recording: String,
    pub recording_path: String,
    /// The target's URL without a password.
    pub target: String,
    /// `speed 1`, `asap`.
    pub pacing: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// By name (`lateness`, `service`, `response`, `first byte`), in nanoseconds, as
    /// [`encode_histogram`](crate::encode_histogram) writes them.
    #[serde(default)]
    pub histograms: BTreeMap<String, String>,
    /// Requests that the target answered with an error, and the recorded server without.
    #[serde(default)]
    pub new_errors: u64,
    /// What a reader of the run should be told.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Absent in runs of an early version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
}

/// What became of everything when the recording was captured, as its manifest said when it was replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    pub complete: bool,
    pub ledger: Ledger,
}

impl Manifest {
    /// The file: itself, and the checksum of all that stands before it.
    pub(super) fn to_file(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.truncate(text.trim_end_matches("\n}").len());
        let checksum = xxh3_64(text.as_bytes());
        Ok(format!("{text}{SEAL}{checksum:016x}\"\n}}").into_bytes())
    }

    /// The checksum that `file` should have, to judge by what stands before it.
    pub(super) fn checksum(file: &[u8]) -> Option<String> {
        let text = str::from_utf8(file).ok()?;
        let (before, _) = text.rsplit_once(SEAL)?;
        Some(format!("{:016x}", xxh3_64(before.as_bytes())))
    }

    /// For the runs of this recording.
    pub fn captured(&self) -> Captured {
        Captured {
            complete: self.complete,
            ledger: self.ledger.clone(),
        }
    }

    /// A manifest with an `id` of its own and nothing recorded yet.
    pub fn new(kind: ContentKind, created_at: Timestamp) -> Manifest {
        Manifest {
            format: FORMAT,
            kind,
            id: format!("{:016x}", RandomState::new().hash_one(created_at)),
            created_at,
            tool: concat!("rehearsal ", env!("CARGO_PKG_VERSION")).to_owned(),
            protocols: Vec::new(),
            source: String::new(),
            servers: Vec::new(),
            complete: false,
            segments: Vec::new(),
            ledger: Ledger::default(),
            ledger_at: None,
            run: None,
        }
    }
}
