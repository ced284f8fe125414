//! What the allocator keeps of what was freed.

/// Has the C library's allocator give large pieces back to the system, and keep what is of a usual
/// size. By itself it takes large ones that come and go as a reason to keep ever more, in each
/// thread's own heap: half as much again as is in use. To be called before there are other threads.
#[allow(unsafe_code)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Twice a flush, and more than a page of a sealed segment: these cost no page faults.
        const LARGE: libc::c_int = 3 << 20;
        const KEPT: libc::c_int = 16 << 20;
        // SAFETY: it sets numbers of the allocator's, which any value suits.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}
