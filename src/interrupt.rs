//! Ctrl-C and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::stderr;

/// Nothing is under way that has to end in good order.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// The process group of a command that must not outlive the program; 0 where none runs.
static CHILDREN: AtomicI32 = AtomicI32::new(0);

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
            let children = CHILDREN.load(Ordering::SeqCst);
            if children > 0 {
                let _ = killpg(Pid::from_raw(children), Signal::SIGKILL);
            }
            std::process::exit(130);
        }
    })
    .context("failed to watch for signals")?;
    Ok(stop)
}

/// While the value lives, a second signal kills that process group.
pub struct Children;

impl Children {
    pub fn watch(group: Pid) -> Children {
        CHILDREN.store(group.as_raw(), Ordering::SeqCst);
        Children
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        CHILDREN.store(0, Ordering::SeqCst);
    }
}

/// From now on the first signal ends the process.
pub fn at_once() {
    AT_ONCE.store(true, Ordering::SeqCst);
}
