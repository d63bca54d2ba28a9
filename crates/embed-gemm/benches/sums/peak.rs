//! The peak of the processor: loops of the instructions that products are made of, over registers, without memory.
//!
//! `embed-rivals` takes this file, too, and shows the peak beside whatever it measures.

use embed_gemm::Instructions;

#[cfg(not(target_arch = "x86_64"))]
use self::elsewhere::{of_instructions, of_single};
#[cfg(target_arch = "x86_64")]
use self::x86_64::{of_instructions, of_single};

/// Turns of a loop in one run.
const TURNS: u64 = 10_000;

/// A loop, to be run on one core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    /// The instruction.
    pub(crate) name: &'static str,
    /// Multiplications and additions of a run.
    pub(crate) operations: u64,
    /// Runs it.
    pub(crate) run: fn(),
}

impl Peak {
    /// `products` are those of a turn; each is added to a sum.
    fn new(name: &'static str, products: u64, run: fn()) -> Self {
        Self { name, operations: 2 * products * TURNS, run }
    }
}

/// The loop of 8-bit products by instructions that this process can use.
pub(crate) fn of(instructions: Instructions) -> Option<Peak> {
    Instructions::available().contains(&instructions).then(|| of_instructions(instructions)).flatten()
}

/// The loop of products in single precision.
pub(crate) fn single() -> Option<Peak> {
    of_single()
}

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    //! No loop was written for another architecture, since none was measured.

    use super::{Instructions, Peak};

    pub(super) fn of_instructions(_: Instructions) -> Option<Peak> {
        None
    }

    pub(super) fn of_single() -> Option<Peak> {
        None
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    #![expect(unsafe_code, reason = "the peak is a loop of instructions")]

    use std::arch::asm;

    use super::{Instructions, Peak, TURNS};

    pub(super) fn of_instructions(instructions: Instructions) -> Option<Peak> {
        Some(match instructions {
            Instructions::Avx2 => Peak::new("vpmaddubsw", 12 * 32, avx2),
            Instructions::AvxVnni => Peak::new("vpdpbusd, 256 bits", 12 * 32, avxvnni),
            Instructions::Avx512 => Peak::new("vpdpbusd, 512 bits", 24 * 64, avx512),
            Instructions::Amx => Peak::new("tdpbusd", 4 * 16 * 16 * 64, amx),
            _ => return None,
        })
    }

    pub(super) fn of_single() -> Option<Peak> {
        if is_x86_feature_detected!("avx512f") {
            Some(Peak::new("vfmadd231ps, 512 bits", 14 * 16, avx512_single))
        } else if is_x86_feature_detected!("fma") {
            Some(Peak::new("vfmadd231ps, 256 bits", 12 * 8, fma))
        } else {
            None
        }
    }

    /// A loop of lines that change vector registers, and nothing else.
    macro_rules! turns {
        ($($line:literal)+) => {
            // SAFETY: a loop is handed out where its instructions are. It changes the registers that are listed, and no memory.
            unsafe {
                asm!(
                    // Numbers too small for their format are slow on some processors.
                    "vzeroall",
                    "2:",
                    $($line,)+
                    "dec {turns}",
                    "jnz 2b",
                    turns = inout(reg) TURNS => _,
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
                    out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _,
                    out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _,
                    out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    options(nostack, nomem),
                );
            }
        };
    }

    fn avx2() {
        turns!(
            ".irp sums, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11"
            "vpmaddubsw ymm12, ymm13, ymm14"
            "vpmaddwd ymm12, ymm12, ymm15"
            "vpaddd \\sums, \\sums, ymm12"
            ".endr"
        );
    }

    fn avxvnni() {
        turns!(
            ".irp sums, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11"
            "{{vex}} vpdpbusd \\sums, ymm14, ymm15"
            ".endr"
        );
    }

    fn avx512() {
        turns!(
            ".irp sums, zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15, zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23"
            "vpdpbusd \\sums, zmm30, zmm31"
            ".endr"
        );
    }

    fn amx() {
        /// Palette 1: eight tiles of 16 rows of 64 bytes.
        #[repr(align(64))]
        struct Configuration([u8; 64]);
        let mut configuration = Configuration([0; 64]);
        configuration.0[0] = 1;
        for tile in 0..8 {
            configuration.0[16 + 2 * tile] = 64;
            configuration.0[48 + tile] = 16;
        }
        // SAFETY: this is handed out where AMX is available. It reads the 64 bytes of the configuration, changes tiles, and releases
        // them.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                "2:",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "dec {turns}",
                "jnz 2b",
                "tilerelease",
                configuration = in(reg) &raw const configuration,
                turns = inout(reg) TURNS => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
    }

    fn fma() {
        turns!(
            ".irp sums, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11"
            "vfmadd231ps \\sums, ymm14, ymm15"
            ".endr"
        );
    }

    fn avx512_single() {
        turns!(
            ".irp sums, zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13"
            "vfmadd231ps \\sums, zmm14, zmm15"
            ".endr"
        );
    }
}
