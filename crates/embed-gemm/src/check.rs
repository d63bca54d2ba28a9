//! Whether a path has the sums of the portable one, tried before it is used: some paths never ran on a machine of ours.

use std::sync::LazyLock;

use crate::panels::{COLUMNS, pack};
use crate::portable;
use crate::product::Product;

/// The most rows and panels that are tried.
const ROWS: usize = 33;
const PANELS: usize = 3;

/// Rows and panels of a depth, and their sums.
struct Sample {
    depth: usize,
    rows: Vec<u8>,
    panels: Vec<i8>,
    sums: Vec<i32>,
}

impl Sample {
    /// Random bytes and weights of the whole range, with extremes: in one row in four and one column in four, nothing else.
    fn new(depth: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let rows = (0..ROWS * depth)
            .map(|at| if (at / depth).is_multiple_of(4) { 127 } else { (random() % 128) as u8 });
        let rows = rows.collect();
        let outputs = PANELS * COLUMNS;
        let weights: Vec<i8> = (0..depth * outputs)
            .map(|at| match at % outputs % 8 {
                0 => 127,
                1 => -127,
                _ => (random() % 255) as u8 as i8,
            })
            .map(|weight| weight.max(-127))
            .collect();
        let mut sample = Self { depth, rows, panels: pack(&weights, outputs), sums: vec![0; ROWS * outputs] };
        portable::sums(Product::new(&sample.rows, depth, &sample.panels, &mut sample.sums));
        sample
    }

    /// Whether the first rows and panels have these sums on another path. What lies around them must stay as it is.
    fn holds(&self, rows: usize, panels: usize, sums: &impl Fn(Product<'_>)) -> bool {
        let width = panels * COLUMNS;
        let mut found = vec![i32::MIN; rows * width];
        let panels = &self.panels[..width * self.depth];
        sums(Product::new(&self.rows[..rows * self.depth], self.depth, panels, &mut found));
        found
            .chunks(width)
            .zip(self.sums.chunks(PANELS * COLUMNS))
            .all(|(found, sums)| found == &sums[..width])
    }
}

/// Whether this path has the same sums as the portable one, over all heights and widths of tiles.
pub(crate) fn holds(sums: impl Fn(Product<'_>)) -> bool {
    static SAMPLES: LazyLock<[Sample; 2]> = LazyLock::new(|| [64, 448].map(Sample::new));
    SAMPLES
        .iter()
        .all(|sample| (1..=ROWS).all(|rows| (1..=PANELS).all(|panels| sample.holds(rows, panels, &sums))))
}
