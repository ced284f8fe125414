//! What makes a comparison fail: conditions in words.

mod parse;

use std::fmt;
use std::str::FromStr;

use protocol::DifferenceKind;

pub use parse::GateError;

/// Conditions of which none may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    text: String,
    pub(crate) conditions: Vec<Condition>,
}

impl Gate {
    pub const DEFAULT: &str =
        "differences > 0 or fingerprint.p99 > 1.3x + 5ms or fingerprint.mean > 1.3x + 1ms";

    /// For `--help`.
    pub const HELP: &str = "\
Conditions, with `or` or commas between; the comparison fails when one of them holds.

  METRIC > LIMIT   or   METRIC >= LIMIT

Metrics that count requests; LIMIT is a number, or a share of the compared requests: `0.1%`
  differences         that are not noise, of all kinds
  new-errors  vanished-errors  different-errors  row-counts  affected-rows  column-names
  column-types  values  order  warnings  missing  statuses  headers
                      differences of one kind
  errors              of the new side, also those the old side had; LIMIT may be `1.5x` the old

Metrics of time; STAT is p50, p90, p99, p99.9, mean or max
  STAT                service time of all requests: from the first byte sent to the last received
  response.STAT       from the time when the request was to be sent
  first-byte.STAT     from the first byte sent to the first received
  fingerprint.STAT    service time of any statement that ran at least 30 times on either side;
                      with a test of significance, and beyond what the noise run shows. Not max.
LIMIT is a time (`500ms`, `2s`, `800us`), a factor of the old (`1.3x`), more than the old (`20%`),
or one of the latter with a time on top: `1.3x + 5ms` is 1.3 times the old plus 5 ms.

  inconclusive        makes an inconclusive comparison a failed one

A metric of which there are too few samples, or that is above its limit by what may be chance, is
never a pass: the verdict is then inconclusive. Of fingerprint.STAT, statements that may be above by
chance do not count where half as many are above it with OLD and NEW exchanged.";

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn asks_for_times(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| matches!(condition.metric, Metric::Time(..)))
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::DEFAULT.parse().unwrap_or_else(|_| Gate {
            text: String::new(),
            conditions: Vec::new(),
        })
    }
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Gate, GateError> {
        Ok(Gate {
            text: text.trim().to_owned(),
            conditions: parse::conditions(text)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    /// As it was written.
    pub text: String,
    pub metric: Metric,
    pub or_equal: bool,
    pub limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Metric {
    Inconclusive,
    Differences,
    Kind(DifferenceKind),
    Errors,
    Time(Scope, Stat),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Service,
    Response,
    FirstByte,
    Fingerprint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stat {
    P50,
    P90,
    P99,
    P999,
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Count(f64),
    /// Of the compared requests, 1 for all.
    Share(f64),
    /// `factor` times the old value, plus.
    Relative {
        factor: f64,
        plus_ns: f64,
    },
    Time {
        ns: f64,
    },
}

impl Stat {
    pub const ALL: [Stat; 6] = [
        Stat::P50,
        Stat::P90,
        Stat::P99,
        Stat::P999,
        Stat::Mean,
        Stat::Max,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Stat::P50 => "p50",
            Stat::P90 => "p90",
            Stat::P99 => "p99",
            Stat::P999 => "p99.9",
            Stat::Mean => "mean",
            Stat::Max => "max",
        }
    }

    /// The share of values at or below it, where it is a quantile.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Stat::P50 => Some(0.5),
            Stat::P90 => Some(0.9),
            Stat::P99 => Some(0.99),
            Stat::P999 => Some(0.999),
            Stat::Mean | Stat::Max => None,
        }
    }
}

impl Scope {
    pub const ALL: [Scope; 4] = [
        Scope::Service,
        Scope::Response,
        Scope::FirstByte,
        Scope::Fingerprint,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scope::Service => "service",
            Scope::Response => "response",
            Scope::FirstByte => "first-byte",
            Scope::Fingerprint => "fingerprint",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
