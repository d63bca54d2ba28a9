//! The end of the network: one vector for each text.

use crate::processor::Processor;

/// The mean of the rows of each text, given how many rows each has, one after the other. `width` is that of a row.
pub fn mean(processor: Processor, states: &[f32], tokens: &[usize], width: usize, means: &mut [f32]) {
    processor.arch.dispatch(
        #[inline(always)]
        || {
            let mut rows = states;
            for (mean, &count) in means.chunks_exact_mut(width).zip(tokens) {
                let (text, rest) = rows.split_at((count * width).min(rows.len()));
                rows = rest;
                mean.fill(0.0);
                for row in text.chunks_exact(width) {
                    for (mean, value) in mean.iter_mut().zip(row) {
                        *mean += value;
                    }
                }
                for value in mean {
                    *value /= count as f32;
                }
            }
        },
    );
}
