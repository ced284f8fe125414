use std::time::Duration;

use crate::schedule::Pace;
use crate::target::Target;

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    pub target: Target,
    pub pace: Pace,
    /// Threads with connections; by default one a core.
    pub workers: Option<usize>,
    /// Bytes of rows that may be between recording and run at once.
    pub budget: usize,
    /// For connecting and logging in, where the target's URL says nothing.
    pub connect_timeout: Duration,
    /// A request without an answer for so long ends its session, unless ten times its recorded time
    /// is longer.
    pub request_timeout: Duration,
    /// How long after the last row what is still under way may take.
    pub drain_timeout: Duration,
    pub limits: protocol::Limits,
    /// The endpoint that may be replayed to though the recording was captured from it.
    pub allow_captured_target: Option<String>,
}

impl Options {
    pub fn new(target: Target) -> Options {
        Options {
            target,
            pace: Pace::Speed(1.0),
            workers: None,
            budget: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(60),
            limits: protocol::Limits::default(),
            allow_captured_target: None,
        }
    }

    pub(crate) fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or(cores).max(1)
    }
}
