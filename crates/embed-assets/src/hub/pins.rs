//! Which files of which repositories make a model, and how their contents are verified.

use embed_encoder::Profile;

use super::content::ContentId;

/// A file of a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubFile {
    /// Its path in the repository.
    pub(crate) path: &'static str,
    /// How its content is verified.
    pub(crate) digest: Digest,
}

impl HubFile {
    /// A file that is verified by what the hub announces.
    pub(crate) fn announced(path: &'static str) -> Self {
        Self { path, digest: Digest::Announced }
    }
}

/// How the content of a file is verified.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Digest {
    /// By this SHA-256 and this size.
    Pinned {
        /// In hexadecimal.
        sha256: &'static str,
        /// The size.
        bytes: u64,
    },
    /// By the digest that the hub announces for the pinned commit, or that is the file's name in the hub's cache: the
    /// SHA-256 of a large file, git's id of any other. Without one the file isn't used.
    Announced,
}

impl Digest {
    pub(super) fn pinned(self) -> Option<ContentId> {
        match self {
            Self::Pinned { sha256, .. } => Some(ContentId::Sha256(sha256.to_owned())),
            Self::Announced => None,
        }
    }
}

/// The pinned files of each model, as [`files_of`] returns them. Files of other models are verified by what the hub
/// announces, until somebody has fetched them and recorded their digests.
const PINNED: [(&str, [HubFile; 3]); 2] = [
    (
        "multilingual-e5-small",
        [
            pinned("config.json", "69137736cab8b8903a07fe8afaafdda25aac55415a12a55d1bffa9f581abf959", 655),
            pinned(
                "onnx/tokenizer.json",
                "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
                17_082_730,
            ),
            pinned(
                "model.safetensors",
                "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
                470_641_600,
            ),
        ],
    ),
    (
        "all-minilm-l6-v2",
        [
            pinned("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
            pinned(
                "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                466_247,
            ),
            pinned(
                "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                90_868_376,
            ),
        ],
    ),
];

const fn pinned(path: &'static str, sha256: &'static str, bytes: u64) -> HubFile {
    HubFile { path, digest: Digest::Pinned { sha256, bytes } }
}

/// The files that a model is made of: configuration, tokenizer and weights.
pub(crate) fn files_of(profile: &Profile) -> [HubFile; 3] {
    let known = PINNED.iter().find(|(name, _)| *name == profile.name).map(|(_, files)| *files);
    known.unwrap_or_else(|| ["config.json", "tokenizer.json", "model.safetensors"].map(HubFile::announced))
}
