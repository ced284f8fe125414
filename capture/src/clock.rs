//! The one place that reads the machine's clocks.

use std::time::{Duration, Instant, SystemTime};

use recording::Timestamp;

/// Wall time, as packets have it.
pub fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0) + since
}

pub fn instant() -> Instant {
    Instant::now()
}

pub fn elapsed(since: Instant) -> Duration {
    since.elapsed()
}
