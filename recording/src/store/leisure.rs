//! Has the process a processor to spare for what can wait?

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Leisure {
    looked: Option<(Instant, Duration)>,
    /// Until it is known, none is to spare.
    idle: bool,
}

impl Leisure {
    /// As it was in the second before the last look.
    pub fn is_busy(&self) -> bool {
        !self.idle
    }

    /// To be called several times a second.
    pub fn look(&mut self, now: Instant) {
        if self.is_due(now) {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            self.note(now, cpu(), u32::try_from(processors).unwrap_or(u32::MAX));
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.looked
            .is_none_or(|(at, _)| now.saturating_duration_since(at) >= LOOK_EVERY)
    }

    fn note(&mut self, now: Instant, cpu: Duration, processors: u32) {
        if let Some((at, before)) = self.looked {
            let elapsed = now.saturating_duration_since(at);
            // Half a processor. Less than that is what waits for the network, between one answer and the next.
            let idle = (elapsed * processors).saturating_sub(cpu.saturating_sub(before));
            self.idle = idle * 2 >= elapsed;
        }
        self.looked = Some((now, cpu));
    }

    #[cfg(test)]
    pub fn pretend(&mut self, busy: bool) {
        self.idle = !busy;
    }
}

/// What the process has used. Where that is not told, nothing: there is always a processor to spare.
fn cpu() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        (usage.user_time() + usage.system_time()).num_microseconds()
    });
    Duration::from_micros(u64::try_from(used).unwrap_or(0))
}

#[cfg(test)]
mod tests;
