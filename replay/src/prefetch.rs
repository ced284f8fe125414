//! Has the processor fetch what is needed soon, so that nobody waits for it then.
#![allow(unsafe_code)]

/// Bytes that a processor fetches at once.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
/// More of it the processor fetches by itself when it is read.
#[cfg(target_arch = "x86_64")]
const MOST: usize = 8 * LINE;

#[cfg(target_arch = "x86_64")]
pub(crate) fn prefetch<T: ?Sized>(what: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    let start = std::ptr::from_ref(what).cast::<i8>();
    for offset in (0..size_of_val(what).min(MOST)).step_by(LINE) {
        // SAFETY: a hint, which reads nothing; the address is within `what`.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn prefetch<T: ?Sized>(_what: &T) {}
