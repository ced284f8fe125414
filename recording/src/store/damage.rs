use std::fmt;

use serde::Serialize;

/// One thing that is wrong with a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Name within the directory; `.` is the directory itself.
    pub file: String,
    /// Where in the file, if not all of it. `problem` says it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    pub problem: String,
}

impl Damage {
    pub(super) fn new(file: &str, offset: Option<u64>, problem: impl Into<String>) -> Damage {
        Damage {
            file: file.to_owned(),
            offset,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}
