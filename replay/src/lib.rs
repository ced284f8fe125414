//! Recordings to outcomes.

mod budget;
mod clock;
mod connect;
mod engine;
mod error;
mod lesson;
mod measure;
mod options;
mod pacer;
mod password;
mod pool;
mod prefetch;
mod priority;
mod progress;
mod queue;
mod reach;
mod reader;
mod reason;
mod run;
mod schedule;
mod serve;
mod session;
mod stream;
mod target;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tls;
mod turns;
mod worker;

pub use error::ReplayError;
pub use options::Options;
pub use password::Environment;
pub use progress::{Progress, Snapshot};
pub use reach::reach;
pub use run::{check, plan, run};
pub use schedule::{Due, Pace, Plan, Schedule};
pub use target::{Target, TargetError};
pub use tls::{TlsError, TlsMode};
