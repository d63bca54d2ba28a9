//! The texts of a measurement: the same ones in the same order in every run.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use embed_core::{Error, ErrorKind, Role};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use rand_distr::Zipf;

use crate::io::input::{Input, ReadOptions};
use crate::io::rows::RowSource;

/// First sentences of the articles of the Universal Declaration of Human Rights, alternating between English and Japanese.
const SENTENCES: &str = include_str!("../../../data/bench-texts.txt");

/// Different texts, and how often each is used.
#[derive(Debug)]
pub(super) struct BenchTexts {
    texts: Vec<Arc<str>>,
    ranks: Zipf<f64>,
}

/// The sequence of texts of one caller.
#[derive(Debug)]
pub(super) struct Draws<'t> {
    texts: &'t BenchTexts,
    random: SmallRng,
}

impl BenchTexts {
    pub(super) fn new(
        file: Option<&Path>,
        distinct: NonZeroUsize,
        exponent: f64,
        longest: usize,
    ) -> Result<Self, Error> {
        let lines: Vec<String> = match file {
            None => SENTENCES.lines().map(str::to_owned).collect(),
            Some(path) => {
                // Every text is embedded in the same role.
                let reading = ReadOptions { max_text_bytes: longest, role: Role::Query };
                let mut rows = Input::from_flag(path, None).open(reading)?;
                let mut lines = Vec::new();
                while let Some(row) = rows.next()? {
                    lines.push(row.text?);
                }
                lines
            }
        };
        if lines.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the input has no text; it needs at least one line",
            ));
        }
        let text = |index: usize| match lines.get(index) {
            Some(line) => line.as_str().into(),
            None => format!("{} {index}", lines[index % lines.len()]).into(),
        };
        let count = distinct.get();
        let ranks = Zipf::new(count as f64, exponent).map_err(|error| {
            Error::new(ErrorKind::Config, "texts can't be drawn like this").with_source(error)
        })?;
        Ok(Self { texts: (0..count).map(text).collect(), ranks })
    }

    pub(super) fn draws(&self, caller: usize) -> Draws<'_> {
        Draws { texts: self, random: SmallRng::seed_from_u64(caller as u64) }
    }
}

impl Iterator for Draws<'_> {
    type Item = Arc<str>;

    fn next(&mut self) -> Option<Arc<str>> {
        // Ranks begin at 1.
        let rank = self.texts.ranks.sample(&mut self.random) as usize;
        self.texts.texts.get(rank.saturating_sub(1)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn texts(distinct: usize, exponent: f64) -> BenchTexts {
        BenchTexts::new(None, NonZeroUsize::new(distinct).unwrap(), exponent, 1 << 20).unwrap()
    }

    #[test]
    fn callers_draw_differently_and_every_run_alike() {
        let texts = texts(1000, 1.0);
        assert_eq!(texts.texts.iter().collect::<HashSet<_>>().len(), 1000);
        let drawn = |caller| texts.draws(caller).take(50).collect::<Vec<_>>();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn the_exponent_says_how_unequally() {
        let different = |exponent| texts(1000, exponent).draws(0).take(1000).collect::<HashSet<_>>().len();
        let (equal, usual, steep) = (different(0.0), different(1.0), different(3.0));
        assert!(equal > usual && usual > steep, "{equal}, {usual}, {steep}");
    }
}
