//! The agreement of two routes' vectors: by cosine in one space, by neighbours in different spaces.

use std::collections::VecDeque;

use embed_core::{EmbeddingRef, Role, vector};

use crate::rollout::{Agreement, ShadowConfig};

/// The comparisons so far, and the recent samples among which neighbours are searched.
#[derive(Debug)]
pub(super) struct Comparison {
    config: ShadowConfig,
    cosines: RunningMean,
    overlaps: RunningMean,
    /// One for queries and one for documents, because a model with prefixes places them differently.
    recent: [Reference; 2],
}

/// Pairs of vectors of one text, the oldest first.
#[derive(Debug, Default)]
struct Reference(VecDeque<[Vec<f32>; 2]>);

#[derive(Debug, Clone, Copy)]
struct RunningMean {
    count: u64,
    sum: f64,
    lowest: f64,
}

impl Comparison {
    pub(super) fn new(config: ShadowConfig) -> Self {
        let none = RunningMean { count: 0, sum: 0.0, lowest: f64::INFINITY };
        Self { config, cosines: none, overlaps: none, recent: Default::default() }
    }

    /// Compares the vectors of one text from the old route and the candidate.
    pub(super) fn add(&mut self, role: Role, current: EmbeddingRef<'_>, candidate: EmbeddingRef<'_>) {
        if let Ok(cosine) = current.similarity(candidate) {
            self.cosines.add(f64::from(cosine));
            return;
        }
        let pair = [current, candidate].map(|row| {
            let mut vector = row.vector().to_vec();
            // So that the inner product is the cosine.
            vector::normalise(&mut vector);
            vector
        });
        let reference = &mut self.recent[usize::from(role == Role::Document)];
        // Among only that many samples, the neighbours would always agree.
        if reference.0.len() > self.config.neighbours {
            self.overlaps.add(reference.overlap(&pair, self.config.neighbours));
        }
        if reference.0.len() == self.config.reference {
            reference.0.pop_front();
        }
        reference.0.push_back(pair);
    }

    pub(super) fn read(&self) -> Option<Agreement> {
        let RunningMean { count: texts, lowest, .. } = self.cosines;
        if texts > 0 {
            return Some(Agreement::Cosine { texts, mean: self.cosines.mean(), lowest });
        }
        (self.overlaps.count > 0).then(|| Agreement::Overlap {
            texts: self.overlaps.count,
            mean: self.overlaps.mean(),
            neighbours: self.config.neighbours,
        })
    }
}

impl Reference {
    /// The share of the nearest `k` that is the same on both sides.
    fn overlap(&self, pair: &[Vec<f32>; 2], k: usize) -> f64 {
        let [left, right] = [0, 1].map(|side| self.nearest(side, &pair[side], k));
        let same = left.iter().filter(|index| right.contains(index)).count();
        same as f64 / k as f64
    }

    fn nearest(&self, side: usize, to: &[f32], k: usize) -> Vec<usize> {
        let mut near: Vec<_> = self
            .0
            .iter()
            .enumerate()
            // A vector of another dimension is of an earlier space of this route, and can't be compared.
            .filter(|(_, pair)| pair[side].len() == to.len())
            .map(|(index, pair)| (vector::dot(&pair[side], to), index))
            .collect();
        near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near.into_iter().take(k).map(|(_, index)| index).collect()
    }
}

impl RunningMean {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.lowest = self.lowest.min(value);
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}
