//! Which sessions are recorded.

use std::fmt;
use std::str::FromStr;

/// A share of the sessions, chosen by a hash of their ends that is the same in every capture: so
/// each is recorded whole or not at all, and a larger sample has every smaller one in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    percent: f64,
}

impl Sample {
    pub fn takes(self, hash: u64) -> bool {
        // A cast from a float saturates.
        hash <= (self.percent / 100.0 * u64::MAX as f64) as u64
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

impl FromStr for Sample {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Sample, &'static str> {
        let percent = text.strip_suffix('%').and_then(|it| it.parse().ok());
        percent
            .filter(|percent| *percent > 0.0 && *percent <= 100.0)
            .map(|percent| Sample { percent })
            .ok_or("write it as 10% or 0.5%, up to 100%")
    }
}
