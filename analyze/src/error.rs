use std::fmt;

use recording::StoreError;

/// Which of the compared streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Old,
    New,
    Noise,
}

/// Why rows could not be analysed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    #[error("cannot read {which}: {source}")]
    Read { which: Which, source: StoreError },
    #[error(
        "{which} is not in order of time at session {session}, request {seq}: verify the directory"
    )]
    OutOfOrder {
        which: Which,
        session: u64,
        seq: u32,
    },
    #[error("OLD is of {old}, and {which} of {other}: compare runs of one recording")]
    OtherRecording {
        which: Which,
        old: String,
        other: String,
    },
    #[error("{which} is the same run as {other}: compared with itself nothing differs")]
    SameTwice { which: Which, other: Which },
    #[error("session {session} speaks a protocol that this build does not know: {protocol}")]
    UnknownProtocol { session: u64, protocol: String },
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl AnalyzeError {
    pub(crate) fn reading(which: Which) -> impl Fn(StoreError) -> AnalyzeError {
        move |source| AnalyzeError::Read { which, source }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Old => "OLD",
            Which::New => "NEW",
            Which::Noise => "the noise run",
        })
    }
}
