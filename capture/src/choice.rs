//! Which sessions are recorded.

use std::fmt;
use std::str::FromStr;

use recording::SessionInfo;

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

/// Whose sessions are recorded. An empty list has everybody in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    pub users: Vec<String>,
    pub databases: Vec<String>,
}

impl Only {
    /// Why a session is left out. One that does not tell is not: it may be anyone's.
    pub fn refuses(&self, info: &SessionInfo) -> Option<&'static str> {
        let other = |wanted: &[String], told: Option<&str>| {
            told.is_some_and(|told| !wanted.is_empty() && wanted.iter().all(|it| it != told))
        };
        if other(&self.users, info.user.as_deref()) {
            Some("other user")
        } else if other(&self.databases, info.database.as_deref()) {
            Some("other database")
        } else {
            None
        }
    }
}
