use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use protocol::Limits;
use recording::WriterOptions;

use crate::choice::{Assumed, Only, Sample};
use crate::ports::Ports;
use crate::privileges::Unprivileged;
use crate::probe::Probe;
use crate::source::LiveOptions;

/// Where packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Interface(String),
    /// Files are read one after the other.
    File(PathBuf),
    /// A packet file on standard input.
    Input,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Interface(name) => write!(f, "interface {name}"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Input => f.write_str("standard input"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub sources: Vec<Source>,
    pub ports: Ports,
    /// Record only this share of the sessions.
    pub sample: Option<Sample>,
    pub only: Only,
    pub assumed: Assumed,
    pub limits: Limits,
    /// Bytes that all may hold, but for the kernel's buffer.
    pub memory: usize,
    pub live: LiveOptions,
    /// Threads that reassemble and decode.
    pub workers: usize,
    pub writer: WriterOptions,
    /// How long to listen to interfaces.
    pub duration: Option<Duration>,
    /// Who tells of connections that were open already. Of interfaces only.
    pub probe: Option<Probe>,
    /// Whom to become before the first packet is read.
    pub user: Option<Unprivileged>,
}

impl Options {
    /// A source that is named twice is read once, and `any` has every interface in it.
    pub fn new(mut sources: Vec<Source>, ports: Ports) -> Options {
        let any = Source::Interface("any".to_owned());
        if sources.contains(&any) {
            sources.retain(|it| !matches!(it, Source::Interface(_)) || *it == any);
        }
        let mut known = Vec::new();
        sources.retain(|source| {
            let new = !known.contains(source);
            known.push(source.clone());
            new
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            sources,
            ports,
            sample: None,
            only: Only::default(),
            assumed: Assumed::default(),
            limits: Limits::default(),
            memory: 256 << 20,
            live: LiveOptions::default(),
            workers: cores.saturating_sub(1).clamp(1, 4),
            writer: WriterOptions::default(),
            duration: None,
            probe: None,
            user: None,
        }
    }

    /// Names of the protocols that may be spoken.
    pub fn protocols(&self) -> Vec<String> {
        let names = self.ports.protocols();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The sources, the ports, and which sessions: for the manifest.
    pub fn source(&self) -> String {
        let sources: Vec<String> = self.sources.iter().map(Source::to_string).collect();
        let ports: Vec<String> = self.ports.numbers().map(|it| it.to_string()).collect();
        let sample = self.sample.map_or(String::new(), |sample| {
            format!(", a sample of {sample} of the sessions")
        });
        let only = |what, names: &[String]| match names {
            [] => String::new(),
            names => format!(", only {what} {}", names.join(" and ")),
        };
        format!(
            "{}, port {}{sample}{}{}",
            sources.join(" and "),
            ports.join(" and "),
            only("user", &self.only.users),
            only("database", &self.only.databases),
        )
    }
}
