//! What a thread asks of the scheduler.
#![allow(unsafe_code)]

/// Everyone else goes first. It is a wish: where it is refused, all goes on without.
pub fn lowest() {
    const THIS_THREAD: libc::id_t = 0;
    const NICEST: libc::c_int = 19;
    // SAFETY: takes numbers and touches no memory of ours.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, NICEST);
    }
}
