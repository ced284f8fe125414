use std::net::SocketAddr;

use recording::StoreError;

use crate::tls::TlsError;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(
        "the target {target} is {endpoint}, which this recording was captured from, and a replay writes: if that is what you want, tell rehearsal replay --allow-captured-target {endpoint}"
    )]
    CapturedTarget {
        target: String,
        endpoint: SocketAddr,
    },
    #[error("{0} is a run, not a recording: replay the recording that it is of")]
    IsRun(std::path::PathBuf),
    #[error(
        "the recording is of {recorded}, and the target speaks {target}: name a server of the recorded protocol"
    )]
    OtherProtocol {
        recorded: String,
        target: &'static str,
    },
    #[error("the pace must be a number above 0, not {0}")]
    Pace(f64),
    #[error("the target's host {host:?} is not found: {source}")]
    Resolve {
        host: String,
        source: std::io::Error,
    },
    #[error("the target does not answer: {0}")]
    Unreachable(std::io::Error),
    #[error("the target lets nobody of the recording in: {0}")]
    Login(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("failed to start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error("failed to make a histogram: {0:?}")]
    Histogram(hdrhistogram::CreationError),
    #[error("the {0} panicked")]
    Panicked(&'static str),
}

impl From<hdrhistogram::CreationError> for ReplayError {
    fn from(error: hdrhistogram::CreationError) -> ReplayError {
        ReplayError::Histogram(error)
    }
}
