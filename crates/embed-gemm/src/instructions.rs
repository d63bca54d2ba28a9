//! Which instructions there are, which of them this processor has, and the sums by each.

#![expect(unsafe_code, reason = "what needs instructions is called where they were detected")]

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::product::Product;
use crate::words::{self, Pair};
use crate::{check, portable, strips};

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected as detected;
#[cfg(target_arch = "x86_64")]
use std::arch::is_x86_feature_detected as detected;

#[cfg(target_arch = "aarch64")]
use crate::neon;
#[cfg(target_arch = "x86_64")]
use crate::{amx, avx2, avx512, avxvnni};

/// The features of this list that the processor lacks.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! missing {
    ($($feature:tt),+) => {
        [$((detected!($feature), $feature)),+]
            .into_iter()
            .filter_map(|(there, feature)| (!there).then_some(feature))
            .collect()
    };
}

/// How products are computed. All give the same sums, to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Instructions {
    /// Plain Rust.
    Portable,
    /// `vpmaddubsw` and `vpmaddwd` on 256 bits.
    Avx2,
    /// `vpdpbusd` on 256 bits, of processors without AVX-512.
    AvxVnni,
    /// `vpdpbusd` on 512 bits.
    Avx512,
    /// `tdpbusd` on tiles.
    Amx,
    /// `sdot` on 128 bits, of aarch64.
    Neon,
}

/// The fastest first.
const ALL: [Instructions; 6] = [
    Instructions::Amx,
    Instructions::Avx512,
    Instructions::AvxVnni,
    Instructions::Avx2,
    Instructions::Neon,
    Instructions::Portable,
];

/// Instructions that this process can't use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no products by {instructions} here: {reason}; there is {}", list(Instructions::verified()))]
pub struct Unavailable {
    instructions: Instructions,
    reason: String,
}

/// A name that no instructions have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no instructions have this name; choose one of {}", list(&ALL))]
pub struct UnknownInstructions;

impl Instructions {
    /// Those that this process can use, the fastest first: the processor and the system have them, and over a small sample
    /// they gave the sums of [`Portable`](Self::Portable), which is always among them.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::verified().to_vec()
    }

    /// See [`available`](Self::available). Found out once in a process, in about a millisecond.
    pub(crate) fn verified() -> &'static [Self] {
        static VERIFIED: LazyLock<Vec<Instructions>> = LazyLock::new(|| {
            ALL.into_iter().filter(|instructions| instructions.reason().is_none()).collect()
        });
        &VERIFIED
    }

    /// Why they can't be used, if so.
    fn reason(self) -> Option<String> {
        if let Some(lacks) = self.lacks() {
            return Some(lacks);
        }
        // SAFETY: nothing is lacking.
        let holds = self == Self::Portable
            || unsafe {
                check::holds(|product| self.sums(product)) && words::hold(|product| self.words(product))
            };
        (!holds).then(|| "its sums were not those of portable when they were compared".to_owned())
    }

    /// What the processor or the system lacks for them.
    fn lacks(self) -> Option<String> {
        let missing: Vec<&str> = match self {
            Self::Portable => Vec::new(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => missing!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => missing!("avx2", "avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => missing!("avx512f", "avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => match amx::lacks() {
                Some(lacks) => return Some(lacks.to_owned()),
                // For products of 16-bit numbers.
                None => missing!("avx512f", "avx512vnni"),
            },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Amx => {
                return Some("they are instructions of x86-64".to_owned());
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => missing!("neon", "dotprod"),
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => return Some("they are instructions of aarch64".to_owned()),
        };
        (!missing.is_empty()).then(|| format!("the processor lacks {}", missing.join(" and ")))
    }

    /// As available instructions, or why they aren't.
    pub(crate) fn verify(self) -> Result<Self, Unavailable> {
        if Self::verified().contains(&self) {
            return Ok(self);
        }
        Err(Unavailable { instructions: self, reason: self.reason().unwrap_or_default() })
    }

    /// All sums of the product.
    ///
    /// # Safety
    ///
    /// The processor and the system have the instructions.
    pub(crate) unsafe fn sums(self, product: Product<'_>) {
        // SAFETY: the caller promises that the instructions are there.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::sums(product),
                #[cfg(target_arch = "x86_64")]
                Self::AvxVnni => avxvnni::sums(product),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::sums(product),
                #[cfg(target_arch = "x86_64")]
                Self::Amx => amx::sums(product),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => neon::sums(product),
                // There are none of another architecture.
                _ => portable::sums(product),
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        portable::sums(product);
    }

    /// All sums of a product of 16-bit numbers.
    ///
    /// # Safety
    ///
    /// The processor and the system have the instructions.
    pub(crate) unsafe fn words(self, product: strips::Product<'_, Pair, i32>) {
        match self {
            // SAFETY: the caller promises that the instructions are there.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { words::x86::avx2(product) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => unsafe { words::x86::avxvnni(product) },
            // SAFETY: as above; tiles aren't used without these.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx => unsafe { words::x86::avx512(product) },
            _ => words::portable(product),
        }
    }

    /// The name, as it is written in settings.
    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
        }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Instructions {
    type Err = UnknownInstructions;

    fn from_str(name: &str) -> Result<Self, UnknownInstructions> {
        ALL.into_iter().find(|instructions| instructions.name() == name).ok_or(UnknownInstructions)
    }
}

/// The names, as a list in a sentence.
fn list(instructions: &[Instructions]) -> String {
    let names: Vec<&str> = instructions.iter().map(|instructions| instructions.name()).collect();
    names.join(", ")
}
