//! The run's clock, and the one place that reads the machine's.
#![allow(unsafe_code)]

use std::time::{Duration, Instant, SystemTime};

use recording::Timestamp;

/// Wall time at the run's start plus monotonic time since: never steps back in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The monotonic clock's own reading at `wall`.
    monotonic_ns: i64,
    wall: Timestamp,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            monotonic_ns: read(libc::CLOCK_MONOTONIC),
            wall: Timestamp::default() + wall,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = read(libc::CLOCK_MONOTONIC) - self.monotonic_ns;
        Timestamp(self.wall.0 + elapsed)
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Sleeps until `at`, to the precision of the kernel's high-resolution timers: no error of one
    /// sleep is carried into the next. A signal may end it early.
    pub(crate) fn sleep_until(&self, at: Timestamp) {
        let ns = self
            .monotonic_ns
            .saturating_add(at.0.saturating_sub(self.wall.0));
        if ns <= 0 {
            return;
        }
        let until = libc::timespec {
            tv_sec: ns / 1_000_000_000,
            tv_nsec: ns % 1_000_000_000,
        };
        // SAFETY: `until` is a valid timespec that outlives the call; no remainder is asked for.
        unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &until,
                std::ptr::null_mut(),
            );
        }
    }
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    Duration::from_nanos(u64::try_from(read(libc::CLOCK_THREAD_CPUTIME_ID)).unwrap_or(0))
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the answer.
    unsafe {
        libc::clock_gettime(clock, &mut time);
    }
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
