//! Products by AMX: `tdpbusd` adds the product of a tile of bytes (16 rows of 64) with a tile of weights (64 inputs of 16
//! outputs) to a tile of sums (16 rows of 16).
//!
//! Two tiles of rows and two of weights make four of sums, which are all eight that there are. What remains below 32 rows has a
//! configuration with tiles of fewer rows, so that nothing is read beyond the last row.
//!
//! The instructions are written out, since Rust's functions for them aren't stable. No register of tiles lives across code of
//! the compiler, which uses none; only the configuration does, between [`Tiles::new`] and the end of the value.

#![expect(unsafe_code, reason = "there are no safe instructions for tiles")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use crate::panels::{COLUMNS, DEPTH};
use crate::product::{Pointers, Product, Tile};

/// The most rows of a tile.
const ROWS: usize = 16;

/// Bytes of a row of a tile: of rows, weights and sums alike.
const BYTES: usize = 64;

const _: () = assert!(BYTES == DEPTH && BYTES == COLUMNS * size_of::<i32>());

/// What `ldtilecfg` reads.
#[derive(Debug)]
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// While this lives, the tiles of this thread are configured.
struct Tiles;

impl Tiles {
    /// Tiles 0, 1 and 4 have the upper rows, 2, 3 and 5 the lower ones, 6 and 7 weights.
    ///
    /// # Safety
    ///
    /// [`lacks`] found nothing, and both numbers of rows are 1 to 16.
    unsafe fn new(upper: u8, lower: u8) -> Self {
        let full = ROWS as u8;
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        configuration.bytes[..8].fill(BYTES as u16);
        configuration.rows[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, full, full]);
        // SAFETY: it reads the 64 bytes of the configuration, which is one of palette 1: eight tiles of 1 to 16 rows of 64 bytes,
        // all else zero. Nothing else in this thread has tiles: other code that uses them configures and releases them likewise.
        unsafe {
            asm!(
                "ldtilecfg [{}]", in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: whoever made this had the instructions. The tiles hold nothing that is still needed.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}

/// All sums of the product. Two panels stay in L1 while the rows pass by them.
///
/// # Safety
///
/// [`lacks`] found nothing.
pub(crate) unsafe fn sums(mut product: Product<'_>) {
    let (rows, panels) = (product.height(), product.panels());
    let whole = rows - rows % (2 * ROWS);
    for (first, end) in [(0, whole), (whole, rows)] {
        if first == end {
            continue;
        }
        let height = (end - first).min(2 * ROWS);
        let upper = height.min(ROWS);
        let lower = if height > ROWS { height - ROWS } else { ROWS };
        // SAFETY: the caller promises the instructions, and both are from 1 to 16.
        let _tiles = unsafe { Tiles::new(upper as u8, lower as u8) };
        for panel in (0..panels).step_by(2) {
            let count = (panels - panel).min(2);
            for row in (first..end).step_by(height) {
                let tile = product.tile(row, height, panel, count);
                // SAFETY: the tiles are configured for this height.
                unsafe { multiply(tile, height, count) };
            }
        }
    }
}

/// One run of instructions over the depth: what is zeroed, what is done for each 64 inputs, what is stored.
macro_rules! tiles {
    ($pointers:expr, [$($zero:literal)+], [$($step:literal)+], [$($store:literal)+]) => {{
        let Pointers { rows, depth, panels, sums, width } = $pointers;
        asm!(
            $($zero,)+
            "2:",
            $($step,)+
            "add rsi, 64",
            "add rdi, 64",
            "add r8, 1024",
            "add r9, 1024",
            "dec rcx",
            "jnz 2b",
            $($store,)+
            // The upper and the lower rows, and the distance between two of them.
            inout("rsi") rows => _,
            inout("rdi") rows.wrapping_add(ROWS * depth) => _,
            in("rax") depth,
            // Both panels, and the distance between the inputs of a tile.
            inout("r8") panels => _,
            inout("r9") panels.wrapping_add(COLUMNS * depth) => _,
            in("rdx") BYTES,
            // The sums of the upper and the lower rows, and the distance in bytes between those of two rows.
            in("r10") sums,
            in("r11") sums.wrapping_add(ROWS * width),
            in("r12") width * size_of::<i32>(),
            inout("rcx") depth / DEPTH => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }};
}

/// The sums of a tile of at most 32 rows and two panels.
///
/// # Safety
///
/// Tiles are configured for this height.
unsafe fn multiply(mut tile: Tile<'_>, height: usize, count: usize) {
    let pointers = tile.pointers(height, count);
    // SAFETY: a tile of rows reads 64 bytes in each of its rows, at each multiple of 64 below the depth, which `Pointers` promises
    // for as many rows as are configured; the lower rows and the second panel are only read and written where there are any. A
    // tile of weights reads 1024 bytes, 16 quads of a panel, as many times. A tile of sums writes 16 numbers in each of its rows,
    // which are there and borrowed mutably. The depth is positive, so the loop ends. `tdpbusd` takes the unsigned bytes first.
    unsafe {
        match (height > ROWS, count > 1) {
            (true, true) => tiles!(
                pointers,
                ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"],
                [
                    "tileloadd tmm4, [rsi + rax*1]"
                    "tileloadd tmm6, [r8 + rdx*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [r9 + rdx*1]"
                    "tdpbusd tmm1, tmm4, tmm7"
                    "tileloadd tmm5, [rdi + rax*1]"
                    "tdpbusd tmm2, tmm5, tmm6"
                    "tdpbusd tmm3, tmm5, tmm7"
                ],
                [
                    "tilestored [r10 + r12*1], tmm0"
                    "tilestored [r10 + r12*1 + 64], tmm1"
                    "tilestored [r11 + r12*1], tmm2"
                    "tilestored [r11 + r12*1 + 64], tmm3"
                ]
            ),
            (true, false) => tiles!(
                pointers,
                ["tilezero tmm0" "tilezero tmm2"],
                [
                    "tileloadd tmm4, [rsi + rax*1]"
                    "tileloadd tmm6, [r8 + rdx*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [rdi + rax*1]"
                    "tdpbusd tmm2, tmm5, tmm6"
                ],
                ["tilestored [r10 + r12*1], tmm0" "tilestored [r11 + r12*1], tmm2"]
            ),
            (false, true) => tiles!(
                pointers,
                ["tilezero tmm0" "tilezero tmm1"],
                [
                    "tileloadd tmm4, [rsi + rax*1]"
                    "tileloadd tmm6, [r8 + rdx*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [r9 + rdx*1]"
                    "tdpbusd tmm1, tmm4, tmm7"
                ],
                ["tilestored [r10 + r12*1], tmm0" "tilestored [r10 + r12*1 + 64], tmm1"]
            ),
            (false, false) => tiles!(
                pointers,
                ["tilezero tmm0"],
                [
                    "tileloadd tmm4, [rsi + rax*1]"
                    "tileloadd tmm6, [r8 + rdx*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                ],
                ["tilestored [r10 + r12*1], tmm0"]
            ),
        }
    }
}

/// What the processor or the system lacks for tiles.
pub(crate) fn lacks() -> Option<&'static str> {
    /// `osxsave` of leaf 1, `amx-tile` and `amx-int8` of leaf 7.
    const OSXSAVE: u32 = 1 << 27;
    const TILES: u32 = 1 << 24 | 1 << 25;
    /// The configuration of tiles and their contents in what the system saves for a thread.
    const STATE: u64 = 1 << 17 | 1 << 18;
    // SAFETY: each x86-64 has the instruction, and it reads nothing but its numbers.
    #[allow(unused_unsafe, reason = "newer toolchains have it as a safe function")]
    let (highest, first, seventh) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx, __cpuid_count(7, 0).edx) };
    if highest < 7 || seventh & TILES != TILES {
        return Some("the processor lacks amx-tile and amx-int8");
    }
    // SAFETY: the instruction is there once the system has turned it on, and `osxsave` says so.
    let saved = first & OSXSAVE != 0 && unsafe { _xgetbv(0) } & STATE == STATE;
    (!(saved && granted())).then_some("the system doesn't grant tiles")
}

/// Asks Linux for tiles, for all threads of the process.
#[cfg(target_os = "linux")]
fn granted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const TILES: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILES) == 0 }
}

/// How other systems grant them was never tried.
#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}
