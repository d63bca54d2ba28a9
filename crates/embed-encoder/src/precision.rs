//! The arithmetic that a model runs in.

use std::fmt;
use std::str::FromStr;

use embed_core::{Error, ErrorKind};

/// The arithmetic that a model runs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Eight-bit matrix products: the fastest. Cosine to [`F32`](Self::F32) on written text, at least and on average:
    /// multilingual-e5-small 0.999, 0.9995; all-minilm-l6-v2 0.996, 0.998. Models that were not [calibrated](crate::Profile::calibrated) are less accurate by an unknown amount, and their
    /// variants say so.
    #[default]
    Int8,
    /// 32-bit floating point: reference grade.
    F32,
    /// 16-bit matrix products with exact sums, and 32-bit floating point between them: reference grade at nearly twice the
    /// speed of [`F32`](Self::F32), with half of its weights. Cosine to it on written text: 0.99999 or more.
    Mixed,
    /// Matrix products of bfloat16 numbers, summed in 32 bits: reference grade at 1.5 times the speed of
    /// [`F32`](Self::F32) where the processor has such products (AVX512-BF16, AMX). ONNX Runtime must be a
    /// build with the OpenVINO execution provider.
    #[cfg(feature = "openvino")]
    Bf16,
}

impl Precision {
    /// Every precision that this build knows.
    pub const ALL: &'static [Self] = &[
        Self::Int8,
        Self::F32,
        Self::Mixed,
        #[cfg(feature = "openvino")]
        Self::Bf16,
    ];

    /// The name: `int8`, `f32`, `mixed`, `bf16`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F32 => "f32",
            Self::Mixed => "mixed",
            #[cfg(feature = "openvino")]
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|precision| precision.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|precision| precision.as_str()).collect();
            Error::new(ErrorKind::Config, format!("a precision is one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_is_a_slice_whatever_the_features() {
        let all: &'static [Precision] = Precision::ALL;
        assert!(all.len() >= 3);
        for precision in all {
            assert_eq!(precision.as_str().parse::<Precision>().unwrap(), *precision);
        }
    }
}
