//! Memory that was freed, and that the allocator still holds.

/// Gives memory that was freed back to the system. The allocator of glibc keeps it otherwise: after some large blocks were
/// freed, it returns none below 64 MB at the end of a heap, and the weights of a model lie in the middle of several.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe interface to this function exists")]
pub(crate) fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> core::ffi::c_int;
    }
    // SAFETY: it takes a number and no pointer, and may be called from any thread at any time (malloc_trim(3): MT-Safe).
    unsafe { malloc_trim(0) };
}

/// Other allocators give large blocks back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim() {}
