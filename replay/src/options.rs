use std::num::NonZeroUsize;
use std::time::Duration;

use crate::schedule::Pace;
use crate::target::{Target, TargetError};

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
    /// A request without an answer for so long ends its connection, unless ten times its recorded time
    /// is longer; and its session, where that can't go on over another one.
    pub request_timeout: Duration,
    /// How long after the last row nothing may happen, beside waiting for what has a time-out of its own.
    pub drain_timeout: Duration,
    pub limits: protocol::Limits,
    /// How many all sessions share, where not each has its own.
    pub(crate) connections: Option<NonZeroUsize>,
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
            connections: None,
            allow_captured_target: None,
        }
    }

    /// The requests of all sessions go over so many connections, and wait for one that is free. Each
    /// thread has its part of them.
    pub fn share_connections(&mut self, connections: NonZeroUsize) -> Result<(), TargetError> {
        let protocol = self.target.protocol;
        if !protocol.shares_connections() {
            return Err(TargetError::Option {
                name: "connections".to_owned(),
                protocol: protocol.name(),
                why: "each session needs a connection of its own",
            });
        }
        self.connections = Some(connections);
        Ok(())
    }

    pub fn connections(&self) -> Option<NonZeroUsize> {
        self.connections
    }

    pub(crate) fn worker_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = self.connections.map_or(usize::MAX, NonZeroUsize::get);
        self.workers.unwrap_or(cores).clamp(1, most)
    }

    /// For people.
    pub(crate) fn pacing(&self) -> String {
        match self.connections {
            None => self.pace.to_string(),
            Some(connections) => format!("{}, {connections} connections", self.pace),
        }
    }
}
