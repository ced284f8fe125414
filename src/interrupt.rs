//! Ctrl-C and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::stderr;

/// Nothing is under way that has to end in good order.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Becomes true at the first signal: the command then ends in good order. A second signal ends the
/// process.
pub fn flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        let again = flag.swap(true, Ordering::SeqCst);
        if AT_ONCE.load(Ordering::SeqCst) {
            stderr::tell(
                "rehearsal: interrupted: the runs are done, and rehearsal compare takes them\n",
            );
            std::process::exit(130);
        }
        if again {
            std::process::exit(130);
        }
    })
    .context("failed to watch for signals")?;
    Ok(stop)
}

/// From now on the first signal ends the process.
pub fn at_once() {
    AT_ONCE.store(true, Ordering::SeqCst);
}
