//! No path reads or writes beyond its slices: each ends where a page begins that nobody may touch.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "pages are mapped and protected")]

use std::ptr::null_mut;
use std::slice::from_raw_parts_mut;

use embed_gemm::{COLUMNS, Gemm, Instructions};

/// The largest pages that Linux has, on aarch64.
const PAGE: usize = 64 << 10;

/// Memory of whole pages with a forbidden one behind it.
struct Guarded {
    start: *mut libc::c_void,
    length: usize,
}

impl Guarded {
    fn new(length: usize) -> Self {
        let length = length.next_multiple_of(PAGE);
        let (readable, private) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: the system chooses where new pages are, and the last of them is protected.
        let start = unsafe {
            let start = libc::mmap(null_mut(), length + PAGE, readable, private, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(start.byte_add(length), PAGE, libc::PROT_NONE), 0);
            start
        };
        Self { start, length }
    }

    /// So many numbers of 8 or 32 bits, up to the forbidden page.
    fn last<T: Copy + From<bool>>(&mut self, count: usize) -> &mut [T] {
        let bytes = count * size_of::<T>();
        assert!(bytes <= self.length);
        // SAFETY: these bytes are within the mapping, borrowed with it, and zeros or what was written as a number; their address is
        // that of a page less a multiple of the size of a number.
        unsafe { from_raw_parts_mut(self.start.byte_add(self.length - bytes).cast(), count) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: nothing borrows the pages any more.
        unsafe { libc::munmap(self.start, self.length + PAGE) };
    }
}

#[test]
fn nothing_beyond_the_slices_is_touched() {
    let (height, panels, depth) = (40, 3, 192);
    let mut bytes = Guarded::new(height * depth);
    let mut weights = Guarded::new(panels * COLUMNS * depth);
    let mut sums = Guarded::new(height * panels * COLUMNS * size_of::<i32>());
    for instructions in Instructions::available() {
        let gemm = Gemm::with(instructions).unwrap();
        for (height, width) in
            (1..=height).flat_map(|height| (1..=panels).map(move |panels| (height, panels * COLUMNS)))
        {
            let (rows, panels) = (bytes.last::<u8>(height * depth), weights.last::<i8>(width * depth));
            let sums = sums.last::<i32>(height * width);
            rows.fill(2);
            panels.fill(-3);
            gemm.sums(rows, depth, panels, sums);
            assert!(sums.iter().all(|&sum| sum == -6 * 192), "{gemm:?}, {height} rows, {width} outputs");
        }
    }
}
