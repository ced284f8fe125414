//! What a thread asks of the scheduler. All of it is a wish: a kernel or a user that may not have it
//! goes on without.
#![allow(unsafe_code)]

/// The shortest slice that Linux gives, in ns.
const SHORTEST_SLICE: u64 = 100_000;

/// For the pacer, which runs for microseconds at a time: to run when its timer expires, before
/// anything else.
pub(crate) fn punctual() {
    // SAFETY: takes one number and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
    prompt();
    set(attributes(libc::SCHED_RR, 0, 1, 0));
}

/// For threads that send and receive: short slices, and so a place near the head of the queue when they
/// wake.
pub(crate) fn prompt() {
    set(attributes(libc::SCHED_OTHER, nice(), 0, SHORTEST_SLICE));
}

/// For threads that read and write the disk: the others go first, and are not interrupted when these have
/// something to do.
pub(crate) fn patient() {
    set(attributes(libc::SCHED_BATCH, nice() + 5, 0, 0));
}

/// As the program was started, say by nice.
fn nice() -> libc::c_int {
    // SAFETY: takes numbers and touches no memory of ours.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

fn attributes(policy: libc::c_int, nice: i32, priority: u32, slice: u64) -> libc::sched_attr {
    libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: policy as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: priority,
        // Since Linux 6.12 the length of the slice for ordinary threads.
        sched_runtime: slice,
        sched_deadline: 0,
        sched_period: 0,
    }
}

fn set(attributes: libc::sched_attr) {
    let this_thread: libc::pid_t = 0;
    let no_flags: libc::c_uint = 0;
    // SAFETY: `attributes` has the kernel's layout, says its own size, and outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            this_thread,
            &raw const attributes,
            no_flags,
        );
    }
}
